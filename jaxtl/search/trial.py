"""One trial: data -> model -> phases, judged on validation images. Test images are out of its reach."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import rich.console

from jaxtl.config import variants
from jaxtl.config.data import load_splits
from jaxtl.config.tree import Tree
from jaxtl.data.dataset import first
from jaxtl.data.prepare import Splits
from jaxtl.errors import UserError
from jaxtl.report.console import RunConsole
from jaxtl.runs.folder import RunFolder
from jaxtl.search.study import Claim
from jaxtl.train.phase import DivergedError
from jaxtl.training import train


class PrunedError(Exception):
    """The pruner ends a trial in the middle."""


class TrialConsole(RunConsole):
    """Shows the bar of an epoch and nothing else; hands on every finished epoch's line."""

    def __init__(self, console: rich.console.Console, on_line: Callable[[Mapping[str, Any]], None]) -> None:
        super().__init__(console)
        self._on_line = on_line

    def say(self, text: str) -> None:
        """Nothing: of many trials, one line each is enough."""

    def parameters(self, params: Mapping[str, Any]) -> None:
        """Nothing."""

    def on_epoch_end(self, line: Mapping[str, Any]) -> None:
        """Keep the line, take the bar away, and hand the line on."""
        super().on_epoch_end(line)
        self._on_line(line)


class SplitsWithoutTest:
    """Loads the images of a config without its test images; loads nothing twice for trials with the same data."""

    def __init__(self) -> None:
        self._kept: tuple[Mapping[str, Any], Splits] | None = None

    def __call__(self, data: Mapping[str, Any]) -> Splits:
        """The images, of the test split none.

        Raises:
          UserError: the data cannot be had, or hold out no image for validation.
        """
        if self._kept is None or self._kept[0] != data:
            self._kept = None  # before the next is loaded: there may be room for one alone
            splits = load_splits(data)
            if splits.validation is None:
                raise UserError(
                    f"data.validation={data['validation']} holds out none of the {len(splits.train)} training images, "
                    "but trials are judged by such images; hold out a larger share, or take more images."
                )
            self._kept = data, splits._replace(test=first(splits.test, 0))
        return self._kept[1]


def run_trial(
    claim: Claim,
    config: Tree,
    faults: list[str],
    *,
    monitor: str,
    load: Callable[[Mapping[str, Any]], Splits],
    console: rich.console.Console,
) -> None:
    """Run a trial, or the rest of it, and record what came out.

    Args:
      claim: the trial.
      config: made of its parameters.
      faults: why it will not do; then nothing is trained.
      monitor: ``val_loss`` or ``val_accuracy``, the trial's value at the epoch whose weights the last phase keeps.
      load: gives the images.
      console: where the progress bar appears.

    Raises:
      UserError: for what would stop every trial: data or weights that cannot be had, a full disk.
      jaxtl.runtime.interrupts.Interrupted: on SIGTERM or Ctrl-C, after everything is saved.
    """
    if faults:
        claim.prune(" ".join(faults), epochs=0, seconds=0.0)
        return

    def on_line(line: Mapping[str, Any]) -> None:
        claim.report(line["epoch"], line[monitor])
        if claim.should_prune():
            raise PrunedError

    main = variants(config)[""]
    shown = TrialConsole(console, on_line)
    with RunFolder(claim.folder, main) as folder:
        try:
            if claim.should_prune():  # its process died between the verdict and its record
                raise PrunedError
            with train(main, folder, main["model"]["weights"] or None, shown, load) as trained:
                fitted = trained.fitted
            value = float(fitted.history[fitted.best_epoch - 1][monitor])
            claim.complete(value, **_cost(fitted.history, fitted.features_s), best_epoch=fitted.best_epoch)
        except PrunedError:
            lines = folder.history()
            claim.prune(f"It was behind other trials after epoch {len(lines)}.", **_cost(lines))
        except DivergedError:
            lines = _history(folder)
            claim.prune(f"The loss was not a number any more in epoch {len(lines) + 1}.", **_cost(lines))
        except jax.errors.JaxRuntimeError as error:
            if "RESOURCE_EXHAUSTED" not in str(error):
                raise
            claim.prune("The network needs more memory than the device has.", **_cost(_history(folder)))
        finally:
            shown.close()


def _history(folder: RunFolder) -> list[dict[str, Any]]:
    return folder.history() if (folder.path / "metrics.jsonl").exists() else []


def _cost(history: list[dict[str, Any]], features_s: float = 0.0) -> dict[str, Any]:
    return {"epochs": len(history), "seconds": sum(line["seconds"] for line in history) + features_s}

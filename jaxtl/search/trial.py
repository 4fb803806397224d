"""One trial: data -> model -> phases, judged on validation images. Test images are out of its reach."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import optuna
import rich.console

from jaxtl.config import variants
from jaxtl.config.data import load_splits
from jaxtl.config.tree import Tree
from jaxtl.data.dataset import first
from jaxtl.data.prepare import Splits
from jaxtl.errors import UserError
from jaxtl.experiment import train
from jaxtl.report.console import RunConsole
from jaxtl.runs.folder import RunFolder
from jaxtl.train.phase import DivergedError


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
    trial: optuna.Trial,
    config: Tree,
    folder: Path,
    *,
    monitor: str,
    load: Callable[[Mapping[str, Any]], Splits],
    console: rich.console.Console,
) -> float:
    """Run a trial, or the rest of it where its folder was left.

    Args:
      trial: is told the value of each epoch, the epochs, the seconds, and why it was pruned.
      config: made of its parameters.
      folder: its files.
      monitor: ``val_loss`` or ``val_accuracy``.
      load: gives the images.
      console: where the progress bar appears.

    Returns:
      The monitor's value at the epoch whose weights the last phase keeps.

    Raises:
      optuna.TrialPruned: the pruner ended it, the loss diverged, or the network needs more memory than there is.
      UserError: for what would stop every trial: data or weights that cannot be had, a full disk.
      jaxtl.runtime.interrupts.Interrupted: on SIGTERM or Ctrl-C, after everything is saved.
    """

    def on_line(line: Mapping[str, Any]) -> None:
        trial.report(line[monitor], line["epoch"])
        if trial.should_prune():
            raise optuna.TrialPruned(f"It was behind other trials after epoch {len(run.history())}.")

    main = variants(config)[""]
    shown = TrialConsole(console, on_line)
    with RunFolder(folder, main) as run:
        try:
            with train(main, run, main["model"]["weights"] or None, shown, load) as trained:
                fitted = trained.fitted
            _note_cost(trial, fitted.history, fitted.features_s)
            return float(fitted.history[fitted.best_epoch - 1][monitor])
        except DivergedError:
            reason = f"The loss was not a number any more in epoch {len(_history(run)) + 1}."
        except jax.errors.JaxRuntimeError as error:
            if "RESOURCE_EXHAUSTED" not in str(error):
                raise
            reason = "The network needs more memory than the device has."
        except optuna.TrialPruned as pruned:
            reason = str(pruned)
        finally:
            shown.close()
        _note_cost(trial, _history(run))
        raise prune(trial, reason)


def prune(trial: optuna.Trial, reason: str) -> optuna.TrialPruned:
    """The exception that ends a trial, whose reason is recorded."""
    trial.set_user_attr("reason", reason)
    return optuna.TrialPruned(reason)


def _history(folder: RunFolder) -> list[dict[str, Any]]:
    return folder.history() if (folder.path / folder.HISTORY).exists() else []


def _note_cost(trial: optuna.Trial, history: list[dict[str, Any]], features_s: float = 0.0) -> None:
    trial.set_user_attr("epochs", len(history))
    trial.set_user_attr("seconds", sum(line["seconds"] for line in history) + features_s)

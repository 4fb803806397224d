"""A search of hyperparameters: space -> trials -> the best one trained again, tested, and reported."""

import contextlib
import json
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import optuna
from optuna.distributions import distribution_to_json
from sqlalchemy.engine import URL

from jaxtl import experiment
from jaxtl.config import kept_config, variants
from jaxtl.config.data import load_splits
from jaxtl.config.tree import Tree, differences
from jaxtl.data.dataset import first
from jaxtl.data.prepare import Splits
from jaxtl.errors import UserError
from jaxtl.report.console import RunConsole
from jaxtl.report.search import COMPLETE, CSV, ENDED, PAGE, RUNNING, Outcome, short_names, shown, trials_table, write
from jaxtl.report.tables import print_table
from jaxtl.report.text import number
from jaxtl.runs.folder import RunFolder, identity, make_work_folder
from jaxtl.runtime.environment import describe
from jaxtl.runtime.files import file_lock
from jaxtl.runtime.run_files import RunFiles
from jaxtl.search.space import Space, monitor_of, trial_faults
from jaxtl.search.study import Study
from jaxtl.train.phase import DivergedError
from jaxtl.train.progress import more_is_better

BEST, TRIALS = RunFiles.BEST, "trials"
SHOWN = 15  # trials that a screen has room for
POLL_S = 1.0  # how often a process that waits for others looks after them


class Search:
    """A search in its folder, begun or to be resumed; several processes may work on one at the same time.

    Args:
      config: a valid one; what the space does not vary.
      space: what is varied, without faults.
      folder: of the search. Trials have folders ``trials/NNNN`` inside, the final training ``best``.
      trials: how many there are in the end, 1 or more, those of all processes together.
      method: ``sampler``, ``pruner`` and ``seed`` of the study.
      storage: SQLAlchemy's address of a database that several machines share; empty: ``search.db`` in the folder.

    Raises:
      UserError: the folder holds another search, or something else; or the search in it is over, and more is asked for.
    """

    def __init__(
        self, config: Tree, space: Space, folder: Path, trials: int, method: Mapping[str, Any], storage: str
    ) -> None:
        self.config, self.space, self.folder, self.method = config, space, folder, method
        self.console, self.monitor = RunConsole(), monitor_of(config)
        self._kept: tuple[Mapping[str, Any], Splits] | None = None
        make_work_folder(folder)
        if found := ", ".join(name for name in (RunFiles.CONFIG, RunFiles.SUMMARY) if (folder / name).exists()):
            raise UserError(f"The work folder {folder} holds a run ({found}); choose another with --workdir.")
        url = storage or str(URL.create("sqlite", database=str(folder.absolute() / RunFiles.SEARCH)))
        self.study = Study(url, folder.absolute(), space, maximise=more_is_better(self.monitor), **method)
        drawn = space.draw(0, 4) if space.apply else []
        asked = {
            "config": config,
            "space": {name: distribution_to_json(of) for name, of in space.parameters.items()},  # type: ignore[arg-type]
            "apply": {str(i): space.configure(config, params) for i, params in enumerate(drawn)},
            "final": dict(space.final),
            **method,
        }
        asked = json.loads(json.dumps(asked))  # as the database keeps it
        if changed := differences(_comparable(self.study.describe(asked)), _comparable(asked)):
            raise UserError(
                f"The work folder {folder} holds another search, which differs in {'; '.join(changed)}: choose another "
                "with --workdir, or remove it to start over."
            )
        ended = sum(line.state in ENDED for line in self.study.lines())
        if ended < trials and (folder / BEST / RunFiles.CONFIG).exists():
            raise UserError(
                f"The search in {folder} ended with {ended} trials and its best one was handed on to be tested, so "
                f"{trials} trials would choose again after the test; start a new search in another folder."
            )
        self.study.queue(trials)
        if 0 < ended < trials:
            self.console.say(f"Resuming the search in {folder}: {ended} of {trials} trials have ended.")

    def run_trials(self) -> None:
        """Run trials until none waits and none runs, those of other processes included.

        Errors of a training end the search, but for those that are a trial's own.
        """
        waited = False
        while True:
            if line := self.study.run_next(self._run):
                # The best config is trained again.
                shutil.rmtree(RunFiles(self._folder_of(line.number)).checkpoints, ignore_errors=True)
                value, best = f"{self.monitor} {number(line.value)}.", self.outcome().best
                ended_with = value if line.state == COMPLETE else f"pruned. {line.reason}"
                so_far = f" Best so far: {number(best.value)} in trial {best.number}." if best else ""
                self.console.say(f"Trial {line.number}: {ended_with}{so_far}")
            elif others := [str(line.number) for line in self.study.lines() if line.state not in ENDED]:
                if not waited:
                    self.console.say(
                        f"Waiting for trial {', '.join(others)}, which another process is running; if that process "
                        "dies, this one takes over."
                    )
                waited = True
                time.sleep(POLL_S)
            else:
                return

    def _folder_of(self, place: int) -> Path:
        return self.folder / TRIALS / f"{place:04d}"

    def _run(self, trial: optuna.Trial, place: int, params: dict[str, Any]) -> float:
        """Run a trial, or the rest of it where its folder was left; it is pruned where it cannot be trained."""
        short = short_names(list(params)).values()
        chosen = (f"{name} {shown(value)}" for name, value in zip(short, params.values(), strict=True))
        self.console.say(f"Trial {place}: {', '.join(chosen)}")
        try:
            tree = self.space.configure(self.config, params)
        except Exception as error:  # of a user's own function, in a draw that the check did not see
            reason = f"apply fails ({' '.join(f'{type(error).__name__}: {error}'.split())})."
        else:
            reason = " ".join(trial_faults(tree, self.monitor))
        try:
            if not reason:
                return self._train(variants(tree)[""], trial, place)
        except DivergedError:
            reason = "The loss became NaN or infinite."
        except jax.errors.JaxRuntimeError as error:
            if "RESOURCE_EXHAUSTED" not in str(error):
                raise
            if any(line.state == RUNNING and line.number != place for line in self.study.lines()):
                raise UserError(
                    "The device has no memory left for this process, perhaps because other processes of the search use "
                    "it; run one process a device."
                ) from error
            reason = "The network needs more memory than the device has."
        except optuna.TrialPruned as pruned:
            reason = str(pruned)
        trial.set_user_attr("reason", reason)
        raise optuna.TrialPruned

    def _train(self, config: Tree, trial: optuna.Trial, place: int) -> float:
        """Train, or go on; the value of the epoch that is kept."""
        weights, console = config["model"]["weights"] or None, TrialConsole(trial, self.monitor)
        with (
            contextlib.closing(console),
            RunFolder(self._folder_of(place), config) as folder,
            experiment.train(config, folder, weights, console, self._load) as trained,
        ):
            fitted = trained.fitted
        return float(fitted.history[fitted.best_epoch - 1][self.monitor])

    def _load(self, data: Mapping[str, Any]) -> Splits:
        """The images of a trial, none of them of the test split; kept for the next trial with the same data."""
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

    def conclude(self, *, final: bool) -> None:
        """Write table, charts and page; if ``final``, train the best trial's config again and test it.

        Raises:
          UserError: no trial was completed.
        """
        with file_lock(self.folder / f"{BEST}.lock"):
            outcome = self.outcome()
            write(outcome, self.folder)  # before the final training, which may take long
            best = outcome.best
            if best and final and outcome.summary is None:
                self.console.say(f"\nTrial {best.number} is the best: its config is trained again and tested once.")
                experiment.run(self.space.configure(self.config, best.params, final=True), self.folder / BEST)
                outcome = self.outcome()
                write(outcome, self.folder)
        print_table(trials_table(outcome, outcome.ranked[:SHOWN]), self.console.console)
        if (more := len(outcome.lines) - SHOWN) > 0:
            self.console.say(f"… and {more} more in {CSV}.")
        if not best:
            raise UserError(
                f"No trial of the search in {self.folder} was completed, so there is none to choose; {PAGE} in that "
                "folder says why: change the space, and search in another folder."
            )
        self.console.say(f"The page with the table and all charts: {self.folder / PAGE}")

    def outcome(self) -> Outcome:
        """The search as it stands."""
        main, summary = variants(self.config)[""], RunFiles(self.folder / BEST).summary()
        asked = self.monitor, self.study.lines(), self.space.parameters, self.method, dict(self.space.final)
        return Outcome(main["name"], *asked, summary, main["reported"], describe())


def _comparable(asked: Mapping[str, Any]) -> dict[str, Any]:
    """What a search was asked for, with the defaults of fields that are newer than its database."""
    configs = {place: kept_config(tree) for place, tree in asked["apply"].items()}
    return {**asked, "config": identity(kept_config(asked["config"])), "apply": configs}


class TrialConsole(RunConsole):
    """Shows the bar of an epoch and nothing else, since one line a trial is enough; reports every epoch to Optuna."""

    def __init__(self, trial: optuna.Trial, monitor: str) -> None:
        super().__init__()
        self._trial, self._monitor = trial, monitor

    def say(self, text: str) -> None:
        """Print nothing."""

    def parameters(self, params: Mapping[str, Any]) -> None:
        """Print nothing."""

    def on_epoch_end(self, line: Mapping[str, Any]) -> None:
        """Keep the line and report it; raises ``optuna.TrialPruned`` where the pruner ends the trial."""
        super().on_epoch_end(line)
        self._trial.report(line[self._monitor], line["epoch"])
        if self._trial.should_prune():
            raise optuna.TrialPruned(f"It was behind other trials after epoch {line['epoch']}.")

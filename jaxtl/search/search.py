"""The story of a search: space -> trials -> the best one trained again, tested, and reported."""

import dataclasses
import json
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import optuna
import rich
import rich.console
from filelock import FileLock, Timeout
from optuna.distributions import distribution_to_json

from jaxtl.config import check, raise_problems, variants
from jaxtl.config.tree import Tree, differences, plain
from jaxtl.errors import UserError
from jaxtl.experiment import disk_errors_explained, run
from jaxtl.report.search import COMPLETE, PAGE, Outcome, TrialLine, short_names, show, shown, write
from jaxtl.report.text import number
from jaxtl.runs.folder import identity
from jaxtl.runtime.environment import describe
from jaxtl.runtime.files import damage_explained, read_object, user_path
from jaxtl.search.check import examples, monitor_of, space_faults, trial_faults
from jaxtl.search.space import Space, configure, finish
from jaxtl.search.study import Study
from jaxtl.search.trial import SplitsWithoutTest, prune, run_trial

BEST, TRIALS, STORAGE, LOCK = "best", "trials", "search.db", "search.lock"
POLL_S = 1.0  # how often a process that waits for others looks after them


def search(
    config: Mapping[str, Any],
    space: Space,
    workdir: str | Path,
    *,
    trials: int = 20,
    sampler: str = "random",
    pruner: str = "none",
    seed: int = 0,
    storage: str = "",
    final: bool = True,
    keep_checkpoints: bool = False,
    console: rich.console.Console | None = None,
) -> Outcome:
    """Search, or go on with a search where its folder was left; several processes may do so at the same time.

    Args:
      config: as ``jaxtl.run`` takes it; what the space does not vary.
      space: what is varied.
      workdir: the folder of the search. Trials have folders ``trials/NNNN`` inside, the final training ``best``.
      trials: how many there are in the end, 1 or more, those of all processes together.
      sampler: how parameters are chosen; trial k of a random search depends on ``seed`` and k alone.
      pruner: how trials that do badly are ended early.
      seed: of the sampler.
      storage: SQLAlchemy's address of a database that several machines share; empty: ``search.db`` in the folder.
      final: train the best trial's config again, with the space's final changes, and test it once.
      keep_checkpoints: keep those of finished trials too.
      console: where to print.

    Returns:
      The trials, and the summary of the final training.

    Raises:
      UserError: for what is wrong with the config or the space, all at once; if the folder holds another search; if no
        trial came to its end.
      jaxtl.runtime.interrupts.Interrupted: on SIGTERM or Ctrl-C, after everything is saved.
    """
    tree, folder = plain(config), user_path(workdir)
    raise_problems(check(tree), "The config")
    raise_problems(space_faults(tree, space), "The space")
    method = {"sampler": sampler, "pruner": pruner, "seed": seed}
    with disk_errors_explained(folder):
        study, begun = open_study(tree, space, folder, method, trials, storage)
        found = Search(tree, space, folder, method, study, console or rich.get_console())
        if 0 < begun < trials:
            found.say(f"Going on with the search in {folder}: {begun} of {trials} trials were begun before.")
        found.run_trials(keep_checkpoints)
        return found.conclude(final)


def open_study(
    config: Tree, space: Space, folder: Path, method: Mapping[str, Any], trials: int, storage: str
) -> tuple[Study, int]:
    """Make the folder this search's, or see that it is, and queue the trials.

    Returns:
      The study, and how many trials were begun before.

    Raises:
      UserError: the folder holds another search, or something else; or the search in it is over, and more is asked for.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"The work folder {folder} cannot be made ({error.strerror}); choose another with --workdir."
        ) from error
    if strange := [name for name in ("config.json", "summary.json") if (folder / name).exists()]:
        raise UserError(
            f"The work folder {folder} holds a run ({', '.join(strange)}), not a search; choose another with --workdir."
        )
    description = {
        "config": identity(config),
        "space": {name: distribution_to_json(d) for name, d in space.parameters.items()},  # type: ignore[arg-type]
        "apply": {str(i): tree for i, tree in enumerate(examples(config, space))},
        "final": dict(space.final),
        **method,
    }
    with FileLock(folder / LOCK):
        url, name = storage or f"sqlite:///{folder.absolute() / STORAGE}", folder.absolute().name
        study = Study(url, name, space, maximise=monitor_of(config) == "val_accuracy", **method)
        plain_description = json.loads(json.dumps(description))
        if changed := differences(study.describe(plain_description), plain_description):
            raise UserError(
                f"The work folder {folder} holds another search, which differs in {'; '.join(changed)}: choose another "
                "with --workdir, or remove it to start over."
            )
        begun = len(study.lines())
        if begun < trials and (folder / BEST / "config.json").exists():
            raise UserError(
                f"The search in {folder} ended with {begun} trials and its best one was handed on to be tested, so "
                f"{trials} trials would choose again after the test; start a new search in another folder."
            )
        study.queue(trials)
    return study, begun


@dataclasses.dataclass(frozen=True)
class Search:
    """A search in its folder."""

    config: Tree
    space: Space
    folder: Path
    method: Mapping[str, Any]
    study: Study
    console: rich.console.Console

    @property
    def monitor(self) -> str:
        """What trials are judged by."""
        return monitor_of(self.config)

    def say(self, line: str) -> None:
        """Print a line."""
        self.console.print(line, highlight=False, markup=False, soft_wrap=True)

    def run_trials(self, keep_checkpoints: bool) -> None:
        """Run trials until none waits and none runs, those of other processes included."""
        load, waited = SplitsWithoutTest(), False

        def objective(trial: optuna.Trial, params: dict[str, Any]) -> float:
            return self._run(trial, params, load, keep_checkpoints)

        while True:
            if self.study.run_next(objective):
                continue
            others = self.study.running()
            if not others:
                return
            if not waited:
                waited, names = True, ", ".join(map(str, others))
                self.say(f"Waiting for another process, which runs trial {names}; if it dies, this one goes on.")
            time.sleep(POLL_S)

    def _run(
        self, trial: optuna.Trial, params: dict[str, Any], load: SplitsWithoutTest, keep_checkpoints: bool
    ) -> float:
        place, short = trial.user_attrs["place"], short_names(list(params))
        folder = self.folder / TRIALS / f"{place:04d}"
        self.say(f"Trial {place}: " + ", ".join(f"{short[name]} {shown(value)}" for name, value in params.items()))
        try:
            tree = configure(self.config, self.space, params)
        except Exception as error:  # of a user's own function, in a draw that the check did not see
            faults = [f"apply fails ({' '.join(f'{type(error).__name__}: {error}'.split())})."]
        else:
            faults = trial_faults(tree, self.monitor)
        try:
            if faults:
                trial.set_user_attr("epochs", 0)
                raise prune(trial, " ".join(faults))
            value = run_trial(trial, tree, folder, monitor=self.monitor, load=load, console=self.console)
        except optuna.TrialPruned as pruned:
            self._tidy(folder, keep_checkpoints)
            self.say(f"Trial {place} was pruned: {str(pruned).rstrip('.')}.{self._best_so_far()}")
            raise
        self._tidy(folder, keep_checkpoints)
        self.say(f"Trial {place}: {self.monitor} {number(value)}.{self._best_so_far(place, value)}")
        return value

    def _tidy(self, folder: Path, keep_checkpoints: bool) -> None:
        """Remove the checkpoints of a trial that is over: the best config is trained again."""
        if not keep_checkpoints:
            shutil.rmtree(folder / "checkpoints", ignore_errors=True)

    def _best_so_far(self, place: int = -1, value: float | None = None) -> str:
        outcome = self.outcome()
        if value is not None:  # which the storage does not have yet
            line = TrialLine(place, COMPLETE, value, {}, None, None)
            outcome = outcome._replace(lines=[line, *(line for line in outcome.lines if line.number != place)])
        best = outcome.best
        return f" Best so far: {number(best.value)} in trial {best.number}." if best else ""

    def conclude(self, final: bool) -> Outcome:
        """Write table, charts and page; train the best trial's config again and test it, if that is wanted."""
        lock = FileLock(self.folder / f"{BEST}.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            self.say("Waiting for another process, which writes the report or trains the best config again.")
            lock.acquire()
        with lock:
            outcome = self.outcome()
            write(outcome, self.folder)  # before the final training, which may take long
            if outcome.best is None:
                show(outcome, self.console)
                raise UserError(
                    f"No trial of the search in {self.folder} came to its end, so there is none to choose; the table "
                    "says why: change the space, and search in another folder."
                )
            if final and outcome.summary is None:
                self.say(f"\nThe best trial is {outcome.best.number}: its config is trained again and tested once.")
                run(finish(configure(self.config, self.space, outcome.best.params), self.space), self.folder / BEST)
                outcome = self.outcome()
                write(outcome, self.folder)
            lock.release()
        show(outcome, self.console)
        self.say(f"The page with the table and all charts: {self.folder / PAGE}")
        return outcome

    def outcome(self) -> Outcome:
        """The search as it stands."""
        main, best = variants(self.config)[""], self.folder / BEST / "summary.json"
        summary = None
        if best.exists():
            with damage_explained(best):
                summary = read_object(best)
        return Outcome(
            name=main["name"],
            folder=str(self.folder),
            measure=self.monitor,
            lines=self.study.lines(),
            space=self.space.parameters,
            method=self.method,
            final=dict(self.space.final),
            summary=summary,
            reported=main["reported"],
            environment=describe(),
        )

"""The story of a search: space -> trials -> the best one trained anew, tested, and reported."""

import json
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import rich
import rich.console

from jaxtl.config import check, raise_problems, variants
from jaxtl.config.tree import Tree, differences, plain
from jaxtl.errors import UserError
from jaxtl.experiment import disk_errors_explained, run
from jaxtl.report.search.files import PAGE, write
from jaxtl.report.search.outcome import Outcome, State, TrialLine, short_names, shown
from jaxtl.report.search.screen import show
from jaxtl.report.text import duration, number
from jaxtl.runs.folder import identity
from jaxtl.runs.read_json import damage_explained, read_object
from jaxtl.runtime.environment import describe
from jaxtl.runtime.files import write_whole
from jaxtl.search.check import examples, is_field, monitor_of, refuse, space_faults, trial_faults
from jaxtl.search.locks import exclusive
from jaxtl.search.space import Space, configure, described, finish
from jaxtl.search.study import JOURNAL, TRIALS, Claim, Journal, Pruner, Sampler
from jaxtl.search.trial import SplitsWithoutTest, run_trial

BEST, DESCRIPTION = "best", "search.json"
_POLL_S = 0.5  # how often a process that waits for others looks after them


def search(
    config: Mapping[str, Any],
    space: Space,
    workdir: str | Path,
    *,
    trials: int = 20,
    sampler: Sampler = Sampler.RANDOM,
    pruner: Pruner = Pruner.NONE,
    seed: int = 0,
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
      final: train the best trial's config anew, with the space's final changes, and test it once.
      keep_checkpoints: keep those of finished trials too.
      console: where to print.

    Returns:
      The trials, and the summary of the final training.

    Raises:
      UserError: for mistakes in the config or the space, all of them at once; if the folder holds another search; if
        no trial came to its end.
      jaxtl.runtime.interrupts.Interrupted: on SIGTERM or Ctrl-C, after everything is saved.
    """
    tree, folder = plain(config), Path(workdir)
    raise_problems(check(tree), "The config")
    refuse(space_faults(tree, space))
    console = console or rich.get_console()
    found = Search(tree, space, folder, Sampler(sampler), Pruner(pruner), seed, console)
    with disk_errors_explained(folder):
        found.open(trials)
        found.run_trials(trials, keep_checkpoints)
        return found.conclude(final)


class Search:
    """A search in its folder."""

    def __init__(
        self,
        config: Tree,
        space: Space,
        folder: Path,
        sampler: Sampler,
        pruner: Pruner,
        seed: int,
        console: rich.console.Console,
    ) -> None:
        self.config, self.space, self.folder, self.console = config, space, folder, console
        self.method: dict[str, Any] = {"sampler": str(sampler), "pruner": str(pruner), "seed": seed}
        self.monitor = monitor_of(config)
        self.environment = describe()
        self._journal: Journal | None = None

    @property
    def journal(self) -> Journal:
        """The trials; the folder has been opened."""
        assert self._journal is not None
        return self._journal

    def say(self, line: str) -> None:
        """Print a line."""
        self.console.print(line, highlight=False, markup=False, soft_wrap=True)

    def open(self, trials: int) -> None:
        """Make the folder this search's, or see that it is.

        Raises:
          UserError: it holds another search, or something else; or the search in it is over, and more is asked for.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(
                f"The work folder {self.folder} cannot be made ({error.strerror}); choose another with --workdir."
            ) from error
        if strange := [name for name in ("config.json", "summary.json") if (self.folder / name).exists()]:
            raise UserError(
                f"The work folder {self.folder} holds a run ({', '.join(strange)}), not a search; choose another with "
                "--workdir."
            )
        with exclusive(self.folder / TRIALS / "lock"):
            self._refuse_another()
        self._journal = Journal(
            self.folder,
            self.space,
            maximise=self.monitor == "val_accuracy",
            sampler=Sampler(self.method["sampler"]),
            pruner=Pruner(self.method["pruner"]),
            seed=self.method["seed"],
        )
        done = len(self._journal.lines())
        if done < trials and (self.folder / BEST / "config.json").exists():
            raise UserError(
                f"The search in {self.folder} ended with {done} trials and its best one was handed on to be tested, so "
                f"{trials} trials would choose again after the test; start a new search in another folder."
            )
        if 0 < done < trials:
            self.say(f"Going on with the search in {self.folder}: {done} of {trials} trials were begun before.")

    def _refuse_another(self) -> None:
        description = {
            "config": identity(self.config),
            "space": described(self.space),
            "apply": examples(self.config, self.space),
            "final": dict(self.space.final),
            **self.method,
        }
        path = self.folder / DESCRIPTION
        if not path.exists():
            if (self.folder / JOURNAL).exists():
                raise UserError(
                    f"The work folder {self.folder} has trials in {JOURNAL}, but no {DESCRIPTION} that describes them; "
                    "choose another with --workdir."
                )
            write_whole(path, (json.dumps(description, indent=2) + "\n").encode())
            return
        with damage_explained(path):
            before = read_object(path)
        if changed := differences(before, json.loads(json.dumps(description))):
            raise UserError(
                f"The work folder {self.folder} holds another search, which differs in {'; '.join(changed)}: choose "
                "another with --workdir, or remove it to start over."
            )

    def run_trials(self, total: int, keep_checkpoints: bool) -> None:
        """Run trials until there are so many, those of other processes included, and all of them are over."""
        load, waiting = SplitsWithoutTest(), False
        while True:
            claim = self.journal.claim(total)
            if claim is not None:
                try:
                    self._run(claim, load, keep_checkpoints)
                finally:
                    claim.release()
            elif others := self.journal.running():
                if not waiting:
                    waiting = True
                    names = ", ".join(map(str, others))
                    self.say(f"Waiting for another process, which runs trial {names}; if it dies, this one goes on.")
                time.sleep(_POLL_S)
            else:
                return

    def _run(self, claim: Claim, load: SplitsWithoutTest, keep_checkpoints: bool) -> None:
        short = short_names(list(claim.params))
        self.say(f"Trial {claim.number}: " + ", ".join(f"{short[name]} {shown(v)}" for name, v in claim.params.items()))
        try:
            tree = configure(self.config, self.space, is_field, claim.params)
        except Exception as error:  # of a person's own function, in a draw that the check did not see
            faults = [f"apply fails ({' '.join(f'{type(error).__name__}: {error}'.split())})."]
            tree = self.config
        else:
            faults = trial_faults(tree, self.monitor)
        run_trial(claim, tree, faults, monitor=self.monitor, load=load, console=self.console)
        if not keep_checkpoints:  # which served to go on from; the best trial is trained anew
            shutil.rmtree(claim.folder / "checkpoints", ignore_errors=True)
        self.say(self._said_of(claim.number))

    def _said_of(self, which: int) -> str:
        outcome = self.outcome()
        line, best = outcome.lines[which], outcome.best
        if line.state == State.PRUNED:
            text = f"Trial {which} was pruned: {line.reason.rstrip('.')}."
        else:
            text = f"Trial {which}: {self.monitor} {number(line.value)}, {_epochs(line)}, {duration(line.seconds)}."
        return f"{text} Best so far: {number(best.value)} in trial {best.number}." if best else text

    def conclude(self, final: bool) -> Outcome:
        """Write table, charts and page; train the best trial's config anew and test it, if that is wanted."""

        def wait() -> None:
            self.say("Waiting for another process, which writes the report or trains the best trial anew.")

        with exclusive(self.folder / f"{BEST}.lock", wait):
            outcome = self.outcome()
            write(outcome, self.folder)  # before the final training, which may take long
            if outcome.best is None:
                show(outcome, self.console)
                raise UserError(
                    f"No trial of the search in {self.folder} came to its end, so there is none to choose; the table "
                    "says why: change the space, and search in another folder."
                )
            if final:
                before = outcome.summary
                tree = finish(
                    configure(self.config, self.space, is_field, self.journal.params_of(outcome.best.number)),
                    self.space,
                )
                if before is None:
                    self.say(f"\nThe best trial is {outcome.best.number}: its config is trained anew and tested once.")
                    run(tree, self.folder / BEST)
                    outcome = self.outcome()
                    write(outcome, self.folder)
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
            lines=self.journal.lines(),
            space=described(self.space),
            method=self.method,
            final=dict(self.space.final),
            summary=summary,
            reported=main["reported"],
            environment=self.environment,
        )


def _epochs(line: TrialLine) -> str:
    return "1 epoch" if line.epochs == 1 else f"{line.epochs} epochs"

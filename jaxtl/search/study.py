"""A search of hyperparameters: space -> trials -> the best one trained again, tested, and reported.

The trials are kept in Optuna's storage, which several processes may share. Every trial has a *place*, counted from 0.
Its folder, and in a random search its parameters, depend on the seed and the place alone. All places wait in Optuna's
queue from the start, and each process takes the next one. A trial whose process died sends no heartbeat any more and
fails; a new attempt at its place, with its parameters, joins the queue.
"""

import contextlib
import functools
import json
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import optuna
from optuna.distributions import distribution_to_json
from optuna.storages import RDBStorage, RetryHeartbeatStaleTrialCallback, fail_stale_trials
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from jaxtl.config import variants
from jaxtl.config.data import load_splits
from jaxtl.config.tree import Tree, differences
from jaxtl.data.dataset import first
from jaxtl.data.prepare import Splits
from jaxtl.errors import UserError
from jaxtl.report.console import RunConsole
from jaxtl.report.search import COMPLETE, CSV, ENDED, PAGE, Outcome, TrialLine, short_names, shown, trials_table, write
from jaxtl.report.tables import print_table
from jaxtl.report.text import number
from jaxtl.runs.files import RunFiles
from jaxtl.runs.folder import RunFolder, identity, make_work_folder
from jaxtl.runtime.environment import describe
from jaxtl.runtime.files import file_lock
from jaxtl.search.space import Space, monitor_of, quiet, trial_faults
from jaxtl.train.phase import DivergedError
from jaxtl.train.progress import more_is_better

RUNNING = TrialState.RUNNING.name.lower()
BEST, TRIALS, STORAGE, LOCK = "best", "trials", "search.db", "search.lock"
SHOWN = 15  # trials that a screen has room for
POLL_S = 1.0  # how often a process that waits for others looks after them
HEARTBEAT_S, GRACE_S = 5, 20  # a process that is silent for the grace period counts as dead
SAMPLERS = ("random", "tpe")
PRUNERS: dict[str, Callable[[], optuna.pruners.BasePruner]] = {
    "none": optuna.pruners.NopPruner,
    "median": optuna.pruners.MedianPruner,
    "halving": optuna.pruners.SuccessiveHalvingPruner,
}


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
        if strange := [name for name in (RunFiles.CONFIG, RunFiles.SUMMARY) if (folder / name).exists()]:
            raise UserError(
                f"The work folder {folder} holds a run ({', '.join(strange)}), not a search; choose another with "
                "--workdir."
            )
        url = storage or str(URL.create("sqlite", database=str(folder.absolute() / STORAGE)))
        self.study = Study(url, folder.absolute(), space, maximise=more_is_better(self.monitor), **method)
        drawn = space.draw(0, 4) if space.apply else []
        asked = {
            "config": identity(config),
            "space": {name: distribution_to_json(of) for name, of in space.parameters.items()},  # type: ignore[arg-type]
            "apply": {str(i): space.configure(config, params) for i, params in enumerate(drawn)},
            "final": dict(space.final),
            **method,
        }
        asked = json.loads(json.dumps(asked))  # as the database keeps it
        if changed := differences(self.study.describe(asked), asked):
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

    def run_trials(self, train: Callable[..., Any]) -> None:
        """Run trials until none waits and none runs, those of other processes included.

        Args:
          train: ``jaxtl.experiment.train``, whose errors end the search, but for those that are a trial's own.
        """
        waited = False
        while True:
            if line := self.study.run_next(functools.partial(self._run, train)):
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

    def _run(self, train: Callable[..., Any], trial: optuna.Trial, place: int, params: dict[str, Any]) -> float:
        """Run a trial, or the rest of it where its folder was left; its value is that of the epoch that is kept."""
        short = short_names(list(params)).values()
        chosen = (f"{name} {shown(value)}" for name, value in zip(short, params.values(), strict=True))
        self.console.say(f"Trial {place}: {', '.join(chosen)}")
        try:
            tree = self.space.configure(self.config, params)
        except Exception as error:  # of a user's own function, in a draw that the check did not see
            faults = [f"apply fails ({' '.join(f'{type(error).__name__}: {error}'.split())})."]
        else:
            faults = trial_faults(tree, self.monitor)
        reason = " ".join(faults)
        if not faults:
            main, console = variants(tree)[""], TrialConsole(trial, self.monitor)
            with RunFolder(self._folder_of(place), main) as folder:
                try:
                    with train(main, folder, main["model"]["weights"] or None, console, self._load) as trained:
                        fitted = trained.fitted
                    return float(fitted.history[fitted.best_epoch - 1][self.monitor])
                except DivergedError:
                    reason = "The loss became NaN or infinite."
                except jax.errors.JaxRuntimeError as error:
                    if "RESOURCE_EXHAUSTED" not in str(error):
                        raise
                    if any(line.state == RUNNING and line.number != place for line in self.study.lines()):
                        raise UserError(
                            "The device has no memory left for this process, perhaps because other processes of the "
                            "search use it; run one process a device."
                        ) from error
                    reason = "The network needs more memory than the device has."
                except optuna.TrialPruned as pruned:
                    reason = str(pruned)
                finally:
                    console.close()
        trial.set_user_attr("reason", reason)
        raise optuna.TrialPruned

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

    def conclude(self, run: Callable[..., Any] | None) -> Outcome:
        """Write table, charts and page; train the best trial's config again and test it.

        Args:
          run: ``jaxtl.experiment.run``; ``None``: nothing is trained or tested.

        Raises:
          UserError: no trial was completed.
        """
        with file_lock(self.folder / f"{BEST}.lock"):
            outcome = self.outcome()
            write(outcome, self.folder)  # before the final training, which may take long
            best = outcome.best
            if best and run and outcome.summary is None:
                self.console.say(f"\nTrial {best.number} is the best: its config is trained again and tested once.")
                run(self.space.configure(self.config, best.params, final=True), self.folder / BEST)
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
        return outcome

    def outcome(self) -> Outcome:
        """The search as it stands."""
        main, summary = variants(self.config)[""], RunFiles(self.folder / BEST).summary()
        asked = self.monitor, self.study.lines(), self.space.parameters, self.method, dict(self.space.final)
        return Outcome(main["name"], *asked, summary, main["reported"], describe())


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


class Study:
    """The trials of one search.

    Args:
      url: SQLAlchemy's address of the database: ``sqlite:///FILE``, ``postgresql://…``.
      folder: of the search; its name is the study's, and it holds the lock.
      space: what is varied.
      maximise: whether a larger value is better.
      sampler, pruner: one of ``SAMPLERS``, and one of ``PRUNERS``.
      seed: of the sampler.

    Raises:
      UserError: the URL is none, or the database cannot be used; the latter also in the methods.
    """

    def __init__(
        self, url: str, folder: Path, space: Space, *, maximise: bool, sampler: str, pruner: str, seed: int
    ) -> None:
        self._shown, self._lock = _shown(url), folder / LOCK
        self._space, self._sampler, self._seed = space, sampler, seed
        with self._explained(ImportError), file_lock(self._lock):
            # No pool: a connection is closed once it is used, so that none is left open where a search ends.
            unpooled = {"poolclass": NullPool}
            storage = RDBStorage(url, engine_kwargs=unpooled, heartbeat_interval=HEARTBEAT_S, grace_period=GRACE_S)
            self._study = optuna.create_study(
                storage=storage,
                study_name=folder.name,
                direction="maximize" if maximise else "minimize",
                pruner=PRUNERS[pruner](),
                load_if_exists=True,
            )

    def describe(self, description: Mapping[str, Any]) -> Mapping[str, Any]:
        """The description of the search in the database, which is this one where there was none yet."""
        with self._explained(), file_lock(self._lock):
            if not self._study.user_attrs:
                self._study.set_user_attr("description", description)
            return dict(self._study.user_attrs["description"])

    def queue(self, total: int) -> None:
        """Queue the places 0 to ``total - 1`` that are not in the study yet."""
        with self._explained(), file_lock(self._lock):
            drawn = self._space.draw(self._seed, total) if self._sampler == "random" else [{}] * total
            for place in range(len(self._attempts()), total):
                self._study.enqueue_trial(drawn[place], user_attrs={"place": place})

    def run_next(self, objective: Callable[[optuna.Trial, int, dict[str, Any]], float]) -> TrialLine | None:
        """Run the next trial of the queue, one whose process died included; ``None`` where none waits.

        The objective takes the trial, its place and its parameters. What it raises, but for ``optuna.TrialPruned``,
        ends the attempt and is raised here.
        """
        taken: list[int] = []
        with self._explained(), contextlib.ExitStack() as lock:

            def run(trial: optuna.Trial) -> float:
                lock.close()  # the trial is this process's: another one may take the next
                taken.append(trial.user_attrs["place"])
                if self._sampler == "tpe":
                    # Trials that others run count as bad ones meanwhile, so that processes explore different places.
                    seed = (self._seed * 1_000_003 + taken[0]) % 2**32
                    self._study.sampler = optuna.samplers.TPESampler(seed=seed, constant_liar=True)
                params = {name: _suggest(trial, name, of) for name, of in self._space.parameters.items()}
                return objective(trial, taken[0], params)

            lock.enter_context(file_lock(self._lock))
            fail_stale_trials(self._study)
            for attempt in self._attempts().values():
                if attempt.state == TrialState.FAIL:
                    RetryHeartbeatStaleTrialCallback(inherit_intermediate_values=True)(self._study, attempt)
            if not self._study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
                return None
            self._study.optimize(run, n_trials=1)
        return self.lines()[taken[0]]

    def lines(self) -> list[TrialLine]:
        """The last attempt at each place, by place."""
        with self._explained():
            return [_line(place, trial) for place, trial in sorted(self._attempts().items())]

    def _attempts(self) -> dict[int, FrozenTrial]:
        return {trial.user_attrs["place"]: trial for trial in self._study.get_trials(deepcopy=False)}

    @contextlib.contextmanager
    def _explained(self, *more: type[Exception]) -> Iterator[None]:
        """Turn a database that cannot be used into a sentence; ``more`` are further errors that say so."""
        known: tuple[type[Exception], ...] = (SQLAlchemyError, optuna.exceptions.StorageInternalError, *more)
        quiet()
        try:
            yield
        except known as error:
            reason = " ".join(str(error.__cause__ or error).split("\n")[0].split())
            raise UserError(
                f"The trials in {self._shown} cannot be used ({reason}): restore the database, give another --storage, "
                "or search in another folder with --workdir."
            ) from error


def _shown(url: str) -> str:
    """The address of a database without what nobody else should read: its password and its options."""
    with contextlib.suppress(SQLAlchemyError, ValueError):
        address = make_url(url)
        if not address.password or "@" not in f"{address.host}{address.database}":  # else part of the password
            return address.set(query={}).render_as_string(hide_password=True)
    raise UserError(
        "The address given as --storage cannot be read; write it as postgresql://USER:PASSWORD@HOST:PORT/NAME, with "
        "%40 for an @ in the password."
    )


def _line(place: int, trial: FrozenTrial) -> TrialLine:
    value, epochs = trial.value if trial.state.is_finished() else None, max(trial.intermediate_values, default=0)
    seconds = trial.duration.total_seconds() if trial.duration else 0.0
    reason = trial.user_attrs.get("reason", "")
    return TrialLine(place, trial.state.name.lower(), value, trial.params, epochs, seconds, reason)


def _suggest(trial: optuna.Trial, name: str, distribution: Any) -> Any:
    """The value that the attempt before had, or the queue holds, or else that the sampler chooses."""
    content = json.loads(distribution_to_json(distribution))
    kind = {"FloatDistribution": "float", "IntDistribution": "int"}.get(content["name"], "categorical")
    return getattr(trial, f"suggest_{kind}")(name, **content["attributes"])

"""The trials of a search as Optuna's journal keeps them: who runs which, and what came out.

Several processes, also on several machines with one file system, share a journal. A trial belongs to the process that
holds the lock in its folder. Where that process has died the lock is free, the trial is still `RUNNING` in the journal,
and whoever claims the next trial goes on with it: with the same number and parameters, from its checkpoints.
"""

import contextlib
import warnings
from collections.abc import Iterator, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState

from jaxtl.errors import UserError
from jaxtl.report.search.outcome import State, TrialLine
from jaxtl.search.locks import FileLock, exclusive
from jaxtl.search.space import Choice, Distribution, Integers, LogUniform, Space, draw_one

JOURNAL, TRIALS = "journal.log", "trials"
_NAME = "search"
_STATES = {
    TrialState.COMPLETE: State.COMPLETE,
    TrialState.PRUNED: State.PRUNED,
    TrialState.FAIL: State.PRUNED,
    TrialState.RUNNING: State.RUNNING,
    TrialState.WAITING: State.RUNNING,
}


class Sampler(StrEnum):
    """How parameters are chosen."""

    RANDOM = "random"
    TPE = "tpe"


class Pruner(StrEnum):
    """How a trial that does badly is ended early."""

    NONE = "none"
    MEDIAN = "median"
    HALVING = "halving"


class Claim:
    """A trial that this process runs, and no other.

    Attributes:
      number: counted from 0.
      folder: its files.
      params: a value for each parameter of the space.
    """

    def __init__(self, trial: optuna.Trial, params: Mapping[str, Any], folder: Path, lock: FileLock) -> None:
        self.number, self.params, self.folder = trial.number, params, folder
        self._trial, self._lock = trial, lock

    def report(self, epoch: int, value: float) -> None:
        """Tell the pruner the value of an epoch; one that was told before, by a process that died since, stays."""
        if epoch not in self._reported():
            with _quiet():
                self._trial.report(value, epoch)

    def should_prune(self) -> bool:
        """Whether the values that were told so far are too bad to go on."""
        with _quiet():
            return bool(self._reported()) and self._trial.should_prune()

    def complete(self, value: float, **facts: Any) -> None:
        """Record the outcome."""
        self._tell(TrialState.COMPLETE, value, facts)

    def prune(self, reason: str, **facts: Any) -> None:
        """Record that the trial came to no value, and why."""
        self._tell(TrialState.PRUNED, None, {**facts, "reason": reason})

    def release(self) -> None:
        """Let other processes have the trial, if it is not over."""
        self._lock.release()

    def _reported(self) -> Mapping[int, float]:
        frozen = self._trial.storage.get_trial(self._trial._trial_id)
        return frozen.intermediate_values

    def _tell(self, state: TrialState, value: float | None, facts: Mapping[str, Any]) -> None:
        with _quiet():
            for name, fact in facts.items():
                self._trial.set_user_attr(name, fact)
            self._trial.study.tell(self.number, value, state)


class Journal:
    """The trials of one search folder.

    Raises:
      UserError: the journal is damaged.
    """

    def __init__(
        self, folder: Path, space: Space, *, maximise: bool, sampler: Sampler, pruner: Pruner, seed: int
    ) -> None:
        self.folder, self.space, self.sampler, self.seed = folder, space, sampler, seed
        self.distributions = {name: _of_optuna(distribution) for name, distribution in space.parameters.items()}
        with _quiet(), self._readable(), exclusive(folder / TRIALS / "lock"):
            backend = JournalFileBackend(str(folder / JOURNAL), lock_obj=FileLock(folder / f"{JOURNAL}.lock"))  # type: ignore[arg-type]
            self._study = optuna.create_study(
                storage=JournalStorage(backend),
                study_name=_NAME,
                direction="maximize" if maximise else "minimize",
                pruner=_pruner(pruner),
                load_if_exists=True,
            )

    def claim(self, total: int) -> Claim | None:
        """A trial to run: one whose process died, or a new one while there are fewer than ``total``; else ``None``."""
        with _quiet(), self._readable(), exclusive(self.folder / TRIALS / "lock"):
            trials = self._study.get_trials(deepcopy=False)
            for trial in trials:
                if trial.state == TrialState.RUNNING and (claimed := self._take(trial._trial_id, trial.number)):
                    return claimed
            if len(trials) >= total:
                return None
            trial_id = self._study.ask()._trial_id
            return self._take(trial_id, len(trials))

    def running(self) -> list[int]:
        """Numbers of the trials that are not over."""
        return [line.number for line in self.lines() if line.state == State.RUNNING]

    def lines(self) -> list[TrialLine]:
        """All trials, by number."""
        with _quiet(), self._readable():
            return [self._line(trial) for trial in self._study.get_trials(deepcopy=False)]

    def params_of(self, number: int) -> dict[str, Any]:
        """The parameters of a trial, as the config takes them."""
        (trial,) = (trial for trial in self._study.get_trials(deepcopy=False) if trial.number == number)
        return self._values(trial.params)

    def _take(self, trial_id: int, number: int) -> Claim | None:
        folder = self.folder / TRIALS / f"{number:04d}"
        lock = FileLock(folder / "lock")
        if not lock.try_acquire():
            return None
        # What was chosen before a process died stays; what was not is chosen now as it would have been then.
        self._study.sampler = _sampler(self.sampler, self.space, self.seed, number)
        trial = optuna.Trial(self._study, trial_id)
        params = self._values({name: _suggest(trial, name, d) for name, d in self.distributions.items()})
        return Claim(trial, params, folder, lock)

    def _values(self, params: Mapping[str, Any]) -> dict[str, Any]:
        return {name: _read(distribution, params[name]) for name, distribution in self.space.parameters.items()}

    def _line(self, trial: FrozenTrial) -> TrialLine:
        facts = trial.user_attrs
        return TrialLine(
            number=trial.number,
            state=_STATES[trial.state],
            value=trial.value if trial.state.is_finished() else None,
            params={
                name: _read(distribution, trial.params[name])
                for name, distribution in self.space.parameters.items()
                if name in trial.params
            },
            epochs=facts.get("epochs"),
            seconds=facts.get("seconds"),
            reason=facts.get("reason", ""),
        )

    @contextlib.contextmanager
    def _readable(self) -> Iterator[None]:
        try:
            yield
        except OSError:
            raise
        except (ValueError, KeyError, AssertionError) as error:
            if isinstance(error, UserError):
                raise
            raise UserError(
                f"{self.folder / JOURNAL} cannot be used ({' '.join(str(error).split())}): it is damaged or of another "
                "version; restore it, or search anew in another folder with --workdir."
            ) from error


class _Reproducible(optuna.samplers.BaseSampler):
    """Random search in which a trial's parameters are a function of seed and number, whichever process draws them."""

    def __init__(self, space: Space, seed: int) -> None:
        self.space, self.seed = space, seed

    def infer_relative_search_space(self, study: Any, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return {}

    def sample_relative(self, study: Any, trial: FrozenTrial, search_space: Any) -> dict[str, Any]:
        return {}

    def sample_independent(self, study: Any, trial: FrozenTrial, param_name: str, param_distribution: Any) -> Any:
        return _written(self.space.parameters[param_name], draw_one(self.space, param_name, self.seed, trial.number))


def _sampler(sampler: Sampler, space: Space, seed: int, number: int) -> optuna.samplers.BaseSampler:
    if sampler == Sampler.RANDOM:
        return _Reproducible(space, seed)
    # Trials that others run count as bad ones meanwhile, so that processes do not crowd at one place.
    return optuna.samplers.TPESampler(seed=(seed * 1_000_003 + number) % 2**32, constant_liar=True)


def _pruner(pruner: Pruner) -> optuna.pruners.BasePruner:
    if pruner == Pruner.MEDIAN:
        return optuna.pruners.MedianPruner(n_startup_trials=5)
    return optuna.pruners.SuccessiveHalvingPruner() if pruner == Pruner.HALVING else optuna.pruners.NopPruner()


def _of_optuna(distribution: Distribution) -> BaseDistribution:
    if isinstance(distribution, Choice):
        return CategoricalDistribution(tuple(_written(distribution, option) for option in distribution.ends()))
    if isinstance(distribution, Integers):
        return IntDistribution(distribution.low, distribution.last, log=distribution.log, step=distribution.step)
    return FloatDistribution(
        float(distribution.low), float(distribution.high), log=isinstance(distribution, LogUniform)
    )


def _written(distribution: Distribution, value: Any) -> Any:
    """A value as the journal keeps it: choices in words, since JSON knows no tuples and takes 1 for 1.0."""
    return repr(value) if isinstance(distribution, Choice) else value


def _read(distribution: Distribution, value: Any) -> Any:
    if not isinstance(distribution, Choice):
        return value
    options = {repr(option): option for option in distribution.ends()}
    return options[value]


def _suggest(trial: optuna.Trial, name: str, distribution: BaseDistribution) -> Any:
    if isinstance(distribution, FloatDistribution):
        return trial.suggest_float(name, distribution.low, distribution.high, log=distribution.log)
    if isinstance(distribution, IntDistribution):
        return trial.suggest_int(
            name, distribution.low, distribution.high, step=distribution.step, log=distribution.log
        )
    assert isinstance(distribution, CategoricalDistribution)
    return trial.suggest_categorical(name, distribution.choices)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep Optuna's log lines, and its warnings that a part of it may change, off the screen."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(before)

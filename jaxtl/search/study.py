"""The trials of a search in Optuna's storage, which several processes may share.

Every trial has a *place*, counted from 0: its folder, and in a random search its parameters, depend on the seed and
the place alone. All places wait in Optuna's queue from the start, and each process takes the next one. A trial whose
process died has no heartbeat and fails; a new attempt at the same place, with the same parameters, joins the queue.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import optuna
from optuna.distributions import FloatDistribution, IntDistribution
from optuna.storages import RDBStorage, RetryHeartbeatStaleTrialCallback, fail_stale_trials
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from jaxtl.errors import UserError
from jaxtl.report.search import COMPLETE, PRUNED, RUNNING, TrialLine
from jaxtl.search.space import Space, draw, quiet

HEARTBEAT_S, GRACE_S = 5, 20  # a process that is silent for the grace period counts as dead
PLACE, DESCRIPTION = "place", "description"

Objective = Callable[[optuna.Trial, dict[str, Any]], float]


SAMPLERS = ("random", "tpe")
PRUNERS: dict[str, Callable[[], optuna.pruners.BasePruner]] = {
    "none": optuna.pruners.NopPruner,
    "median": optuna.pruners.MedianPruner,
    "halving": optuna.pruners.SuccessiveHalvingPruner,
}
_STATES = {TrialState.COMPLETE: COMPLETE, TrialState.PRUNED: PRUNED}


class _SurplusError(Exception):
    """A trial that nobody asked for: another process took the last place at the same moment."""


class Study:
    """The trials of one search.

    Args:
      url: SQLAlchemy's address of the database: ``sqlite:///FILE``, ``postgresql://…``.
      name: of the search in the database.
      space: what is varied.
      maximise: whether a larger value is better.
      sampler: how parameters are chosen, one of ``SAMPLERS``.
      pruner: how a trial that does badly is ended early, one of ``PRUNERS``.
      seed: of the sampler.

    Raises:
      UserError: the database cannot be used.
    """

    def __init__(
        self, url: str, name: str, space: Space, *, maximise: bool, sampler: str, pruner: str, seed: int
    ) -> None:
        self.url, self.space, self.sampler, self.seed = url, space, sampler, seed
        with self._explained():
            # No pool: a connection is closed once it is used, so that none is left open where a search ends.
            unpooled = {"poolclass": NullPool}
            storage = RDBStorage(url, engine_kwargs=unpooled, heartbeat_interval=HEARTBEAT_S, grace_period=GRACE_S)
            self._study = optuna.create_study(
                storage=storage,
                study_name=name,
                direction="maximize" if maximise else "minimize",
                pruner=PRUNERS[pruner](),
                load_if_exists=True,
            )

    def describe(self, description: Mapping[str, Any]) -> Mapping[str, Any]:
        """The description of the search as the database has it; ``description`` where it has none yet."""
        with self._explained():
            if DESCRIPTION not in self._study.user_attrs:
                self._study.set_user_attr(DESCRIPTION, description)
            found: Mapping[str, Any] = self._study.user_attrs[DESCRIPTION]
            return found

    def queue(self, total: int) -> None:
        """See that places 0 to ``total - 1`` are in the queue, or beyond it."""
        with self._explained():
            drawn = draw(self.space, self.seed, total) if self.sampler == "random" else [{}] * total
            known = self._attempts()
            for place in range(total):
                if place not in known:
                    self._study.enqueue_trial(drawn[place], user_attrs={PLACE: place})

    def run_next(self, objective: Objective) -> bool:
        """Run the next trial of the queue, one whose process died included; ``False`` where none waits.

        Args:
          objective: gives the value of a trial; it gets the trial and its parameters. It may raise
            ``optuna.TrialPruned``. Any other exception ends the attempt, and is raised here.
        """
        with self._explained():
            fail_stale_trials(self._study)
            for attempts in self._attempts().values():
                if attempts[-1].state == TrialState.FAIL:
                    RetryHeartbeatStaleTrialCallback(inherit_intermediate_values=True)(self._study, attempts[-1])
            if not self._study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
                return False

        def run(trial: optuna.Trial) -> float:
            self._refuse_surplus(trial)
            self._study.sampler = self._sampler_of(trial.user_attrs[PLACE])
            return objective(trial, {name: _suggest(trial, name, d) for name, d in self.space.parameters.items()})

        with self._explained():
            self._study.optimize(run, n_trials=1, catch=(_SurplusError,))
        return True

    def running(self) -> list[int]:
        """Places whose trial runs, here or elsewhere."""
        return [line.number for line in self.lines() if line.state == RUNNING]

    def lines(self) -> list[TrialLine]:
        """The trials that were begun, by place."""
        with self._explained():
            attempts = self._attempts()
        last = {place: tries[-1] for place, tries in sorted(attempts.items())}
        return [
            _line(place, trial)
            for place, trial in last.items()
            if trial.state != TrialState.WAITING or len(attempts[place]) > 1
        ]

    def _attempts(self) -> dict[int, list[FrozenTrial]]:
        """The attempts at each place, the earliest first; surplus ones have none."""
        found: dict[int, list[FrozenTrial]] = {}
        for trial in self._study.get_trials(deepcopy=False):
            if PLACE in trial.user_attrs:
                found.setdefault(trial.user_attrs[PLACE], []).append(trial)
        # Two processes may have queued one place at the same moment: the earlier attempt counts.
        for place, tries in found.items():
            alive = next((i for i, trial in enumerate(tries) if trial.state != TrialState.FAIL), len(tries))
            found[place] = tries[: alive + 1]
        return found

    def _refuse_surplus(self, trial: optuna.Trial) -> None:
        place = trial.user_attrs.get(PLACE)
        if place is None or self._attempts()[place][-1].number != trial.number:
            raise _SurplusError

    def _sampler_of(self, place: int) -> optuna.samplers.BaseSampler:
        if self.sampler == "random":  # whose parameters were drawn for the queue
            return optuna.samplers.RandomSampler(self.seed)
        # Trials that others run count as bad ones meanwhile, so that processes do not crowd at one place.
        return optuna.samplers.TPESampler(seed=(self.seed * 1_000_003 + place) % 2**32, constant_liar=True)

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        """Keep Optuna quiet, and turn a database that cannot be used into a sentence."""
        try:
            with quiet():
                yield
        except (SQLAlchemyError, optuna.exceptions.StorageInternalError, ImportError) as error:
            reason = " ".join(str(error.__cause__ or error).split("\n")[0].split())
            raise UserError(
                f"The trials in {self.url} cannot be used ({reason}): restore the database, give another --storage, or "
                "search in another folder with --workdir."
            ) from error


def _line(place: int, trial: FrozenTrial) -> TrialLine:
    facts = trial.user_attrs
    return TrialLine(
        number=place,
        state=_STATES.get(trial.state, RUNNING),
        value=trial.value if trial.state.is_finished() else None,
        params=trial.params,
        epochs=facts.get("epochs"),
        seconds=facts.get("seconds"),
        reason=facts.get("reason", ""),
    )


def _suggest(trial: optuna.Trial, name: str, distribution: Any) -> Any:
    """The value that the attempt before had, or the queue holds, or else that the sampler chooses."""
    if isinstance(distribution, FloatDistribution):
        return trial.suggest_float(
            name, distribution.low, distribution.high, step=distribution.step, log=distribution.log
        )
    if isinstance(distribution, IntDistribution):
        return trial.suggest_int(
            name, distribution.low, distribution.high, step=distribution.step, log=distribution.log
        )
    choices: Sequence[Any] = distribution.choices
    return trial.suggest_categorical(name, choices)

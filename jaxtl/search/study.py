"""The trials of a search, kept in Optuna's storage, which several processes may share.

Every trial has a *place*, counted from 0. Its folder, and in a random search its parameters, depend on the seed and the
place alone. All places wait in Optuna's queue from the start, and each process takes the next one. A trial whose
process died sends no heartbeat any more and fails; a new attempt at its place, with its parameters, joins the queue.
"""

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import distribution_to_json
from optuna.storages import RDBStorage, RetryHeartbeatStaleTrialCallback, fail_stale_trials
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from jaxtl.errors import UserError
from jaxtl.report.search import TrialLine
from jaxtl.runtime.files import file_lock
from jaxtl.search.space import Space, quiet

LOCK = "search.lock"
HEARTBEAT_S, GRACE_S = 5, 20  # a process that is silent for the grace period counts as dead
SAMPLERS = ("random", "tpe")
PRUNERS: dict[str, Callable[[], optuna.pruners.BasePruner]] = {
    "none": optuna.pruners.NopPruner,
    "median": optuna.pruners.MedianPruner,
    "halving": optuna.pruners.SuccessiveHalvingPruner,
}


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
        with self._explained(KeyError), file_lock(self._lock):
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

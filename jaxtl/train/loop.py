"""The loop: phase after phase, each from the variables that the one before kept; going on where a run was broken off.

All randomness is a function of (seed, phase, epoch, step), so `Progress` and the arrays of `TrainState` are enough to
continue bit by bit, even from the middle of an epoch.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from jaxtl.runtime.mesh import put, replicated
from jaxtl.train.evaluate import Evaluation
from jaxtl.train.extract import Extractor
from jaxtl.train.features import FeatureCache
from jaxtl.train.phase import Best, PhaseTrainer
from jaxtl.train.progress import Line, Progress
from jaxtl.train.task import Session, Task
from jaxtl.transfer.partition import Variables


class Fitted(NamedTuple):
    """The outcome of `fit`.

    Attributes:
      variables: ``params`` and ``batch_stats``, those to test.
      best_epoch: the epoch they come from, counted over all phases from 1.
      validation: their evaluation on the validation images, if the last phase made it in this process.
      history: one line an epoch.
      compile_s: wall time of all compilations, in all processes of the run.
      features_s: wall time of the passes whose features were kept, likewise.
      features: kept features of the last phase, of use to the test.
    """

    variables: Variables
    best_epoch: int
    validation: Evaluation | None
    history: list[Line]
    compile_s: float
    features_s: float
    features: FeatureCache


def fit(task: Task, variables: Mapping[str, Any], session: Session) -> Fitted:
    """Train a model by a plan, or go on with it where the checkpoints say.

    Args:
      task: model, plan and images; a plan without phases leaves the variables as they are.
      variables: ``params`` and, where the model has any, ``batch_stats``, float32; what the first phase starts from.
      session: checkpoints, observer and stop flag.

    Raises:
      jaxtl.train.phase.DivergedError: if the loss stops being a number; the last good checkpoint is kept.
      Interrupted: if a stop was asked for.
    """
    saved = session.checkpoints.last_progress()
    progress = saved or Progress()
    extractor = Extractor(task.model, task.preprocess, task.batch_size, task.mesh, session.observer, session.stop)
    features = FeatureCache(extractor, session.store)
    best = Best(0, put({"batch_stats": {}, **variables}, replicated(task.mesh)))
    first = progress.phase
    for index in range(first, len(task.plan)):
        resume = saved is not None and index == first
        if not resume:
            progress.phase, progress.step, progress.seconds = index, 0, 0.0
        best = PhaseTrainer(task, session, features, best.variables, progress, resume).run()
    if not task.plan:  # nothing trains: the weights are tested, and kept, as they are
        session.checkpoints.save_best(0, best.variables)
    found = best.variables, best.epoch, best.validation
    return Fitted(*found, progress.history, progress.compile_s, progress.features_s, features)

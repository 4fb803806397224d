"""The loop: phase after phase, each from the variables that the one before kept; going on where a run was broken off.

All randomness is a function of (seed, phase, epoch, step), so `Progress` and the arrays of `TrainState` are enough to
continue bit by bit, even from the middle of an epoch.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from jax.sharding import Mesh

from jaxtl.data.augment import Transform
from jaxtl.data.dataset import Dataset
from jaxtl.models.classifier import Classifier
from jaxtl.runtime.interrupts import StopFlag
from jaxtl.runtime.mesh import put, replicated
from jaxtl.train.checkpoint import Checkpoints
from jaxtl.train.features import FeatureCache
from jaxtl.train.observer import Observer
from jaxtl.train.phase import PhaseUnderWay, Setting
from jaxtl.train.progress import Line, Progress
from jaxtl.transfer.partition import Variables
from jaxtl.transfer.phases import Phase


class Fitted(NamedTuple):
    """The outcome of `fit`.

    Attributes:
      variables: ``params`` and ``batch_stats``, those to test.
      best_epoch: the epoch they come from, counted over all phases from 1.
      history: one line an epoch.
      compile_s: wall time of all compilations, in all processes of the run.
      features_s: wall time of the passes whose features were kept, likewise.
    """

    variables: Variables
    best_epoch: int
    history: list[Line]
    compile_s: float
    features_s: float


def fit(
    model: Classifier,
    variables: Mapping[str, Any],
    plan: Sequence[Phase],
    train: Dataset,
    validation: Dataset | None,
    *,
    preprocess: Transform,
    batch_size: int,
    seed: int,
    mesh: Mesh,
    features: FeatureCache,
    checkpoints: Checkpoints,
    checkpoint_every_s: float,
    observer: Observer,
    stop: StopFlag,
) -> Fitted:
    """Train a model by a plan, or go on with it where the checkpoints say.

    Args:
      model: the classifier.
      variables: ``params`` and, where the model has any, ``batch_stats``, float32; what the first phase starts from.
      plan: the phases, in order, which name their stages; none leaves the variables as they are.
      train: images to train on; they lie on the device as uint8, or in host memory if they outgrow it.
      validation: images for early stopping and the choice of the best epoch, or ``None``.
      preprocess: resize and normalisation, after augmentation in training and alone in validation.
      batch_size: images a step, a multiple of the number of devices.
      seed: of shuffling, augmentation and dropout.
      mesh: devices to run on.
      features: where features are kept in phases that train the head alone.
      checkpoints: folder of checkpoints; if it holds any, training continues from there.
      checkpoint_every_s: least time between two saves, in seconds; the end of a phase is saved in any case.
      observer: is told of epochs and progress.
      stop: once raised, the state is saved and ``Interrupted`` ends the loop.

    Returns:
      The variables to test, the epoch they come from and the history.

    Raises:
      jaxtl.train.phase.DivergedError: if the loss stops being a number; the last good checkpoint is kept.
      Interrupted: if ``stop`` was raised.
    """
    setting = Setting(
        model=model,
        train=train,
        validation=validation,
        preprocess=preprocess,
        batch_size=batch_size,
        seed=seed,
        mesh=mesh,
        features=features,
        checkpoints=checkpoints,
        checkpoint_every_s=checkpoint_every_s,
        observer=observer,
        stop=stop,
        epochs_planned=sum(phase.epochs for phase in plan),
    )
    saved = checkpoints.last_progress()
    progress = Progress(**saved) if saved else Progress()
    kept_variables = put({"batch_stats": {}, **variables}, replicated(mesh))
    kept_epoch = 0
    for index in range(progress.phase, len(plan)):
        resume = saved is not None and index == saved["phase"]
        if not resume:
            progress.phase, progress.step, progress.seconds = index, 0, 0.0
        kept_variables, kept_epoch = PhaseUnderWay(setting, plan[index], kept_variables, progress, resume).run()
    if not plan:  # nothing trains: the weights are tested, and kept, as they are
        checkpoints.save_best(0, kept_variables)
    return Fitted(kept_variables, kept_epoch, progress.history, progress.compile_s, progress.features_s)

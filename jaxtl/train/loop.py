"""The loop: phases, epochs, steps; early stopping, checkpoints, and going on where a run was broken off.

All randomness is a function of (seed, phase, epoch, step), so `Progress` and the arrays of `TrainState` are enough to
continue bit by bit, even from the middle of an epoch.
"""

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from jaxtl.data.augment import Transform, compose, horizontal_flip, pad_and_crop
from jaxtl.data.dataset import Dataset
from jaxtl.data.feed import Order, epoch_order
from jaxtl.errors import UserError
from jaxtl.models.classifier import Classifier
from jaxtl.train.checkpoint import Checkpoints
from jaxtl.train.evaluate import Evaluation, make_evaluator
from jaxtl.train.interrupt import StopFlag
from jaxtl.train.mesh import put_order, replicated
from jaxtl.train.metrics import accuracy_of, empty_metrics
from jaxtl.train.optimizer import make_optimizer, make_schedule
from jaxtl.train.progress import Line, Progress, best_epoch, out_of_patience
from jaxtl.train.state import TrainState, init_state
from jaxtl.train.step import make_train_step
from jaxtl.transfer.partition import merge, split
from jaxtl.transfer.phases import Phase, trained_stages

# How often the loop waits for the device: often enough for a live progress bar and an early end on NaN, seldom enough
# to cost nothing.
_SYNC_S = 0.5

Variables = dict[str, Any]


class Observer(Protocol):
    """What the loop tells while it runs; the console implements it."""

    def on_compile(self, what: str, seconds: float) -> None:
        """A step was compiled."""

    def on_epoch_start(self, phase: str, epoch: int, epochs: int, images: int) -> None:
        """An epoch begins: its number and the number planned, over all phases; the images it will see."""

    def on_images(self, done: int) -> None:
        """So many images of the epoch are done on the device."""

    def on_epoch_end(self, line: Line) -> None:
        """An epoch is over, and this is its line."""


class Interrupted(Exception):  # noqa: N818 - a request that was met is no error
    """A signal asked for the end, and everything is saved.

    Attributes:
      stop: tells which signal.
    """

    def __init__(self, stop: StopFlag, epoch: int) -> None:
        name = stop.signal.name if stop.signal else "request"
        super().__init__(f"Stopped by {name} in epoch {epoch}; all is saved: run the same command again to go on.")
        self.stop = stop


class Fitted(NamedTuple):
    """The outcome of `fit`.

    Attributes:
      variables: ``params`` and ``batch_stats``, those to test.
      best_epoch: the epoch they come from, counted over all phases from 1.
      history: one line an epoch.
      compile_s: wall time of all compilations, in all processes of the run.
    """

    variables: Variables
    best_epoch: int
    history: list[Line]
    compile_s: float


@dataclasses.dataclass(frozen=True)
class _Setting:
    """What is the same in all phases of a run: the arguments of `fit`, the data on the device."""

    model: Classifier
    images: jax.Array
    labels: jax.Array
    num_classes: int
    evaluate: Callable[[Variables], Evaluation] | None
    preprocess: Transform
    batch_size: int
    seed: int
    mesh: Mesh
    checkpoints: Checkpoints
    checkpoint_every_s: float
    observer: Observer
    stop: StopFlag
    epochs_planned: int


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
    checkpoints: Checkpoints,
    checkpoint_every_s: float,
    observer: Observer,
    stop: StopFlag,
) -> Fitted:
    """Train a model by a plan, or go on with it where the checkpoints say.

    Args:
      model: the classifier.
      variables: ``params`` and, where the model has any, ``batch_stats``, float32; what the first phase starts from.
      plan: the phases, in order.
      train: images to train on; they lie on the device as uint8 from the start.
      validation: images for early stopping and the choice of the best epoch, or ``None``.
      preprocess: resize and normalisation, after augmentation in training and alone in validation.
      batch_size: images a step, a multiple of the number of devices.
      seed: of shuffling, augmentation and dropout.
      mesh: devices to run on.
      checkpoints: folder of checkpoints; if it holds any, training continues from there.
      checkpoint_every_s: least time between two saves, in seconds; the end of a phase is saved in any case.
      observer: is told of epochs and progress.
      stop: once raised, the state is saved and ``Interrupted`` ends the loop.

    Returns:
      The variables to test, the epoch they come from and the history.

    Raises:
      UserError: if the loss stops being a number; the last good checkpoint is kept.
      Interrupted: if ``stop`` was raised.
    """
    everywhere = replicated(mesh)
    evaluate = None
    if validation is not None:
        evaluate = make_evaluator(model, validation, preprocess, batch_size=batch_size, mesh=mesh)
    setting = _Setting(
        model=model,
        images=jax.device_put(train.images, everywhere),
        labels=jax.device_put(train.labels, everywhere),
        num_classes=train.num_classes,
        evaluate=evaluate,
        preprocess=preprocess,
        batch_size=batch_size,
        seed=seed,
        mesh=mesh,
        checkpoints=checkpoints,
        checkpoint_every_s=checkpoint_every_s,
        observer=observer,
        stop=stop,
        epochs_planned=sum(phase.epochs for phase in plan),
    )
    saved = checkpoints.last_progress()
    progress = Progress(**saved) if saved else Progress()
    kept_variables = jax.device_put({"batch_stats": {}, **variables}, everywhere)
    kept_epoch = 0
    for index in range(progress.phase, len(plan)):
        resume = saved is not None and index == saved["phase"]
        if not resume:
            progress.phase, progress.step, progress.seconds = index, 0, 0.0
        kept_variables, kept_epoch = _PhaseUnderWay(setting, plan[index], kept_variables, progress, resume).run()
    return Fitted(kept_variables, kept_epoch, progress.history, progress.compile_s)


class _PhaseUnderWay:
    """One phase: its optimiser, its compiled step, its state, and the best variables so far."""

    def __init__(self, setting: _Setting, phase: Phase, variables: Variables, progress: Progress, resume: bool) -> None:
        self.setting, self.phase, self.progress = setting, phase, progress
        self.steps_per_epoch = -(-len(setting.images) // setting.batch_size)
        self.schedule = make_schedule(
            phase.schedule,
            phase.learning_rate,
            epochs=phase.epochs,
            steps_per_epoch=self.steps_per_epoch,
            warmup_epochs=phase.warmup_epochs,
            step_epochs=phase.step_epochs,
            step_factor=phase.step_factor,
        )
        optimizer = make_optimizer(
            phase.optimizer,
            self.schedule,
            momentum=phase.momentum,
            nesterov=phase.nesterov,
            weight_decay=phase.weight_decay,
            clip_norm=phase.clip_norm,
        )
        stages = trained_stages(phase, setting.model.stage_names)
        augment = [horizontal_flip()] * phase.flip + [pad_and_crop(phase.crop)] * bool(phase.crop)
        self.jitted_step = make_train_step(
            setting.model,
            optimizer,
            compose(*augment, setting.preprocess),
            train=stages,
            label_smoothing=phase.label_smoothing,
            mesh=setting.mesh,
        )
        self.step: Callable[..., TrainState] | None = None
        self.key = jax.random.fold_in(jax.random.key(setting.seed), progress.phase)

        trained, self.frozen = split(variables["params"], stages)
        # The step donates its state, and what the phase starts from must survive that.
        self.state = _copy(init_state(trained, variables["batch_stats"], optimizer, setting.num_classes))
        self.state = jax.device_put(self.state, replicated(setting.mesh))
        if resume:
            self.state, self.frozen = setting.checkpoints.restore_last((self.state, self.frozen))
        self.best: tuple[int, Variables] | None = None
        self.best_on_disk = self._best_epoch() if resume else None
        if self.best_on_disk is not None:
            self.best = (self.best_on_disk, setting.checkpoints.restore_best(self.best_on_disk, variables))
        self.saved_at = time.monotonic()

    def run(self) -> tuple[Variables, int]:
        """Train to the end of the phase; return the variables it keeps and the epoch they come from."""
        phase, progress = self.phase, self.progress
        while len(progress.lines()) < phase.epochs and not out_of_patience(
            progress.lines(), phase.monitor, phase.patience
        ):
            self._epoch()
            if self.setting.stop:
                self._save()
                raise Interrupted(self.setting.stop, len(progress.history))
            self._save_if_due()
        if self.best is None:
            self.best = len(progress.history), self._variables()
        self._save()
        epoch, variables = self.best
        return variables, epoch

    def _epoch(self) -> None:
        """The rest of the epoch that `progress` stands in, its validation and its line."""
        setting, progress = self.setting, self.progress
        done_epochs, number = len(progress.lines()), len(progress.history) + 1
        shuffle = (setting.seed, progress.phase, done_epochs)
        order = put_order(epoch_order(len(setting.images), setting.batch_size, shuffle), setting.mesh)
        step = self._compiled_step(order)
        setting.observer.on_epoch_start(self.phase.name, number, setting.epochs_planned, len(setting.images))

        before, start = progress.seconds, time.perf_counter()
        synced = start
        first = progress.step - done_epochs * self.steps_per_epoch
        for row in range(first, self.steps_per_epoch):
            self.state = step(self.state, self.frozen, setting.images, setting.labels, order, self.key)
            progress.step += 1
            progress.total_step += 1
            if time.perf_counter() - synced > _SYNC_S or setting.stop:
                self._check_loss(number)
                synced = time.perf_counter()
                progress.seconds = before + synced - start
                setting.observer.on_images(min((row + 1) * setting.batch_size, len(setting.images)))
                if setting.stop:
                    self._save()
                    raise Interrupted(setting.stop, number)
                self._save_if_due()
        self._check_loss(number)
        measured = self.state.metrics.compute()
        train_s = before + time.perf_counter() - start

        validation = setting.evaluate(self._variables()) if setting.evaluate else None
        if validation and not np.isfinite(validation.loss):
            raise _diverged(self.phase, number, setting.checkpoints)
        if validation and validation.compile_s:
            progress.compile_s += validation.compile_s
            setting.observer.on_compile("validation step", validation.compile_s)
        line: Line = {
            "phase": self.phase.name,
            "phase_index": progress.phase,
            "epoch": number,
            "train_loss": float(measured["loss"]),
            "train_accuracy": accuracy_of(np.asarray(measured["confusion"])),
            "val_loss": validation.loss if validation else None,
            "val_accuracy": validation.accuracy if validation else None,
            "learning_rate": float(self.schedule(progress.step - 1)),
            "images_per_s": len(setting.images) / train_s,
            "seconds": train_s + (validation.seconds if validation else 0.0),
        }
        progress.history.append(line)
        progress.seconds = 0.0
        no_sums = jax.device_put(empty_metrics(setting.num_classes), replicated(setting.mesh))
        self.state = self.state.replace(metrics=no_sums)
        if self._best_epoch() == number:
            self.best = (number, _copy(self._variables()))
        setting.observer.on_epoch_end(line)

    def _compiled_step(self, order: Order) -> Callable[..., TrainState]:
        """The step, compiled ahead of time at its first use, so that its compilation is timed by itself."""
        if self.step is None:
            setting, start = self.setting, time.perf_counter()
            arguments = (self.state, self.frozen, setting.images, setting.labels, order, self.key)
            self.step = self.jitted_step.lower(*arguments).compile()
            seconds = time.perf_counter() - start
            self.progress.compile_s += seconds
            setting.observer.on_compile("train step", seconds)
        return self.step

    def _variables(self) -> Variables:
        return {"params": merge(self.state.trained, self.frozen), "batch_stats": self.state.batch_stats}

    def _best_epoch(self) -> int | None:
        if self.phase.keep == "last":
            return None
        return best_epoch(self.progress.lines(), self.phase.monitor)

    def _check_loss(self, epoch: int) -> None:
        """Wait for the device; refuse to go on, and to save, once the loss is not a number."""
        total = float(self.state.metrics.loss.total)
        if not np.isfinite(total):
            raise _diverged(self.phase, epoch, self.setting.checkpoints)

    def _save_if_due(self) -> None:
        if time.monotonic() - self.saved_at >= self.setting.checkpoint_every_s:
            self._save()

    def _save(self) -> None:
        """Save the best variables, if they are news, and then the state that refers to them."""
        checkpoints = self.setting.checkpoints
        # The sums saw the weights before the last update; only the weights themselves show what that one did.
        if not _all_finite(self.state.trained):
            raise _diverged(self.phase, -(-self.progress.total_step // self.steps_per_epoch), checkpoints)
        if self.best is not None and self.best[0] != self.best_on_disk:
            checkpoints.save_best(*self.best)
            self.best_on_disk = self.best[0]
        checkpoints.save_last(self.progress.total_step, (self.state, self.frozen), dataclasses.asdict(self.progress))
        self.saved_at = time.monotonic()


def _diverged(phase: Phase, epoch: int, checkpoints: Checkpoints) -> UserError:
    saved = checkpoints.last_progress() is not None
    kept = f"the last good checkpoint in {checkpoints.folder} stays" if saved else "nothing had been saved yet"
    return UserError(
        f"The loss is not a number any more in epoch {epoch} (phase {phase.name!r}, learning rate "
        f"{phase.learning_rate:g}), so training stopped and {kept}; "
        "lower the learning rate or set clip_norm, and start in a new work folder."
    )


def _copy(tree: Any) -> Any:
    return jax.tree.map(jnp.copy, tree)


@jax.jit
def _all_finite(tree: Any) -> jax.Array:
    return jnp.stack([jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(tree)]).all()

"""One phase under way: its optimiser, its compiled step, its epochs; early stopping and checkpoints."""

import dataclasses
import functools
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from jaxtl.data.augment import Transform, compose, random_augmentation
from jaxtl.data.dataset import Dataset
from jaxtl.data.feed import alternate_mirrors
from jaxtl.errors import UserError
from jaxtl.models.classifier import Classifier
from jaxtl.runtime.interrupts import Interrupted, StopFlag
from jaxtl.runtime.mesh import put, replicated
from jaxtl.runtime.processes import broadcast, wait_for_all
from jaxtl.train.checkpoint import Checkpoints
from jaxtl.train.evaluate import Evaluation, make_evaluator
from jaxtl.train.examples import Batch, Examples, batches, place
from jaxtl.train.features import FeatureCache, Kept, head_alone
from jaxtl.train.metrics import accuracy_of, empty_metrics
from jaxtl.train.observer import SYNC_S, Observer
from jaxtl.train.optimizer import make_optimizer, make_schedule
from jaxtl.train.progress import Line, Progress, best_epoch, out_of_patience
from jaxtl.train.state import TrainState, init_state
from jaxtl.train.step import make_train_step
from jaxtl.train.sync import SyncSchedule
from jaxtl.transfer.partition import Variables, merge_variables, split_variables
from jaxtl.transfer.phases import Phase, caches_features, stages_in_training_mode, trained_stages


class DivergedError(UserError):
    """The loss is not a number any more; the last good checkpoint is kept."""


_NOTHING: Variables = {"params": {}, "batch_stats": {}}


@dataclasses.dataclass(frozen=True)
class Setting:
    """What is the same in all phases of a run: the arguments of `jaxtl.train.loop.fit`.

    Images are placed on the device when the first phase looks at them: where features are kept, none does.
    """

    model: Classifier
    train: Dataset
    validation: Dataset | None
    preprocess: Transform
    batch_size: int
    seed: int
    mesh: Mesh
    features: FeatureCache
    checkpoints: Checkpoints
    checkpoint_every_s: float
    observer: Observer
    stop: StopFlag
    epochs_planned: int

    @functools.cached_property
    def images(self) -> Examples:
        """The training images, placed."""
        return place(self.train, self.mesh)

    @functools.cached_property
    def evaluate(self) -> Callable[[Variables], Evaluation] | None:
        """The validation of the whole network, or ``None`` without images to validate on."""
        if self.validation is None:
            return None
        images = place(self.validation, self.mesh)
        return make_evaluator(
            self.model,
            images,
            self.preprocess,
            batch_size=self.batch_size,
            mesh=self.mesh,
        )


class PhaseUnderWay:
    """One phase, from the variables it starts with to those it keeps."""

    def __init__(self, setting: Setting, phase: Phase, variables: Variables, progress: Progress, resume: bool) -> None:
        self.setting, self.phase, self.progress = setting, phase, progress
        self.steps_per_epoch = -(-len(setting.train) // setting.batch_size)
        self.schedule = make_schedule(
            phase.schedule,
            phase.learning_rate,
            epochs=phase.epochs,
            steps_per_epoch=self.steps_per_epoch,
            warmup_epochs=phase.warmup_epochs,
            warmup_factor=phase.warmup_factor,
            step_epochs=phase.step_epochs,
            step_factor=phase.step_factor,
            final_factor=phase.final_factor,
        )
        self.optimizer = make_optimizer(
            phase.optimizer,
            self.schedule,
            momentum=phase.momentum,
            nesterov=phase.nesterov,
            weight_decay=phase.weight_decay,
            clip_norm=phase.clip_norm,
            multipliers=phase.multipliers,
            bias_multiplier=phase.bias_multiplier,
            lookahead=phase.lookahead,
            total_steps=phase.epochs * self.steps_per_epoch,
        )
        stage_names, with_statistics = setting.model.stage_names, variables["batch_stats"]
        self.in_training = stages_in_training_mode(phase, stage_names, with_statistics)
        self.cached = caches_features(phase, stage_names, with_statistics)
        self.key = jax.random.fold_in(jax.random.key(setting.seed), progress.phase)

        trained = trained_stages(phase, stage_names)
        moving, self.frozen = split_variables(variables, trained=trained, in_training=self.in_training)
        num_classes = setting.train.num_classes

        def first_state(params: dict[str, Any], batch_stats: dict[str, Any]) -> TrainState:
            # The step donates its state, and what the phase starts from must survive that.
            return _copy(init_state(params, batch_stats, self.optimizer, num_classes))

        # One program instead of one for each shape of the optimiser's zeros.
        make_state = jax.jit(first_state, out_shardings=replicated(setting.mesh))
        self.state = make_state(*moving.values())
        if resume:
            self.state = setting.checkpoints.restore_last(self.state)
            self.frozen = setting.checkpoints.restore_frozen(progress.phase, self.frozen)
        self.best: tuple[int, Variables] | None = None
        self.best_on_disk = self._best_epoch() if resume else None
        if self.best_on_disk is not None:
            self.best = (self.best_on_disk, setting.checkpoints.restore_best(self.best_on_disk, variables))
        self.saved_at = time.monotonic()
        self.syncs = SyncSchedule(setting.stop, SYNC_S)
        if not self.cached:
            setting.features.forget()  # of no use here, and room on the device

    def run(self) -> tuple[Variables, int]:
        """Train to the end of the phase; return the variables it keeps and the epoch they come from."""
        phase, progress = self.phase, self.progress
        epochs_before = len(progress.lines())
        while len(progress.lines()) < phase.epochs and not out_of_patience(
            progress.lines(), phase.monitor, phase.patience
        ):
            self._epoch()
            self._sync(len(progress.history))
        if self.best is None:
            self.best = len(progress.history), self._variables()
        self._save()
        if self.cached and (epochs := len(progress.lines()) - epochs_before):
            self._tell_time_saved(epochs)
        epoch, variables = self.best
        return variables, epoch

    def _epoch(self) -> None:
        """The rest of the epoch that `progress` stands in, its validation and its line."""
        setting, progress = self.setting, self.progress
        done_epochs, number, images = len(progress.lines()), len(progress.history) + 1, len(setting.train)
        examples, evaluate = self._examples, self._evaluate  # their features first, before the epoch's own bar
        shuffle = (setting.seed, progress.phase, done_epochs)
        first = progress.step - done_epochs * self.steps_per_epoch
        mirrored = None
        if self.phase.alternate_flip:
            mirrored = alternate_mirrors(images, (setting.seed, progress.phase, 0, 1), done_epochs)
        feed = batches(examples, setting.batch_size, shuffle, setting.mesh, first, mirrored=mirrored)
        batch = next(feed, None)
        if batch is not None:
            self._compile(batch)
        setting.observer.on_epoch_start(self.phase.name, number, setting.epochs_planned, images)

        before, start = progress.seconds, time.perf_counter()
        self.syncs.start()
        row = first
        frozen = _NOTHING if self.cached else self.frozen
        while batch is not None:
            inputs, labels, order, _ = batch
            self.state = self.step(self.state, frozen, inputs, labels, order, self.key)
            row += 1
            progress.step += 1
            progress.total_step += 1
            if self.syncs.due():
                self._check_loss(number)
                progress.seconds = before + time.perf_counter() - start
                setting.observer.on_images(min(row * setting.batch_size, images))
                self._sync(number)
            batch = next(feed, None)
        self._check_loss(number)
        measured = self.state.metrics.compute()
        train_s = before + time.perf_counter() - start

        validation = self._validate(evaluate)
        if validation and not np.isfinite(validation.loss):
            raise _diverged(self.phase, number, setting.checkpoints)
        line: Line = {
            "phase": self.phase.name,
            "phase_index": progress.phase,
            "epoch": number,
            "train_loss": float(measured["loss"]),
            "train_accuracy": accuracy_of(np.asarray(measured["confusion"])),
            "val_loss": validation.loss if validation else None,
            "val_accuracy": validation.accuracy if validation else None,
            "learning_rate": float(self.schedule(progress.step - 1)),
            "images_per_s": images / train_s,
            "seconds": train_s + (validation.seconds if validation else 0.0),
        }
        line = broadcast(line)  # its times, and what is decided by it, are the same in all processes
        progress.history.append(line)
        progress.seconds = 0.0
        no_sums = put(empty_metrics(setting.train.num_classes), replicated(setting.mesh))
        self.state = self.state.replace(metrics=no_sums)
        if self._best_epoch() == number:
            self.best = (number, merge_variables(_copy(self._moving()), self.frozen))
        setting.observer.on_epoch_end(line)

    # --- what an epoch trains and validates on ---

    @functools.cached_property
    def _examples(self) -> Examples:
        return self._training_features.examples if self.cached else self.setting.images

    @functools.cached_property
    def _training_features(self) -> Kept:
        phase = self.phase
        views = phase.cached_views if phase.augments else 0
        return self._keep(
            "training",
            self.setting.train,
            flip=phase.flip,
            crop=phase.crop,
            border=phase.crop_border,
            views=views,
            seed=self.setting.seed,
        )

    @functools.cached_property
    def _validation_features(self) -> Kept | None:
        return self._keep("validation", self.setting.validation) if self.setting.validation else None

    def _keep(self, what: str, dataset: Dataset, **augmentation: Any) -> Kept:
        kept = self.setting.features.of(self._variables(), what, dataset, **augmentation)
        self.progress.features_s += kept.seconds
        self.progress.compile_s += kept.compile_s
        return kept

    @functools.cached_property
    def _evaluate(self) -> Callable[[Variables], Evaluation] | None:
        if not self.cached:
            return self.setting.evaluate
        if (kept := self._validation_features) is None:
            return None
        setting = self.setting
        evaluate = make_evaluator(
            setting.model,
            kept.examples,
            compose(),
            batch_size=setting.batch_size,
            mesh=setting.mesh,
            method="classify",
        )
        return lambda variables: evaluate(head_alone(variables))

    def _validate(self, evaluate: Callable[[Variables], Evaluation] | None) -> Evaluation | None:
        if evaluate is None:
            return None
        validation = evaluate(self._variables())
        if validation.compile_s:
            self.progress.compile_s += validation.compile_s
            self.setting.observer.on_compile("validation step", validation.compile_s)
        return validation

    def _tell_time_saved(self, epochs: int) -> None:
        """What the passes over images would have cost beyond those that were made: each costs the same."""
        training, validation = self._training_features, self._validation_features
        saved = epochs * training.pass_s - training.seconds
        if validation:
            saved += epochs * validation.pass_s - validation.seconds
        passes = training.examples.views if training.seconds else 0  # an earlier phase may have kept them
        self.setting.observer.on_time_saved(epochs, passes, saved)

    # --- the step ---

    def _compile(self, batch: Batch) -> None:
        """Compile the step ahead of time at its first use, so that its compilation is timed by itself."""
        if "step" in self.__dict__:
            return
        setting, phase, start = self.setting, self.phase, time.perf_counter()
        if self.cached:
            method, transform = "classify", compose()
        else:
            method = "__call__"
            flip = phase.flip and not phase.alternate_flip  # which the order says
            augment = random_augmentation(flip=flip, crop=phase.crop, border=phase.crop_border)
            transform = compose(augment, setting.preprocess)
        jitted = make_train_step(
            setting.model,
            self.optimizer,
            transform,
            train=self.in_training,
            label_smoothing=phase.label_smoothing,
            method=method,
            mesh=setting.mesh,
        )
        inputs, labels, order, _ = batch
        frozen = _NOTHING if self.cached else self.frozen
        self.step: Callable[..., TrainState] = jitted.lower(
            self.state, frozen, inputs, labels, order, self.key
        ).compile()
        seconds = time.perf_counter() - start
        wait_for_all()
        self.progress.compile_s += seconds
        setting.observer.on_compile("train step", seconds)

    def _moving(self) -> Variables:
        return {"params": self.state.trained, "batch_stats": self.state.batch_stats}

    def _variables(self) -> Variables:
        return merge_variables(self._moving(), self.frozen)

    def _best_epoch(self) -> int | None:
        if self.phase.keep == "last":
            return None
        return best_epoch(self.progress.lines(), self.phase.monitor)

    def _check_loss(self, epoch: int) -> None:
        """Wait for the device; refuse to go on, and to save, once the loss is not a number."""
        total = float(self.state.metrics.loss.total)
        if not np.isfinite(total):
            raise _diverged(self.phase, epoch, self.setting.checkpoints)

    # --- checkpoints ---

    def _sync(self, epoch: int) -> None:
        """Save if it is time to; save and raise ``Interrupted`` if the end was asked for."""
        due = time.monotonic() - self.saved_at >= self.setting.checkpoint_every_s
        stop, save = self.syncs.sync(due)
        if stop or save:
            self._save()
        if stop:
            raise Interrupted(self.setting.stop, f"in epoch {epoch}")

    def _save(self) -> None:
        """Save what stays, once; the best variables, if they are news; and then the state that refers to both."""
        checkpoints = self.setting.checkpoints
        # The sums saw the weights before the last update; only the weights themselves show what that one did.
        if not _all_finite(self.state.trained):
            raise _diverged(self.phase, -(-self.progress.total_step // self.steps_per_epoch), checkpoints)
        checkpoints.save_frozen(self.progress.phase, self.frozen)
        if self.best is not None and self.best[0] != self.best_on_disk:
            checkpoints.save_best(*self.best)
            self.best_on_disk = self.best[0]
        checkpoints.save_last(self.progress.total_step, self.state, dataclasses.asdict(self.progress))
        self.saved_at = time.monotonic()


def _diverged(phase: Phase, epoch: int, checkpoints: Checkpoints) -> DivergedError:
    saved = checkpoints.last_progress() is not None
    kept = f"the last good checkpoint in {checkpoints.folder} stays" if saved else "nothing had been saved yet"
    return DivergedError(
        f"The loss is not a number any more in epoch {epoch} (phase {phase.name!r}, learning rate "
        f"{phase.learning_rate:g}), so training stopped and {kept}; "
        "lower the learning rate or set clip_norm, and start in a new work folder."
    )


def _copy(tree: Any) -> Any:
    return jax.tree.map(jnp.copy, tree)


@jax.jit
def _all_finite(tree: Any) -> jax.Array:
    return jnp.array([jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(tree)], bool).all()

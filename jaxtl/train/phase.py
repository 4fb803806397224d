"""The training of one phase: its compiled step, its epochs, early stopping and checkpoints."""

import dataclasses
import functools
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxtl.errors import UserError
from jaxtl.runtime.interrupts import Interrupted
from jaxtl.runtime.mesh import put, replicated
from jaxtl.runtime.processes import broadcast, wait_for_all
from jaxtl.train.evaluate import Evaluation
from jaxtl.train.examples import Batch, batches
from jaxtl.train.features import FeatureCache
from jaxtl.train.metrics import accuracy_of, empty_metrics
from jaxtl.train.observer import SYNC_S
from jaxtl.train.optimizer import make_schedule
from jaxtl.train.progress import Line, Progress, best_epoch, out_of_patience
from jaxtl.train.state import TrainState, start_phase
from jaxtl.train.step import make_train_step
from jaxtl.train.sync import SyncSchedule
from jaxtl.train.task import Inputs, Session, Task, feature_inputs, image_inputs
from jaxtl.transfer.partition import Variables, merge_variables
from jaxtl.transfer.phases import caches_features


class DivergedError(UserError):
    """The loss is not a number any more; the last good checkpoint is kept."""


class PhaseTrainer:
    """The phase that ``progress`` stands in, from the variables it starts with to those it keeps.

    Args:
      task: what is trained.
      session: checkpoints, observer and stop flag.
      features: those kept by phases before.
      variables: what the phase starts from; they stay as they are.
      progress: where the run stands; moved on.
      resume: whether the checkpoints hold a state of this phase to go on from.
    """

    def __init__(
        self,
        task: Task,
        session: Session,
        features: FeatureCache,
        variables: Variables,
        progress: Progress,
        resume: bool,
    ) -> None:
        self.task, self.session, self.features, self.progress = task, session, features, progress
        self.phase = phase = task.plan[progress.phase]
        self.steps_per_epoch = -(-len(task.train) // task.batch_size)
        self.schedule = make_schedule(phase, self.steps_per_epoch)
        self.optimizer, self.in_training, self.state, self.frozen = start_phase(
            task.model,
            variables,
            phase,
            self.schedule,
            num_classes=task.train.num_classes,
            mesh=task.mesh,
        )
        self.cached = caches_features(phase, task.model.stage_names, variables["batch_stats"])
        self.key = jax.random.fold_in(jax.random.key(task.seed), progress.phase)
        self.best: tuple[int, Variables] | None = None
        self.best_on_disk: int | None = None
        if resume:
            self._restore(variables)
        self.saved_at = time.monotonic()
        self.syncs = SyncSchedule(session.stop, SYNC_S)
        if not self.cached:
            features.forget()  # of no use here, and room on the device

    def run(self) -> tuple[Variables, int]:
        """Train to the end of the phase; return the variables it keeps and the epoch they come from."""
        phase, progress = self.phase, self.progress
        epochs_before = len(progress.lines())
        while len(progress.lines()) < phase.epochs and not out_of_patience(
            progress.lines(), phase.monitor, phase.patience
        ):
            self._end_epoch(self._train_epoch())
            self._sync(len(progress.history))
        if self.best is None:
            self.best = len(progress.history), self._variables()
        self._save()
        if self.cached and (epochs := len(progress.lines()) - epochs_before):
            self._tell_time_saved(epochs)
        epoch, variables = self.best
        return variables, epoch

    @functools.cached_property
    def inputs(self) -> Inputs:
        """What the phase trains and validates on; features are computed here."""
        if not self.cached:
            return image_inputs(self.task, self.phase)
        inputs = feature_inputs(self.task, self.phase, self._variables(), self.features)
        self.progress.features_s += sum(kept.seconds for kept in inputs.kept)
        self.progress.compile_s += sum(kept.compile_s for kept in inputs.kept)
        return inputs

    def _train_epoch(self) -> float:
        """Train the rest of the epoch that ``progress`` stands in; its training time in seconds."""
        task, progress, observer = self.task, self.progress, self.session.observer
        done_epochs, number, images = len(progress.lines()), len(progress.history) + 1, len(task.train)
        row = progress.step - done_epochs * self.steps_per_epoch
        seeds = (task.seed, progress.phase, done_epochs)
        feed = batches(self.inputs.examples, task.batch_size, seeds, task.mesh, row)
        batch = next(feed, None)
        if batch is not None:
            self._compile(batch)
        observer.on_epoch_start(self.phase.name, number, sum(phase.epochs for phase in task.plan), images)

        before, start = progress.seconds, time.perf_counter()
        self.syncs.start()
        while batch is not None:
            inputs, labels, order, _ = batch
            self.state = self.step(self.state, self._frozen_in_step, inputs, labels, order, self.key)
            row += 1
            progress.step += 1
            progress.total_step += 1
            if self.syncs.due():
                self._check_loss(number)
                progress.seconds = before + time.perf_counter() - start
                observer.on_images(min(row * task.batch_size, images))
                self._sync(number)
            batch = next(feed, None)
        self._check_loss(number)
        return before + time.perf_counter() - start

    def _end_epoch(self, train_s: float) -> None:
        """Validate, write the line of the epoch, and keep its variables if they are the best."""
        task, progress, number = self.task, self.progress, len(self.progress.history) + 1
        measured = self.state.metrics.compute()
        validation = self._validate(number)
        line: Line = {
            "phase": self.phase.name,
            "phase_index": progress.phase,
            "epoch": number,
            "train_loss": float(measured["loss"]),
            "train_accuracy": accuracy_of(np.asarray(measured["confusion"])),
            "val_loss": validation.loss if validation else None,
            "val_accuracy": validation.accuracy if validation else None,
            "learning_rate": float(self.schedule(progress.step - 1)),
            "images_per_s": len(task.train) / train_s,
            "seconds": train_s + (validation.seconds if validation else 0.0),
        }
        line = broadcast(line)  # its times, and what is decided by it, are the same in all processes
        progress.history.append(line)
        progress.seconds = 0.0
        no_sums = put(empty_metrics(task.train.num_classes), replicated(task.mesh))
        self.state = dataclasses.replace(self.state, metrics=no_sums)
        if self._best_epoch() == number:
            self.best = (number, merge_variables(jax.tree.map(jnp.copy, self._moving()), self.frozen))
        self.session.observer.on_epoch_end(line)

    def _validate(self, epoch: int) -> Evaluation | None:
        if self.inputs.evaluate is None:
            return None
        validation = self.inputs.evaluate(self._variables())
        if validation.compile_s:
            self._tell_compiled("validation step", validation.compile_s)
        if not np.isfinite(validation.loss):
            raise self._diverged(epoch)
        return validation

    def _compile(self, batch: Batch) -> None:
        """Compile the step ahead of time at its first use, so that its compilation is timed by itself."""
        if "step" in self.__dict__:
            return
        start = time.perf_counter()
        jitted = make_train_step(
            self.task.model,
            self.optimizer,
            self.inputs.transform,
            train=self.in_training,
            label_smoothing=self.phase.label_smoothing,
            method=self.inputs.method,
            mesh=self.task.mesh,
        )
        inputs, labels, order, _ = batch
        lowered = jitted.lower(self.state, self._frozen_in_step, inputs, labels, order, self.key)
        self.step: Callable[..., TrainState] = lowered.compile()
        seconds = time.perf_counter() - start
        wait_for_all()
        self._tell_compiled("train step", seconds)

    def _tell_compiled(self, what: str, seconds: float) -> None:
        self.progress.compile_s += seconds
        self.session.observer.on_compile(what, seconds)

    def _tell_time_saved(self, epochs: int) -> None:
        """What the passes over images would have cost beyond those that were made: each costs the same."""
        kept = self.inputs.kept
        passes = kept[0].examples.views if kept[0].seconds else 0  # an earlier phase may have kept them
        saved = sum(epochs * features.pass_s - features.seconds for features in kept)
        self.session.observer.on_time_saved(epochs, passes, saved)

    # --- variables ---

    @property
    def _frozen_in_step(self) -> Variables:
        """The frozen variables that the step reads: none where it gets features."""
        return {"params": {}, "batch_stats": {}} if self.cached else self.frozen

    def _moving(self) -> Variables:
        return {"params": self.state.trained, "batch_stats": self.state.batch_stats}

    def _variables(self) -> Variables:
        return merge_variables(self._moving(), self.frozen)

    def _best_epoch(self) -> int | None:
        return best_epoch(self.progress.lines(), self.phase.monitor) if self.phase.keep == "best" else None

    def _check_loss(self, epoch: int) -> None:
        """Wait for the device; refuse to go on, and to save, once the loss is not a number."""
        if not np.isfinite(float(self.state.metrics.loss.total)):
            raise self._diverged(epoch)

    def _diverged(self, epoch: int) -> DivergedError:
        checkpoints = self.session.checkpoints
        saved = checkpoints.last_progress() is not None
        kept = f"the last good checkpoint in {checkpoints.folder} stays" if saved else "nothing had been saved yet"
        return DivergedError(
            f"The loss is not a number any more in epoch {epoch} (phase {self.phase.name!r}, learning rate "
            f"{self.phase.learning_rate:g}), so training stopped and {kept}; "
            "lower the learning rate or set clip_norm, and start in a new work folder."
        )

    # --- checkpoints ---

    def _restore(self, variables: Variables) -> None:
        checkpoints = self.session.checkpoints
        self.state = checkpoints.restore_last(self.state)
        self.frozen = checkpoints.restore_frozen(self.progress.phase, self.frozen)
        self.best_on_disk = self._best_epoch()
        if self.best_on_disk is not None:
            self.best = self.best_on_disk, checkpoints.restore_best(self.best_on_disk, variables)

    def _sync(self, epoch: int) -> None:
        """Save if it is time to; save and raise ``Interrupted`` if a stop was asked for."""
        due = time.monotonic() - self.saved_at >= self.session.checkpoint_every_s
        stop, save = self.syncs.sync(due)
        if stop or save:
            self._save()
        if stop:
            raise Interrupted(self.session.stop, f"in epoch {epoch}")

    def _save(self) -> None:
        """Save what stays, once; the best variables, if they are new; and then the state that refers to both."""
        checkpoints, progress = self.session.checkpoints, self.progress
        # The sums saw the weights before the last update; only the weights themselves show what that one did.
        if not _all_finite(self.state.trained):
            raise self._diverged(-(-progress.total_step // self.steps_per_epoch))
        checkpoints.save_frozen(progress.phase, self.frozen)
        if self.best is not None and self.best[0] != self.best_on_disk:
            checkpoints.save_best(*self.best)
            self.best_on_disk = self.best[0]
        checkpoints.save_last(progress.total_step, self.state, progress)
        self.saved_at = time.monotonic()


@jax.jit
def _all_finite(tree: Any) -> jax.Array:
    return jnp.array([jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(tree)], bool).all()

"""The training of one phase: its epochs, early stopping and checkpoints."""

import functools
import time
from typing import NamedTuple

import numpy as np

from jaxtl.errors import UserError
from jaxtl.runtime.interrupts import Interrupted
from jaxtl.runtime.processes import broadcast
from jaxtl.train.evaluate import Evaluation
from jaxtl.train.features import FeatureCache
from jaxtl.train.metrics import accuracy_of
from jaxtl.train.optimizer import make_schedule
from jaxtl.train.progress import Line, Progress, best_epoch, out_of_patience
from jaxtl.train.scores import classification_scores
from jaxtl.train.stepper import Stepper
from jaxtl.train.sync import SyncSchedule
from jaxtl.train.task import Inputs, Session, Task, feature_inputs, image_inputs
from jaxtl.transfer.partition import Variables
from jaxtl.transfer.phases import caches_features


class DivergedError(UserError):
    """The loss is not a number any more; the last good checkpoint is kept."""

    def __init__(self, what: str) -> None:
        super().__init__(f"{what}; lower the learning rate or set clip_norm, and start in a new work folder.")


class Best(NamedTuple):
    """What a phase keeps.

    Attributes:
      epoch: counted over all phases from 1.
      variables: those after this epoch.
      validation: their evaluation on the validation images, if it was made in this process.
    """

    epoch: int
    variables: Variables
    validation: Evaluation | None = None


class PhaseSaver:
    """The checkpoints of one phase: its state, what it leaves as it is, and the best variables so far.

    Attributes:
      best: what the phase keeps, as far as is known.
    """

    def __init__(self, session: Session, stepper: Stepper, progress: Progress) -> None:
        self._session, self._stepper, self._progress = session, stepper, progress
        self._saved_at = time.monotonic()
        self._best_on_disk: int | None = None
        self.best: Best | None = None

    def restore(self, best_epoch: int | None, variables: Variables) -> None:
        """Go on from what was saved; ``variables`` show the form of the best ones."""
        checkpoints, stepper = self._session.checkpoints, self._stepper
        stepper.state = checkpoints.restore("last", stepper.state)
        stepper.frozen = checkpoints.restore("frozen", stepper.frozen, self._progress.phase)
        self._best_on_disk = best_epoch
        if best_epoch is not None:
            self.best = Best(best_epoch, checkpoints.restore("best", variables, best_epoch))

    def is_due(self) -> bool:
        """Whether the last save is long enough ago."""
        return time.monotonic() - self._saved_at >= self._session.checkpoint_every_s

    def save(self) -> None:
        """Save what stays, once; the best variables, if they are new; and then the state that refers to both."""
        checkpoints, progress = self._session.checkpoints, self._progress
        checkpoints.save_frozen(progress.phase, self._stepper.frozen)
        if self.best is not None and self.best.epoch != self._best_on_disk:
            checkpoints.save_best(self.best.epoch, self.best.variables)
            self._best_on_disk = self.best.epoch
        checkpoints.save_last(progress.total_step, self._stepper.state, progress)
        self._saved_at = time.monotonic()


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
        self.phase = task.plan[progress.phase]
        self.steps_per_epoch = task.steps_per_epoch
        self.schedule = make_schedule(self.phase, self.steps_per_epoch)
        self.stepper = Stepper(task, progress.phase, variables, self.schedule)
        self.cached = caches_features(self.phase, task.model.stage_names, variables["batch_stats"])
        self.saver = PhaseSaver(session, self.stepper, progress)
        self.validation: Evaluation | None = None  # after the last epoch
        if resume:
            self.saver.restore(self._best_epoch(), variables)
        self.syncs = SyncSchedule(session.stop)
        if not self.cached:
            features.forget()  # of no use here, and room on the device

    def run(self) -> Best:
        """Train to the end of the phase; return what it keeps."""
        phase, progress = self.phase, self.progress
        epochs_before = len(progress.lines())
        while len(progress.lines()) < phase.epochs and not out_of_patience(
            progress.lines(), phase.monitor, phase.patience
        ):
            self._end_epoch(self._train_epoch())
            self._sync()
        if self.saver.best is None:
            self.saver.best = Best(self.epoch, self.stepper.variables(), self.validation)
        self._save()
        if self.cached and (epochs := len(progress.lines()) - epochs_before):
            # What the passes over images would have cost beyond those that were made: each costs the same.
            kept = self.inputs.kept
            saved = sum(epochs * features.pass_s - features.seconds for features in kept)
            self.session.observer.on_time_saved(epochs, kept[0].passes, saved)
        return self.saver.best

    @functools.cached_property
    def inputs(self) -> Inputs:
        """What the phase trains and validates on; features are computed here."""
        if not self.cached:
            return image_inputs(self.task, self.phase)
        inputs = feature_inputs(self.task, self.phase, self.stepper.variables(), self.features)
        self.progress.features_s += sum(kept.seconds for kept in inputs.kept)
        self.progress.compile_s += sum(kept.compile_s for kept in inputs.kept)
        return inputs

    def _train_epoch(self) -> float:
        """Train the rest of the epoch that ``progress`` stands in; its training time in seconds."""
        task, progress, observer = self.task, self.progress, self.session.observer
        done_epochs, images = len(progress.lines()), len(task.train)
        row = progress.step - done_epochs * self.steps_per_epoch
        feed = task.batches(self.inputs.examples, progress.phase, done_epochs, row)
        batch = next(feed, None)
        if batch is not None and self.stepper.program is None:
            self._tell_compiled("train step", self.stepper.compile(self.inputs, batch))
        epochs = sum(phase.epochs for phase in task.plan)
        observer.on_epoch_start(self.phase.name, len(progress.history) + 1, epochs, images)

        before, start = progress.seconds, time.perf_counter()
        self.syncs.start()
        while batch is not None:
            self.stepper.step(batch)
            row += 1
            progress.step += 1
            progress.total_step += 1
            if self.syncs.due():
                self._check(self.stepper.loss_is_finite())
                progress.seconds = before + time.perf_counter() - start
                observer.on_images(min(row * task.batch_size, images))
                self._sync()
            batch = next(feed, None)
        self._check(self.stepper.loss_is_finite())
        return before + time.perf_counter() - start

    def _end_epoch(self, train_s: float) -> None:
        """Validate, write the line of the epoch, and keep its variables if they are the best."""
        progress = self.progress
        measured = self.stepper.take_metrics()
        validation = self.validation = self._validate()
        scores = classification_scores(validation.confusion) if validation else {}
        line: Line = {
            "phase": self.phase.name,
            "phase_index": progress.phase,
            "epoch": self.epoch,
            "train_loss": float(measured["loss"]),
            "train_accuracy": accuracy_of(np.asarray(measured["confusion"])),
            "val_loss": validation.loss if validation else None,
            "val_accuracy": validation.accuracy if validation else None,
            "val_f1": scores.get("f1"),
            "val_balanced_accuracy": scores.get("recall"),
            "learning_rate": float(self.schedule(progress.step - 1)),
            "images_per_s": len(self.task.train) / train_s,
            "seconds": train_s + (validation.seconds if validation else 0.0),
        }
        line = broadcast(line)  # its times, and what is decided by it, are the same in all processes
        progress.history.append(line)
        progress.seconds = 0.0
        if self._best_epoch() == self.epoch:
            self.saver.best = Best(self.epoch, self.stepper.variables(keep=True), validation)
        self.session.observer.on_epoch_end(line)

    def _validate(self) -> Evaluation | None:
        if self.inputs.evaluate is None:
            return None
        validation = self.inputs.evaluate(self.stepper.variables())
        if validation.compile_s:
            self._tell_compiled("validation step", validation.compile_s)
        self._check(bool(np.isfinite(validation.loss)))
        return validation

    def _tell_compiled(self, what: str, seconds: float) -> None:
        self.progress.compile_s += seconds
        self.session.observer.on_compile(what, seconds)

    @property
    def epoch(self) -> int:
        """The epoch of the last step, counted over all phases from 1."""
        return -(-self.progress.total_step // self.steps_per_epoch)

    def _best_epoch(self) -> int | None:
        return best_epoch(self.progress.lines(), self.phase.monitor) if self.phase.keep == "best" else None

    def _check(self, finite: bool) -> None:
        """Refuse to go on, and to save, once the loss is not a number."""
        if not finite:
            phase, checkpoints = self.phase, self.session.checkpoints
            saved = checkpoints.last_progress() is not None
            kept = f"the last good checkpoint in {checkpoints.folder} stays" if saved else "nothing had been saved yet"
            where = f"in epoch {self.epoch} (phase {phase.name!r}, learning rate {phase.learning_rate:g})"
            raise DivergedError(f"The loss is not a number any more {where}, so training stopped and {kept}")

    def _sync(self) -> None:
        """Save if it is time to; save and raise ``Interrupted`` if a stop was asked for."""
        stop, save = self.syncs.sync(self.saver.is_due())
        if stop or save:
            self._save()
        if stop:
            raise Interrupted(self.session.stop, f"in epoch {self.epoch}")

    def _save(self) -> None:
        self._check(self.stepper.weights_are_finite())
        self.saver.save()

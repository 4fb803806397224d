"""What a run trains, and what each of its phases trains on: images, or features of a frozen backbone."""

import dataclasses
import functools
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from jax.sharding import Mesh

from jaxtl.data.augment import Transform, compose
from jaxtl.data.dataset import Dataset
from jaxtl.data.mix import Mix
from jaxtl.models.classifier import HEAD, Classifier
from jaxtl.runtime.interrupts import StopFlag
from jaxtl.train.checkpoint import Checkpoints
from jaxtl.train.evaluate import Evaluate, make_evaluator
from jaxtl.train.examples import Batch, Examples, batches, place
from jaxtl.train.extract import Kept, Views
from jaxtl.train.feature_store import FeatureStore
from jaxtl.train.features import FeatureCache
from jaxtl.train.observer import Observer
from jaxtl.transfer.partition import Variables
from jaxtl.transfer.phases import Phase


@dataclasses.dataclass(frozen=True)
class Task:
    """What is trained: a network, by a plan, on images. With the first variables it decides the outcome.

    Attributes:
      model: the classifier.
      plan: the phases, in order, which name their stages.
      train: images to train on; they lie on the device as uint8, or in host memory if they outgrow it.
      validation: images for early stopping and the choice of the best epoch, or ``None``.
      preprocess: resize and normalisation, after augmentation in training and alone in validation.
      batch_size: images a step, a multiple of the number of devices.
      seed: of shuffling, augmentation and dropout.
      mesh: devices to run on.
    """

    model: Classifier
    plan: Sequence[Phase]
    train: Dataset
    validation: Dataset | None
    preprocess: Transform
    batch_size: int
    seed: int
    mesh: Mesh

    @property
    def steps_per_epoch(self) -> int:
        """Steps of an epoch; the last one may have fewer images."""
        return -(-len(self.train) // self.batch_size)

    def batches(self, examples: Examples, index: int, epoch: int, first: int = 0) -> Iterator[Batch]:
        """The batches of an epoch of a phase.

        Args:
          examples: the training images, or their features.
          index: position of the phase in the plan.
          epoch: number of the epoch in the phase, from 0.
          first: the step to begin with.
        """
        balanced = self.train.labels if self.plan[index].balanced_sampling else None
        return batches(examples, self.batch_size, (self.seed, index, epoch), self.mesh, first, balanced)

    @functools.cached_property
    def images(self) -> Examples:
        """The training images, placed when the first phase looks at them: where features are kept, none does."""
        return place(self.train, self.mesh)

    @functools.cached_property
    def evaluate(self) -> Evaluate | None:
        """The validation of the whole network, or ``None`` without images to validate on."""
        if self.validation is None:
            return None
        return self.evaluator(place(self.validation, self.mesh), self.preprocess)

    def evaluator(self, examples: Examples, transform: Transform, **options: Any) -> Evaluate:
        """``make_evaluator`` of this model on these devices."""
        return make_evaluator(self.model, examples, transform, batch_size=self.batch_size, mesh=self.mesh, **options)

    def evaluate_features(self, kept: Kept) -> Evaluate:
        """The evaluation of the head on kept features, as a function of the whole network's variables."""
        evaluate = self.evaluator(kept.examples, compose(), method="classify")
        return lambda variables: evaluate({"params": {HEAD: variables["params"][HEAD]}})


@dataclasses.dataclass(frozen=True)
class Session:
    """Where a training is saved, who is told of it, and what stops it. The outcome does not depend on it.

    Attributes:
      checkpoints: folder of checkpoints; if it holds any, training continues from there.
      checkpoint_every_s: least time between two saves, in seconds; the end of a phase is saved in any case.
      observer: is told of epochs and progress.
      stop: once raised, the state is saved and ``Interrupted`` ends the training.
      store: features that runs share, or ``None``.
    """

    checkpoints: Checkpoints
    checkpoint_every_s: float
    observer: Observer
    stop: StopFlag
    store: FeatureStore | None = None


class Inputs(NamedTuple):
    """What a phase trains and validates on.

    Attributes:
      examples: images or features to train on.
      transform: augmentation and normalisation in training.
      mix: what mixes the images of a batch after that, or ``None``.
      method: of the model, from such examples to logits.
      evaluate: the validation, or ``None``.
      kept: the features of training and validation; empty where there are images.
    """

    examples: Examples
    transform: Transform
    mix: Mix | None
    method: str
    evaluate: Evaluate | None
    kept: tuple[Kept, ...] = ()


def image_inputs(task: Task, phase: Phase) -> Inputs:
    """The images, augmented at every step."""
    return Inputs(task.images, phase.transform(task.preprocess), phase.mix(), "__call__", task.evaluate)


def feature_inputs(task: Task, phase: Phase, variables: Variables, features: FeatureCache) -> Inputs:
    """The features of the images under the backbone of these variables, computed here unless they are kept.

    Raises:
      Interrupted: if a stop was asked for.
    """
    views = Views(phase.cached_views, task.seed, phase.alone()) if phase.augments else None
    kept = [features.of(variables, "training", task.train, views)]
    evaluate = None
    if task.validation is not None:
        kept.append(features.of(variables, "validation", task.validation))
        evaluate = task.evaluate_features(kept[1])
    return Inputs(kept[0].examples, compose(), None, "classify", evaluate, tuple(kept))

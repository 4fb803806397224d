"""Passes of a frozen backbone over images, whose features take the images' place."""

import dataclasses
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from jaxtl.data.augment import Transform
from jaxtl.data.dataset import Dataset
from jaxtl.data.stored import StoredImages
from jaxtl.models.classifier import HEAD, Classifier
from jaxtl.runtime.interrupts import Interrupted, StopFlag
from jaxtl.runtime.memory import fits, largest_batch
from jaxtl.runtime.mesh import put, replicated, split
from jaxtl.runtime.processes import wait_for_all
from jaxtl.train.evaluate import folded
from jaxtl.train.examples import Examples, batches, place
from jaxtl.train.observer import Observer
from jaxtl.train.sync import SyncSchedule
from jaxtl.transfer.augmentation import Augmentation


@dataclasses.dataclass(frozen=True)
class Views:
    """Augmented views of each image.

    Attributes:
      count: views of each image, at least 1.
      seed: of the augmentation.
      augmentation: which mixes no images.
    """

    count: int
    seed: int
    augmentation: Augmentation


class Kept(NamedTuple):
    """Features of a data set.

    Attributes:
      examples: the features in the place of images.
      pass_s: wall time of one pass of the backbone over the data set, compilation not counted.
      passes: how many were made in this call: 0 if the features were there already.
      seconds: wall time spent on them in this call.
      compile_s: wall time of the compilation in this call.
    """

    examples: Examples
    pass_s: float
    passes: int
    seconds: float
    compile_s: float


@dataclasses.dataclass(eq=False)
class Extractor:
    """Runs the backbone of a model over images.

    Attributes:
      model: the classifier.
      preprocess: resize and normalisation, after augmentation.
      batch_size: images a step at least.
      mesh: devices to run on.
      observer: is told of passes.
      stop: once raised, ``Interrupted`` ends a pass.
    """

    model: Classifier
    preprocess: Transform
    batch_size: int
    mesh: Mesh
    observer: Observer
    stop: StopFlag

    def __post_init__(self) -> None:
        """Prepare the two programs that do not depend on the backbone, and empty the stores of what does."""
        self._folded: tuple[Classifier, dict[str, Any]] | None = None
        self._programs: dict[Any, tuple[int, Callable[..., jax.Array]]] = {}
        # Apart from the backbone, whose program then serves data sets of any length.
        self._gather = jax.jit(lambda images, order, row: images[order.indices[row]], out_shardings=split(self.mesh))
        self._write = jax.jit(_write, donate_argnums=0, out_shardings=replicated(self.mesh))

    def forget(self) -> None:
        """Drop the backbone's variables: they are about to change."""
        self._folded = None

    def extract(self, variables: Mapping[str, Any], dataset: Dataset, views: Views | None, before: int = 0) -> Kept:
        """The features of a data set under the backbone of these variables.

        The observer is told of ``before`` more images: those of the same pass that were done before.

        Raises:
          Interrupted: if a stop was asked for.
        """
        if self._folded is None:
            channels = dataset.image_shape[-1]
            model, whole = folded(self.model, variables, channels=channels, mesh=self.mesh)
            self._folded = model, backbone_of(whole)
        model, backbone = self._folded
        images, key = place(dataset, self.mesh), jax.random.key(views.seed if views else 0)
        batch_size, program, compile_s = self._program(model, backbone, images, key, views)
        start, N, count = time.perf_counter(), len(dataset), views.count if views else 1
        # The last batch is filled up, so that it reaches beyond the last image: the next view writes over that.
        rows = (count - 1) * N + -(-N // batch_size) * batch_size
        kept: Any = None
        before_last: Any = None
        schedule = SyncSchedule(self.stop)
        for view in range(count):
            view_key = jax.random.fold_in(key, view)
            for i, (inputs, _, order, row) in enumerate(batches(images, batch_size, None, self.mesh)):
                batch = self._gather(inputs, order, np.int32(row))
                features = program(backbone, batch, jax.random.fold_in(view_key, i))
                if kept is None:  # the first batch shows how wide the features are
                    kept = self._room_for(rows, features)
                at = view * N + i * batch_size
                if isinstance(kept, np.ndarray):
                    kept[at : at + batch_size] = features
                else:
                    kept = self._write(kept, features, at)
                # Two batches ahead keep a device busy; more would leave the clock and Ctrl-C waiting for all of them.
                jax.block_until_ready(before_last)
                before_last = features
                if schedule.due():
                    self.observer.on_images(before + min(view * N + (i + 1) * batch_size, count * N))
                    stop, _ = schedule.sync()
                    if stop:
                        raise Interrupted(self.stop, "while features were computed, which will be done again")
        jax.block_until_ready(kept)
        seconds = time.perf_counter() - start
        return Kept(self.examples(kept, dataset, count), seconds / count, count, seconds, compile_s)

    def examples(self, features: jax.Array | np.ndarray, dataset: Dataset, views: int) -> Examples:
        """Features with the labels of their images, which lie where the features do."""
        labels: Any = np.tile(dataset.labels, views)
        if isinstance(features, jax.Array):
            labels = put(labels, replicated(self.mesh))
        return Examples(features, labels, dataset.num_classes, len(dataset), views)

    def function(self, model: Classifier, views: Views | None) -> Callable[..., jax.Array]:
        """The function ``(variables, images, key) -> features``: uint8 ``[B, H, W, C]`` to float32 ``[B, F]``."""
        transform = (views.augmentation if views else Augmentation()).transform(self.preprocess)

        def backbone(variables: dict[str, Any], images: jax.Array, key: jax.Array) -> jax.Array:
            features = model.apply(variables, transform(key, images), train=False, method="features")
            return jnp.asarray(features, jnp.float32)

        return backbone

    def _program(
        self, model: Classifier, variables: Any, images: Examples, key: jax.Array, views: Views | None
    ) -> tuple[int, Callable[..., jax.Array], float]:
        """The batch size, the compiled backbone and the seconds that compiling it took.

        One for all data sets whose images are alike and treated alike. Augmented views depend on the batch size, and
        streamed images on their decoding, so these take no larger batches.
        """
        shape = images.inputs.shape[1:]
        name = (views and dataclasses.replace(views, count=1, seed=0), shape)
        start, is_new = time.perf_counter(), name not in self._programs
        if is_new:

            def arguments(size: int) -> tuple[Any, ...]:
                return variables, jax.ShapeDtypeStruct((size, *shape), jnp.uint8, sharding=split(self.mesh)), key

            step = jax.jit(self.function(model, views), out_shardings=replicated(self.mesh))
            count = 0 if views or isinstance(images.inputs, StoredImages) else images.total
            self._programs[name] = largest_batch(step, arguments, self.batch_size, count, self.mesh)
            wait_for_all()
            self.observer.on_compile("feature extraction", time.perf_counter() - start)
        return *self._programs[name], (time.perf_counter() - start) * is_new

    def _room_for(self, rows: int, features: jax.Array) -> jax.Array | np.ndarray:
        """Zeros float32 ``[rows, F]``, on the devices if they fit, else in host memory."""
        shape = (rows, features.shape[1])
        if fits(rows * features.shape[1] * features.itemsize, self.mesh):
            return jnp.zeros(shape, device=replicated(self.mesh))
        return np.zeros(shape, np.float32)


def backbone_of(variables: Mapping[str, Any]) -> dict[str, Any]:
    """The variables without those of the head."""
    return {kind: {stage: tree for stage, tree in trees.items() if stage != HEAD} for kind, trees in variables.items()}


def _write(kept: jax.Array, features: jax.Array, at: jax.Array) -> jax.Array:
    return jax.lax.dynamic_update_slice(kept, features, (at, 0))

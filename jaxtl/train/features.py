"""The feature cache: where the head alone trains, the backbone runs once per image and its features are kept.

A frozen backbone in inference mode is a pure function of the image: running it again in every epoch gives the same
numbers. ``cached_views=K`` does so for K augmented views of each image, and every epoch draws one of them.
"""

import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from jaxtl.data.augment import Border, Transform, compose, random_augmentation
from jaxtl.data.dataset import Dataset
from jaxtl.data.feed import Order
from jaxtl.data.stored import StoredImages
from jaxtl.models.classifier import HEAD, Classifier
from jaxtl.runtime.compiler_options import compiler_options
from jaxtl.runtime.interrupts import Interrupted, StopFlag
from jaxtl.runtime.memory import fits, largest_batch
from jaxtl.runtime.mesh import put, replicated, split
from jaxtl.runtime.processes import wait_for_all
from jaxtl.train.examples import Examples, batches, place
from jaxtl.train.folded import folded
from jaxtl.train.observer import SYNC_S, Observer
from jaxtl.train.sync import SyncSchedule


class Kept(NamedTuple):
    """Features of a data set.

    Attributes:
      examples: the features in the place of images.
      pass_s: wall time of one pass of the backbone over the data set, compilation not counted.
      seconds: wall time spent on it in this call: 0 if the features were there already.
      compile_s: wall time of the compilation in this call.
    """

    examples: Examples
    pass_s: float
    seconds: float
    compile_s: float


class FeatureCache:
    """Features of the data sets of one run under one backbone; forgotten when the backbone changes."""

    def __init__(
        self,
        model: Classifier,
        preprocess: Transform,
        *,
        batch_size: int,
        mesh: Mesh,
        observer: Observer,
        stop: StopFlag,
    ) -> None:
        """See `jaxtl.train.loop.fit` for the arguments."""
        self._model, self._preprocess, self._batch_size, self._mesh = model, preprocess, batch_size, mesh
        self._observer, self._stop = observer, stop
        self._kept: dict[tuple[Any, ...], Kept] = {}
        self._folded: tuple[Classifier, dict[str, Any]] | None = None
        self._compiled: dict[tuple[Any, ...], tuple[int, Callable[..., jax.Array]]] = {}

    def forget(self) -> None:
        """Let go of all features: they are those of a backbone that is about to change."""
        self._kept.clear()
        self._folded = None

    def of(
        self,
        variables: Mapping[str, Any],
        what: str,
        dataset: Dataset,
        *,
        flip: bool = False,
        crop: int = 0,
        border: Border = "black",
        views: int = 0,
        seed: int = 0,
    ) -> Kept:
        """The features of a data set, computed now or before.

        Args:
          variables: of the model; the same backbone at every call since the last ``forget``.
          what: what the images are called, "training" say; one name always means the same data set.
          dataset: the images.
          flip: see `jaxtl.transfer.Phase`.
          crop: see `jaxtl.transfer.Phase`.
          border: its ``crop_border``.
          views: number of augmented views; 0 for the images as they are.
          seed: of the augmentation.

        Raises:
          Interrupted: if a stop was asked for.
        """
        name = (what, flip, crop, border, views, seed) if views else (what,)
        if name in self._kept:
            return self._kept[name]._replace(seconds=0.0, compile_s=0.0)
        augment = random_augmentation(flip=flip, crop=crop, border=border) if views else compose()
        transform = compose(augment, self._preprocess)
        self._observer.on_pass_start(f"Features of {what} images", max(views, 1) * len(dataset))
        program = (flip, crop, border) if views else ()
        if self._folded is None:
            channels = dataset.image_shape[-1]
            self._folded = folded(self._model, variables, channels=channels, mesh=self._mesh)
        kept = self._extract(*self._folded, dataset, transform, max(views, 1), seed, program)
        self._observer.on_pass_end(what, max(views, 1), len(dataset), kept.seconds)
        self._kept[name] = kept
        return kept

    def _extract(
        self,
        model: Classifier,
        variables: dict[str, Any],
        dataset: Dataset,
        transform: Transform,
        views: int,
        seed: int,
        program: tuple[Any, ...],
    ) -> Kept:
        variables = _backbone(variables)
        everywhere, N = replicated(self._mesh), len(dataset)
        images = place(dataset, self._mesh)
        key = jax.random.key(seed)
        augmented, compile_s = bool(program), 0.0
        program = (*program, dataset.image_shape)  # one for all data sets whose images are alike and treated alike
        if program not in self._compiled:
            began = time.perf_counter()
            step = make_feature_step(model, transform, self._mesh)
            self._compiled[program] = self._compile(step, variables, images, key, augmented=augmented)
            wait_for_all()
            compile_s = time.perf_counter() - began
            self._observer.on_compile("feature extraction", compile_s)
        batch_size, compiled = self._compiled[program]
        # The last batch is filled up, so that it reaches beyond the last image: the next view writes over that.
        rows = (views - 1) * N + -(-N // batch_size) * batch_size
        kept: Any = None
        start = time.perf_counter()
        syncs = SyncSchedule(self._stop, SYNC_S)
        write = jax.jit(_write, donate_argnums=0, out_shardings=everywhere)
        # Apart from the backbone, whose program then serves data sets of any length.
        gather = jax.jit(_gather, out_shardings=split(self._mesh))
        for view in range(views):
            view_key = jax.random.fold_in(key, view)
            for i, (inputs, _, order, row) in enumerate(batches(images, batch_size, None, self._mesh)):
                gathered = gather(inputs, order, np.int32(row))
                features = compiled(variables, gathered, jax.random.fold_in(view_key, i))
                if kept is None:  # the first batch shows how wide the features are
                    shape = (rows, features.shape[1])
                    on_device = fits(rows * features.shape[1] * features.itemsize, self._mesh)
                    kept = jnp.zeros(shape, device=everywhere) if on_device else np.zeros(shape, np.float32)
                at = view * N + i * batch_size
                if on_device:
                    kept = write(kept, features, at)
                else:
                    kept[at : at + batch_size] = features
                if syncs.due():
                    jax.block_until_ready(features)
                    self._observer.on_images(min(view * N + (i + 1) * batch_size, views * N))
                    stop, _ = syncs.sync()
                    if stop:
                        raise Interrupted(self._stop, "while features were computed, which will be done again")
        jax.block_until_ready(kept)
        seconds = time.perf_counter() - start
        labels: Any = np.tile(dataset.labels, views)
        if on_device:
            labels = put(labels, everywhere)
        examples = Examples(kept, labels, dataset.num_classes, N, views)
        return Kept(examples, seconds / views, seconds, compile_s)

    def _compile(
        self,
        step: jax.stages.Wrapped,
        variables: Any,
        images: Examples,
        key: jax.Array,
        *,
        augmented: bool,
    ) -> tuple[int, Callable[..., jax.Array]]:
        """The batch size and the program; augmented views depend on the size, and streamed images on their decoding."""

        def arguments(size: int) -> tuple[Any, ...]:
            shape = (size, *images.inputs.shape[1:])
            return variables, jax.ShapeDtypeStruct(shape, jnp.uint8, sharding=split(self._mesh)), key

        count = 0 if augmented or isinstance(images.inputs, StoredImages) else images.total
        return largest_batch(step, arguments, self._batch_size, count, self._mesh)


def make_feature_step(model: Classifier, transform: Transform, mesh: Mesh) -> jax.stages.Wrapped:
    """The jitted step ``(variables, images, key) -> features``, ``[B, H, W, C]`` to float32 ``[B, F]``.

    Args:
      model: the classifier, its backbone run in inference mode.
      transform: augmentation and normalisation.
      mesh: devices to run on.
    """

    def feature_step(variables: dict[str, Any], images: jax.Array, key: jax.Array) -> jax.Array:
        batch = transform(key, images)
        return jnp.asarray(model.apply(variables, batch, train=False, method="features"), jnp.float32)

    return jax.jit(feature_step, out_shardings=replicated(mesh), compiler_options=compiler_options())


def head_alone(variables: Mapping[str, Any]) -> dict[str, Any]:
    """What ``classify`` needs of a model's variables."""
    return {"params": {HEAD: variables["params"][HEAD]}}


def _backbone(variables: Mapping[str, Any]) -> dict[str, Any]:
    return {kind: {stage: tree for stage, tree in trees.items() if stage != HEAD} for kind, trees in variables.items()}


def _gather(images: jax.Array, order: Order, row: jax.Array) -> jax.Array:
    return images[order.indices[row]]


def _write(kept: jax.Array, features: jax.Array, at: jax.Array) -> jax.Array:
    return jax.lax.dynamic_update_slice(kept, features, (at, 0))

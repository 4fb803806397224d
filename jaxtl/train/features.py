"""The feature cache: where the head alone trains, the backbone runs once per image and its features are kept.

A frozen backbone in inference mode is a pure function of the image: running it again in every epoch gives the same
numbers. With ``cached_views=K`` it does so for K augmented views of each image, and every epoch draws one of them. A
``FeatureStore`` hands them on to other runs.
"""

import dataclasses
import functools
import time
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxtl.data.dataset import Dataset, take
from jaxtl.runtime.memory import fits
from jaxtl.runtime.mesh import put, replicated
from jaxtl.runtime.processes import is_single_process
from jaxtl.train.checkpoint import digest, flatten
from jaxtl.train.extract import Extractor, Kept, Views, backbone_of
from jaxtl.train.feature_store import FeatureStore

PART = 4096  # images whose features are kept on disk together


class FeatureCache:
    """Features of the data sets of one run under one backbone, until ``forget``.

    Args:
      extractor: runs the backbone.
      store: features that runs share on disk; several processes of one run make no use of it.
    """

    def __init__(self, extractor: Extractor, store: FeatureStore | None = None) -> None:
        self._extractor, self._mesh, self._observer = extractor, extractor.mesh, extractor.observer
        self._store = store if is_single_process() else None
        self._kept: dict[tuple[str, Views | None], Kept] = {}
        # As text, with the width of features, by views and shape of an image.
        self._programs: dict[tuple[Views | None, tuple[int, ...]], tuple[str, int]] = {}

    def forget(self) -> None:
        """Drop all features: the backbone is about to change."""
        self._kept.clear()
        self._extractor.forget()

    def of(self, variables: Mapping[str, Any], what: str, dataset: Dataset, views: Views | None = None) -> Kept:
        """The features of a data set, computed now or before.

        Args:
          variables: of the model; the same backbone at every call since the last ``forget``.
          what: what the images are called, for example "training"; one name always means the same data set.
          dataset: the images.
          views: augmented views; ``None`` for the images as they are.

        Raises:
          Interrupted: if a stop was asked for.
        """
        if (what, views) in self._kept:
            return self._kept[what, views]._replace(passes=0, seconds=0.0, compile_s=0.0)
        if self._store is None or not len(dataset) or not self._has_room(self._store, variables, what, dataset, views):
            kept = self._compute(variables, what, dataset, views)
        else:
            kept = self._shared(self._store, variables, what, dataset, views)
        self._kept[what, views] = kept
        return kept

    def _compute(self, variables: Mapping[str, Any], what: str, dataset: Dataset, views: Views | None) -> Kept:
        count = views.count if views else 1
        self._observer.on_pass_start(f"Features of {what} images", count * len(dataset))
        kept = self._extractor.extract(variables, dataset, views)
        self._observer.on_pass_end(what, count, len(dataset), kept.seconds)
        return kept

    def _has_room(
        self, store: FeatureStore, variables: Mapping[str, Any], what: str, dataset: Dataset, views: Views | None
    ) -> bool:
        """Whether the store has room for the features, beside others of this run; that it has none is told."""
        N, count = len(dataset), views.count if views else 1
        _, width = self._program(variables, dataset, views)
        nbytes = count * N * width * np.dtype(np.float32).itemsize
        fitting = store.claim(nbytes, 1 if views else -(-N // PART))
        if not fitting:
            self._observer.on_pass_unkept(what, N, nbytes, store.most_bytes)
        return fitting

    def _shared(
        self, store: FeatureStore, variables: Mapping[str, Any], what: str, dataset: Dataset, views: Views | None
    ) -> Kept:
        """The features as other runs kept them, else computed and kept for others.

        That is done part by part, so that a run that is killed loses one part. Views are drawn for all images at once.
        """
        start, count = time.perf_counter(), views.count if views else 1
        on_wait = functools.cache(self._observer.on_pass_awaited)  # it is told once
        found: list[np.ndarray] = []
        done, computed, passes, pass_s, seconds, compile_s = 0, 0, 0, 0.0, 0.0, 0.0
        step = len(dataset) if views else PART
        for part in (take(dataset, slice(at, at + step)) for at in range(0, len(dataset), step)):
            key = self._key(variables, part, views)
            with store.lock(key, self._extractor.stop, on_wait):
                loaded = store.load(key)
                if loaded is None:
                    if not computed:
                        self._observer.on_pass_start(f"Features of {what} images", count * len(dataset))
                    kept = self._extractor.extract(variables, part, views, count * done)
                    loaded = np.asarray(kept.examples.inputs)[: count * len(part)], kept.pass_s
                    store.save(key, *loaded)
                    computed += len(part)
                    passes, seconds, compile_s = count, seconds + kept.seconds, compile_s + kept.compile_s
            found.append(loaded[0])
            pass_s += loaded[1]
            done += len(part)
            if computed:
                self._observer.on_images(count * done)
        if computed:
            self._observer.on_pass_end(what, count, computed, seconds)
        if computed < done:
            self._observer.on_pass_skipped(what, done - computed)
        features = found[0] if len(found) == 1 else np.concatenate(found)
        inputs = put(features, replicated(self._mesh)) if fits(features.nbytes, self._mesh) else features
        examples = self._extractor.examples(inputs, dataset, count)
        return Kept(examples, pass_s, passes, time.perf_counter() - start - compile_s, compile_s)

    def _key(self, variables: Mapping[str, Any], dataset: Dataset, views: Views | None) -> str:
        """A digest of all that features depend on: backbone, preprocessing and images; of views, how they are drawn.

        The program says what the network computes, and how images are prepared. It is that of one image: the batch size
        matters where views are drawn alone.
        """
        backbone = backbone_of(variables)
        program, _ = self._program(variables, dataset, views)
        content = {
            **jax.tree.map(np.asarray, flatten(backbone)),
            "program": program,
            "images": dataset.digest,
            "views": views and [*dataclasses.astuple(views), self._extractor.batch_size],
            "computed by": [jax.__version__, self._mesh.devices.flat[0].device_kind],
        }
        return digest(content)

    def _program(self, variables: Mapping[str, Any], dataset: Dataset, views: Views | None) -> tuple[str, int]:
        """What computes the features of one image, as text, and how wide they are."""
        shape = dataset.image_shape
        if (views, shape) not in self._programs:
            image = jax.ShapeDtypeStruct((1, *shape), jnp.uint8)
            function = jax.jit(self._extractor.function(self._extractor.model, views))
            program = function.lower(backbone_of(variables), image, jax.random.key(0))
            self._programs[views, shape] = program.as_text(), program.out_info.shape[1]
        return self._programs[views, shape]

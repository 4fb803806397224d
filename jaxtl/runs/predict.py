"""What a run takes image files for: decoded a batch ahead of the device, in batches of one size."""

import collections
import concurrent.futures
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from jaxtl.data.augment import Transform
from jaxtl.data.decode import Undecodable, read_image
from jaxtl.models import Classifier
from jaxtl.runs.finished import LoadedRun
from jaxtl.runtime.mesh import data_mesh
from jaxtl.train.evaluate import folded


class Predictions(NamedTuple):
    """The most probable classes of N files; k is ``top``, or the number of classes where that is less.

    Attributes:
      classes: int32 ``[N, k]``, indices into the run's ``class_names``, the most probable first; -1 where the file
        could not be read.
      probability: float32 ``[N, k]``, their softmax probabilities, in [0, 1]; NaN where the file could not be read.
      faults: N reasons why a file could not be read, empty where it could.
    """

    classes: np.ndarray
    probability: np.ndarray
    faults: tuple[str, ...]


def predict(
    run: LoadedRun,
    files: Sequence[str | os.PathLike[str]],
    *,
    batch_size: int = 64,
    top: int = 5,
    progress: Callable[[int, int], None] | None = None,
) -> Predictions:
    """Classify image files.

    The network is compiled once, for one batch size: the last batch is padded. Memory holds two batches of images,
    whatever the number of files.

    Args:
      run: a finished run; each file is brought to its ``image_shape``, as ``data.fit`` of its config says.
      files: paths of N image files; N may be 0.
      batch_size: images a step, at least 1; fewer where there are fewer files. All devices that can share it evenly
        compute.
      top: how many classes to keep of each image, at least 1.
      progress: is told (files done, files in all) after each batch.

    Returns:
      Classes and probabilities, row ``i`` of file ``i``; files that cannot be decoded are told, not raised.

    Raises:
      ValueError: ``batch_size`` or ``top`` is below 1.
    """
    if batch_size < 1 or top < 1:
        raise ValueError(f"batch_size and top are at least 1, got {batch_size} and {top}")
    N, k = len(files), min(top, len(run.class_names))
    classes = np.full((N, k), -1, np.int32)
    probability = np.full((N, k), np.nan, np.float32)
    faults: list[str] = []
    mesh = data_mesh(min(batch_size, N) or 1)
    split = NamedSharding(mesh, PartitionSpec("data"))
    model, variables = folded(run.model, run.variables, channels=run.image_shape[2], mesh=mesh)
    step = _make_step(model, run.preprocess, k)
    for images, found in _decoded(run, files, min(batch_size, N)):
        first = len(faults)
        faults += found
        read = np.array([not fault for fault in found], bool)
        if read.any():
            best, share = (np.asarray(x)[: len(found)] for x in step(variables, jax.device_put(images, split)))
            classes[first : first + len(found)][read] = best[read]
            probability[first : first + len(found)][read] = share[read]
        if progress:
            progress(len(faults), N)
    return Predictions(classes, probability, tuple(faults))


def _make_step(model: Classifier, preprocess: Transform, k: int) -> Any:
    """The jitted step ``(variables, images) -> (classes [B, k], probability [B, k])``."""
    unused_key = jax.random.key(0)

    def step(variables: Any, images: jax.Array) -> tuple[jax.Array, jax.Array]:
        logits = jnp.asarray(model.apply(variables, preprocess(unused_key, images), train=False))
        probability, classes = jax.lax.top_k(jax.nn.softmax(logits), k)
        return classes.astype(jnp.int32), probability

    return jax.jit(step)


def _decoded(
    run: LoadedRun, files: Sequence[str | os.PathLike[str]], batch_size: int
) -> Iterator[tuple[np.ndarray, list[str]]]:
    """Batches, uint8 ``[batch_size, H, W, C]``, zeros where there is no image, each with the faults of its files."""
    height, width, channels = run.image_shape

    def decode(file: str | os.PathLike[str], place: np.ndarray) -> str:
        try:
            place[:] = read_image(Path(file), (height, width), fit=run.config["data"]["fit"], channels=channels)
        except Undecodable as error:
            return str(error)
        return ""

    # Threads suffice: Pillow lets go of the interpreter while it decodes.
    pool = concurrent.futures.ThreadPoolExecutor(os.cpu_count())

    def begin(first: int) -> tuple[np.ndarray, list[concurrent.futures.Future[str]]]:
        images = np.zeros((batch_size, *run.image_shape), np.uint8)
        chosen = files[first : first + batch_size]
        return images, [pool.submit(decode, file, place) for file, place in zip(chosen, images, strict=False)]

    def finish(images: np.ndarray, futures: list[concurrent.futures.Future[str]]) -> tuple[np.ndarray, list[str]]:
        return images, [future.result() for future in futures]

    ahead: collections.deque[tuple[np.ndarray, list[concurrent.futures.Future[str]]]] = collections.deque()
    try:
        for first in range(0, len(files), batch_size or 1):
            ahead.append(begin(first))
            if len(ahead) > 1:
                yield finish(*ahead.popleft())
        for images, futures in ahead:
            yield finish(images, futures)
    finally:
        pool.shutdown(cancel_futures=True)

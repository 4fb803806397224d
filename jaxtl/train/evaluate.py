"""One pass over a data set without training."""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from jaxtl.data.augment import Transform
from jaxtl.data.dataset import Dataset
from jaxtl.data.feed import epoch_order
from jaxtl.models.classifier import Classifier
from jaxtl.train.mesh import put_order, replicated
from jaxtl.train.metrics import accuracy_of, empty_metrics
from jaxtl.train.step import make_eval_step


class Evaluation(NamedTuple):
    """The figures of one pass over all images of a data set.

    Attributes:
      loss: mean cross-entropy, natural logarithm, without label smoothing.
      accuracy: share of right predictions, in [0, 1].
      confusion: int ``[K, K]``; rows are true classes, columns predictions.
      predicted: int32 ``[N]``.
      probability: float32 ``[N]``, of the predicted class.
      seconds: wall time of the pass, compilation not counted.
      compile_s: wall time of the compilation, 0 after the first pass.
    """

    loss: float
    accuracy: float
    confusion: np.ndarray
    predicted: np.ndarray
    probability: np.ndarray
    seconds: float
    compile_s: float


def make_evaluator(
    model: Classifier, dataset: Dataset, transform: Transform, *, batch_size: int, mesh: Mesh
) -> Callable[[dict[str, Any]], Evaluation]:
    """A function ``variables -> Evaluation`` that keeps the data set on the device and compiles once.

    Args:
      model: the classifier.
      dataset: every image of it counts once, the last batch is padded and masked.
      transform: resize and normalisation.
      batch_size: images a step, a multiple of the number of devices.
      mesh: devices to run on.
    """
    everywhere = replicated(mesh)
    images, labels = jax.device_put((dataset.images, dataset.labels), everywhere)
    order = put_order(epoch_order(len(dataset), batch_size, None), mesh)
    step = make_eval_step(model, transform, mesh=mesh)
    compiled: Callable[..., Any] | None = None

    def evaluate(variables: dict[str, Any]) -> Evaluation:
        nonlocal compiled
        rows = [jax.device_put(np.int32(row), everywhere) for row in range(order.indices.shape[0])]
        metrics = jax.device_put(empty_metrics(dataset.num_classes), everywhere)
        compile_s = 0.0
        if compiled is None:
            start = time.perf_counter()
            compiled = step.lower(variables, images, labels, order, rows[0], metrics).compile()
            compile_s = time.perf_counter() - start
        start = time.perf_counter()
        predictions = []
        for row in rows:
            metrics, batch = compiled(variables, images, labels, order, row, metrics)
            predictions.append(batch)
        computed = metrics.compute()
        confusion = np.asarray(computed["confusion"])
        predicted, probability = (np.concatenate(parts)[: len(dataset)] for parts in zip(*predictions, strict=True))
        return Evaluation(
            loss=float(computed["loss"]),
            accuracy=accuracy_of(confusion),
            confusion=confusion,
            predicted=predicted,
            probability=probability,
            seconds=time.perf_counter() - start,
            compile_s=compile_s,
        )

    return evaluate

"""One pass over a data set without training."""

import dataclasses
import functools
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from jax.sharding import Mesh

from jaxtl.data.augment import Transform
from jaxtl.data.stored import StoredImages
from jaxtl.models.classifier import Classifier
from jaxtl.models.fold import fold_batch_norm
from jaxtl.runtime.memory import largest_batch
from jaxtl.runtime.mesh import put, replicated
from jaxtl.runtime.processes import wait_for_all
from jaxtl.train.examples import Examples, batches, shapes_of_batch
from jaxtl.train.metrics import accuracy_of, empty_metrics
from jaxtl.train.step import make_eval_step
from jaxtl.transfer.partition import Variables


@dataclasses.dataclass(frozen=True, eq=False)
class Evaluation:
    """One pass over all images of a data set, and what follows from its logits at a temperature.

    Attributes:
      loss: mean cross-entropy, natural logarithm, without label smoothing, at temperature 1.
      accuracy: share of right predictions, in [0, 1].
      confusion: int ``[K, K]``; rows are true classes, columns predictions.
      logits: float32 ``[N, K]``.
      labels: int32 ``[N]``, the true classes.
      seconds: wall time of the pass, compilation not counted.
      compile_s: wall time of the compilation, 0 after the first pass.
      temperature: what logits are divided by in ``probability`` and ``losses``, see ``jaxtl.train.calibration``.
    """

    loss: float
    accuracy: float
    confusion: np.ndarray
    logits: np.ndarray
    labels: np.ndarray
    seconds: float
    compile_s: float
    temperature: float = 1.0

    @functools.cached_property
    def predicted(self) -> np.ndarray:
        """int32 ``[N]``."""
        return self.logits.argmax(-1).astype(np.int32)

    @functools.cached_property
    def probability(self) -> np.ndarray:
        """float32 ``[N]``, of the predicted class."""
        return np.exp(self._log_probabilities().max(-1)).astype(np.float32)

    @functools.cached_property
    def losses(self) -> np.ndarray:
        """float32 ``[N]``, the cross-entropy of each image; exp(-loss) is the probability of the true class."""
        return -_of_class(self._log_probabilities(), self.labels)[:, 0].astype(np.float32)

    @functools.cached_property
    def ranks(self) -> np.ndarray:
        """int ``[N]``, how many classes have a larger logit than the true one: 0 where the prediction is right."""
        return (self.logits > _of_class(self.logits, self.labels)).sum(-1)

    def _log_probabilities(self) -> np.ndarray:
        from scipy.special import log_softmax  # type: ignore[import-untyped]  # no start should wait for its import

        return np.asarray(log_softmax(self.logits.astype(float) / self.temperature, axis=-1))


def _of_class(values: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Of each row the value of a class: ``[N, 1]``."""
    return np.take_along_axis(values, classes[:, None], axis=-1)


Evaluate = Callable[[Variables], Evaluation]


def make_evaluator(
    model: Classifier,
    examples: Examples,
    transform: Transform,
    *,
    batch_size: int,
    mesh: Mesh,
    method: str = "__call__",
) -> Evaluate:
    """A function ``variables -> Evaluation`` that compiles once.

    Args:
      model: the classifier.
      examples: every input of it counts once, the last batch is padded and masked.
      transform: resize and normalisation.
      batch_size: inputs a step, a multiple of the number of devices; more where a device tells that it has the memory
        (``jaxtl.runtime.memory``), unless images are streamed.
      mesh: devices to run on.
      method: of the model, see ``make_train_step``.
    """
    everywhere = replicated(mesh)
    step = make_eval_step(model, transform, method=method, mesh=mesh)
    found: tuple[int, Callable[..., Any]] | None = None

    def evaluate(variables: Variables) -> Evaluation:
        nonlocal found
        metrics = put(empty_metrics(examples.num_classes), everywhere)
        start, compile_s = time.perf_counter(), 0.0

        def arguments(size: int) -> tuple[Any, ...]:
            return variables, *shapes_of_batch(examples, size, mesh), np.int32(0), metrics

        if found is None:
            count = 0 if isinstance(examples.inputs, StoredImages) else examples.total
            found = largest_batch(step, arguments, batch_size, count, mesh)
            wait_for_all()
            compile_s = time.perf_counter() - start
        size, compiled = found
        parts = []
        for inputs, labels, order, row in batches(examples, size, None, mesh):
            metrics, logits = compiled(variables, inputs, labels, order, np.int32(row), metrics)
            parts.append(logits)
        computed = metrics.compute()
        confusion = np.asarray(computed["confusion"])
        return Evaluation(
            loss=float(computed["loss"]),
            accuracy=accuracy_of(confusion),
            confusion=confusion,
            logits=np.concatenate(parts)[: examples.total],
            labels=np.asarray(examples.labels)[: examples.total],
            seconds=time.perf_counter() - start - compile_s,
            compile_s=compile_s,
        )

    return evaluate


def folded(
    model: Classifier, variables: Mapping[str, Any], *, channels: int, mesh: Mesh
) -> tuple[Classifier, dict[str, Any]]:
    """A network that is done with training, for passes over images: batch norm folded away, on all devices of a mesh.

    What is left of such a layer is a convolution with bias and ReLU, which cuDNN can compute as one.
    """
    if variables.get("batch_stats"):
        model, variables = fold_batch_norm(model, variables, channels=channels)
    return model, put(dict(variables), replicated(mesh))

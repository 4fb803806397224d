"""Networks that are done with training, for passes over images: batch norm folded away, on the devices."""

from collections.abc import Mapping
from typing import Any

from jax.sharding import Mesh

from jaxtl.models.classifier import Classifier
from jaxtl.models.fold import fold_batch_norm
from jaxtl.runtime.mesh import put, replicated


def folded(
    model: Classifier, variables: Mapping[str, Any], *, channels: int, mesh: Mesh
) -> tuple[Classifier, dict[str, Any]]:
    """``fold_batch_norm``, the variables on all devices of a mesh; as given where there is no batch norm.

    What is left of such a layer on a GPU is a convolution with bias and ReLU, which cuDNN can compute as one, but where
    a pool comes between them (`jaxtl.models.layers.convolve_and_pool`).
    """
    if variables.get("batch_stats"):
        model, variables = fold_batch_norm(model, variables, channels=channels)
    return model, put(dict(variables), replicated(mesh))

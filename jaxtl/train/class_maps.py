"""Class-activation maps of a few images of a data set, by the run's preprocessing."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxtl.data.augment import Transform
from jaxtl.models.classifier import Classifier
from jaxtl.models.grad_cam import ClassMaps, grad_cam, last_spatial_stage

LEAST = 4  # pixels a side that maps have: of fewer an earlier stage is taken


def class_maps(
    model: Classifier,
    variables: Mapping[str, Any],
    images: np.ndarray,
    predicted: np.ndarray,
    labels: np.ndarray,
    preprocess: Transform,
) -> ClassMaps | None:
    """Grad-CAM for the predicted and for the true class, all images in one batch; compiled once.

    Args:
      model: the classifier.
      variables: of the model.
      images: uint8 ``[B, H, W, C]``.
      predicted: int ``[B]``.
      labels: int ``[B]``, true classes.
      preprocess: resize and normalisation; its key is not used.

    Returns:
      The maps, or ``None`` for a network whose stages have no maps of ``LEAST`` x ``LEAST`` pixels or more.
    """
    key = jax.random.key(0)
    shape = jax.eval_shape(preprocess, key, images).shape
    stage = last_spatial_stage(model, variables, shape, least=LEAST)
    if stage is None:
        return None

    @jax.jit
    def explain(variables: Mapping[str, Any], images: jax.Array, classes: jax.Array) -> jax.Array:
        return grad_cam(model, variables, preprocess(key, images), classes, stage=stage)

    maps = (explain(variables, images, jnp.asarray(classes, jnp.int32)) for classes in (predicted, labels))
    return ClassMaps(stage, *(np.asarray(heat) for heat in maps))

"""Where in an image a class's score comes from: class-activation maps by gradients (Grad-CAM).

Selvaraju et al. 2017, "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization",
https://arxiv.org/abs/1610.02391. Where global average pooling and one linear layer follow the maps it is, up to scale,
CAM (Zhou et al. 2016, https://arxiv.org/abs/1512.04150).
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxtl.data.augment import Transform
from jaxtl.models.classifier import Classifier

LEAST = 4  # pixels a side that maps have: of fewer an earlier stage is taken


def class_maps(
    model: Classifier, variables: Mapping[str, Any], images: np.ndarray, classes: np.ndarray, preprocess: Transform
) -> np.ndarray | None:
    """Grad-CAM for several classes of each image, all images in one batch; compiled once.

    Args:
      model: the classifier.
      variables: of the model.
      images: uint8 ``[B, H, W, C]``.
      classes: int ``[M, B]``, M classes of each image.
      preprocess: resize and normalisation; its key is not used.

    Returns:
      The maps, float32 ``[M, B, h, w]`` in [0, 1], or ``None`` for a network whose stages have no maps of ``LEAST`` x
      ``LEAST`` pixels or more.
    """
    key = jax.random.key(0)
    stage = map_stage(model, variables, jax.eval_shape(preprocess, key, images).shape)
    if stage is None:
        return None

    @jax.jit
    def explain(variables: Mapping[str, Any], images: jax.Array, classes: jax.Array) -> jax.Array:
        return grad_cam(model, variables, preprocess(key, images), classes, stage)

    return np.stack([explain(variables, images, each) for each in classes.astype(np.int32)])


def grad_cam(
    model: Classifier, variables: Mapping[str, Any], images: jax.Array, classes: jax.Array, stage: str
) -> jax.Array:
    """How much each place of an image speaks for a class; a pure function, to be jitted with ``stage`` static.

    Each channel of the stage's maps is weighed by the mean gradient of the class's logit with respect to it; the sum
    over channels is kept where it is positive, and divided by its maximum, image by image. A head that ends in an
    activation, for example a sigmoid, is differentiated with it.

    Args:
      model: a classifier with a head; it runs in inference mode.
      variables: of the model.
      images: ``[B, H, W, C]``, float, normalised.
      classes: int32 ``[B]``, the class to explain in each image.
      stage: whose maps ``[B, h, w, c]`` to weigh, see ``map_stage``.

    Returns:
      float32 ``[B, h, w]`` in [0, 1]: the largest value of each image is 1, or 0 where nothing speaks for the class.
    """
    stages: Any = model.apply(variables, images, train=False, method="stages")
    maps = stages[stage]

    def score(maps: jax.Array) -> jax.Array:
        logits = jnp.asarray(model.apply(variables, maps, stage, method="from_stage"))
        return jnp.take_along_axis(logits, classes[:, None], axis=1).sum()  # images do not touch each other's gradient

    weights = jax.grad(score)(maps).astype(jnp.float32).mean((1, 2))
    heat = jax.nn.relu(jnp.einsum("bhwc,bc->bhw", maps.astype(jnp.float32), weights))
    peak = heat.max((1, 2), keepdims=True)
    return heat / jnp.where(peak > 0, peak, 1)


def map_stage(
    model: Classifier, variables: Mapping[str, Any], shape: tuple[int, ...], least: int = LEAST
) -> str | None:
    """The last stage whose maps have ``least`` x ``least`` pixels or more for images of a shape, ``None`` without any.

    A logistic regression has no stage at all; a ResNet that halves 32 pixels five times ends in maps of one pixel, and
    maps of 2 x 2 show hardly any place.
    """

    def run(variables: Mapping[str, Any], images: jax.Array) -> Any:
        return model.apply(variables, images, train=False, method="stages")

    found = jax.eval_shape(run, variables, jax.ShapeDtypeStruct(shape, jnp.float32))
    maps = {name for name, out in found.items() if len(out.shape) == 4 and min(out.shape[1:3]) >= least}
    return next((name for name in reversed(model.stage_names) if name in maps), None)

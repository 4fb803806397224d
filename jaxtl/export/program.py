"""A trained network as one StableHLO program with its weights and its preprocessing, by ``jax.export``.

It is lowered for several platforms at once, and takes any batch size. https://docs.jax.dev/en/latest/export/export.html
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import export

from jaxtl.data.augment import Transform
from jaxtl.models.classifier import Classifier
from jaxtl.models.fold import fold_batch_norm

PLATFORMS = ("cpu", "cuda", "tpu")


def export_program(
    model: Classifier,
    variables: Mapping[str, Any],
    preprocess: Transform,
    image_shape: tuple[int, int, int],
    *,
    fold: bool,
) -> bytes:
    """The program ``images -> probabilities``, serialised.

    Images are uint8 ``[B, H, W, C]``, B at least 1 and free at every call; probabilities float32 ``[B, K]``, each row
    with the sum 1: the softmax of the logits.

    Args:
      model: the classifier, which has a head.
      variables: its ``params`` and ``batch_stats``.
      preprocess: uint8 images to what the model takes; it must draw nothing at random.
      image_shape: (H, W, C).
      fold: fold batch norm into the convolutions where that is exact, see ``jaxtl.models.fold``. Below float32 the
        folded kernels are rounded again, so that the answers move by about that much.

    Returns:
      What ``jax.export.deserialize`` takes. JAX promises to read it for six months of its later versions, and for three
      weeks of its earlier ones.
    """
    if fold:
        model, variables = fold_batch_norm(model, variables, channels=image_shape[-1])
    constants = jax.tree.map(np.asarray, variables)

    def probabilities(images: jax.Array) -> jax.Array:
        # Preprocessing draws nothing, but derives keys all the same. Here that happens now: each platform has another
        # program for it, and these would stand in ours, unused.
        with jax.ensure_compile_time_eval():
            ready = preprocess(jax.random.key(0), images)
        return jax.nn.softmax(jnp.asarray(model.apply(constants, ready, train=False)))

    (batch,) = export.symbolic_shape("batch")
    images = jax.ShapeDtypeStruct((batch, *image_shape), jnp.uint8)
    exported = export.export(jax.jit(probabilities), platforms=PLATFORMS)(images)
    return bytes(exported.serialize())

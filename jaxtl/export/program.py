"""A trained network as one StableHLO program with its weights and its preprocessing, by ``jax.export``.

It is lowered for several platforms at once, and takes any batch size. https://docs.jax.dev/en/latest/export/export.html
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import export

from jaxtl.models.fold import fold_batch_norm
from jaxtl.runs.finished import LoadedRun

PLATFORMS = ("cpu", "cuda", "tpu")


def folds(run: LoadedRun) -> bool:
    """Whether programs of a run fold batch norm into its convolutions, see ``jaxtl.models.fold``.

    Below float32 the folded kernels would be rounded again, so that the answers would move by about that much.
    """
    return bool(run.config["model"]["dtype"] == "float32")


def probabilities_of(run: LoadedRun) -> Callable[[jax.Array], jax.Array]:
    """The function ``images -> probabilities`` of a run: preprocessing, network, temperature and softmax.

    Images are uint8 ``[B, H, W, C]``, B at least 1; probabilities float32 ``[B, K]``, each row with the sum 1.
    """
    model, variables = run.model, run.variables
    if folds(run):
        model, variables = fold_batch_norm(model, variables, channels=run.image_shape[-1])
    constants = jax.tree.map(np.asarray, variables)

    def probabilities(images: jax.Array) -> jax.Array:
        # Preprocessing draws nothing, but derives keys all the same. Here that happens now: each platform has another
        # program for it, and these would stand in ours, unused.
        with jax.ensure_compile_time_eval():
            ready = run.preprocess(jax.random.key(0), images)
        return jax.nn.softmax(jnp.asarray(model.apply(constants, ready, train=False)) / run.temperature)

    return probabilities


def export_program(run: LoadedRun) -> bytes:
    """The program of ``probabilities_of``, serialised; the batch size is free at every call.

    Returns:
      What ``jax.export.deserialize`` takes. JAX promises to read it for six months of its later versions, and for three
      weeks of its earlier ones.
    """
    (batch,) = export.symbolic_shape("batch")
    images = jax.ShapeDtypeStruct((batch, *run.image_shape), jnp.uint8)
    exported = export.export(jax.jit(probabilities_of(run)), platforms=PLATFORMS)(images)
    return bytes(exported.serialize())

"""RandAugment and TrivialAugment for a whole batch at once, by torchvision's operations and magnitudes.

Cubuk et al. 2020, https://arxiv.org/abs/1909.13719; Müller and Hutter 2021, https://arxiv.org/abs/2103.10158. Every
image draws an operation. A switch under ``vmap`` would compute all of them, so they share what is expensive: those that
move pixels are one gather by an affine matrix, those that map values one lookup in a table.
"""

import jax
import jax.numpy as jnp

from jaxtl.data.augment import Transform
from jaxtl.data.colour import adjust

MOVES = ("shear_x", "shear_y", "translate_x", "translate_y", "rotate")
ENHANCEMENTS = ("brightness", "saturation", "contrast", "sharpness")
HIGHEST = 30  # level of magnitude
# Operations, and their magnitudes at that level: tangents, pixels, degrees, distances of a factor from 1, bits.
WIDE = {"identity": 0, "shear_x": 0.99, "shear_y": 0.99, "translate_x": 32, "translate_y": 32, "rotate": 135}
WIDE |= dict.fromkeys(ENHANCEMENTS, 0.99) | {"posterize": 6, "solarize": 255, "auto_contrast": 0, "equalize": 0}
OPERATIONS = tuple(WIDE)


def rand_space(height: int, width: int) -> dict[str, float]:
    """The magnitudes of RandAugment at the highest level, for images of a size."""
    moves = {"shear_x": 0.3, "shear_y": 0.3, "rotate": 30}
    moves |= {"translate_x": width * 150 / 331, "translate_y": height * 150 / 331}
    return WIDE | moves | dict.fromkeys(ENHANCEMENTS, 0.9) | {"posterize": 4}


def rand_augment(operations: int = 2, level: int = 9) -> Transform:
    """Random operations one after another, all of one level of magnitude (0 to 30); uint8 in and out."""

    def apply(key: jax.Array, images: jax.Array) -> jax.Array:
        space = rand_space(*images.shape[1:3])

        def apply_one(i: jax.Array, images: jax.Array) -> jax.Array:
            return apply_operations(images, *draw_operations(jax.random.fold_in(key, i), len(images), space, level))

        # A loop, because XLA would fuse the operations, and compute one again for every pixel that the next one reads.
        return jax.lax.fori_loop(0, operations, apply_one, images)

    return apply


def trivial_augment() -> Transform:
    """One random operation of a random magnitude, in the "wide" space; uint8 in and out."""
    return lambda key, images: apply_operations(images, *draw_operations(key, len(images), WIDE))


def draw_operations(
    key: jax.Array, count: int, space: dict[str, float], level: int | None = None
) -> tuple[jax.Array, jax.Array]:
    """Positions in ``OPERATIONS``, int32 ``[count]``, and magnitudes of a random sign; without a level it is drawn."""
    which, how_much, way = jax.random.split(key, 3)
    operation = jax.random.randint(which, (count,), 0, len(OPERATIONS))
    levels = jax.random.randint(how_much, (count,), 0, HIGHEST + 1) if level is None else jnp.full(count, level)
    highest = jnp.array([space[name] for name in OPERATIONS], jnp.float32)[operation]
    return operation, highest * (levels / HIGHEST) * jax.random.rademacher(way, (count,), jnp.float32)


def apply_operations(images: jax.Array, operation: jax.Array, magnitude: jax.Array) -> jax.Array:
    """One operation on each image, with the arithmetic of torchvision on uint8 tensors.

    Args:
      images: uint8 ``[B, H, W, 1 or 3]``.
      operation: int ``[B]``, positions in ``OPERATIONS``.
      magnitude: float32 ``[B]``, see ``WIDE``; the sign of posterize and solarize does not count.

    Returns:
      uint8, of the same shape.
    """
    B, H, W, C = images.shape
    pixels = images.reshape(B, H * W, C)
    is_now = {name: (operation == i)[:, None, None] for i, name in enumerate(OPERATIONS)}
    amounts = {name: jnp.where(chosen, magnitude[:, None, None], 0) for name, chosen in is_now.items()}
    source, inside = _sources((H, W), amounts)
    moved = jnp.take_along_axis(pixels, source.reshape(B, H * W, 1), axis=1).reshape(images.shape)

    table = jnp.broadcast_to(jnp.arange(256)[:, None], (B, 256, C))
    for name, mapped in _tables(images, jnp.abs(magnitude)[:, None, None]).items():
        table = jnp.where(is_now[name], mapped, table)
    changed = jnp.take_along_axis(table, pixels.astype(jnp.int32), axis=1).reshape(images.shape).astype(images.dtype)

    # All begin with the images as they were, so that nothing is computed from what is computed here.
    for name in ENHANCEMENTS:
        changed = jnp.where(is_now[name][..., None], adjust(images, name, magnitude), changed)
    moves = jnp.isin(operation, jnp.array([OPERATIONS.index(name) for name in MOVES]))
    return jnp.where(moves[:, None, None, None], jnp.where(inside[..., None], moved, 0), changed).astype(images.dtype)


def _sources(size: tuple[int, int], amount: dict[str, jax.Array]) -> tuple[jax.Array, jax.Array]:
    """Which pixel comes to each place, counted row by row, int32 ``[B, H, W]``, and whether there is one.

    Images are turned about the centre and sheared from the upper left corner; the nearest pixel is taken.
    """
    H, W = size
    x, y = jnp.arange(W) + 0.5, jnp.arange(H)[:, None] + 0.5
    angle = jnp.deg2rad(amount["rotate"])
    cos, sin, dx, dy = jnp.cos(angle), jnp.sin(angle), x - W / 2, y - H / 2
    from_x = cos * dx - sin * dy + W / 2 + amount["shear_x"] * y - jnp.trunc(amount["translate_x"])
    from_y = sin * dx + cos * dy + H / 2 + amount["shear_y"] * x - jnp.trunc(amount["translate_y"])
    column, row = jnp.round(from_x - 0.5).astype(jnp.int32), jnp.round(from_y - 0.5).astype(jnp.int32)
    inside = (column >= 0) & (column < W) & (row >= 0) & (row < H)
    return jnp.where(inside, row * W + column, 0), inside


def _tables(images: jax.Array, amount: jax.Array) -> dict[str, jax.Array]:
    """What the operations that map values make of 0..255: int32 ``[B, 256, C or 1]``."""
    old, bits = jnp.arange(256)[:, None], jnp.round(amount).astype(jnp.int32)
    low, high = (of(images, axis=(1, 2))[:, None].astype(jnp.float32) for of in (jnp.min, jnp.max))
    stretched = jnp.clip((old - low) * (255 / jnp.maximum(high - low, 1)), 0, 255).astype(jnp.int32)
    return {
        "posterize": (old >> bits) << bits,
        "solarize": jnp.where(old >= 255 - amount, 255 - old, old),
        "auto_contrast": jnp.where(high > low, stretched, old),
        "equalize": _equalizing(images),
    }


def _equalizing(images: jax.Array) -> jax.Array:
    """The tables that make all values of a channel about equally frequent: int32 ``[B, 256, C]``."""
    B, H, W, C = images.shape
    values = images.reshape(B, H * W, C).astype(jnp.int32)
    counts = jnp.zeros((B, 256, C), jnp.int32).at[jnp.arange(B)[:, None, None], values, jnp.arange(C)].add(1)
    brightest = jnp.take_along_axis(counts, values.max(1, keepdims=True), axis=1)
    step = (H * W - brightest) // 255
    darker = jnp.cumsum(counts, axis=1) - counts
    equalized = jnp.clip((darker + step // 2) // jnp.maximum(step, 1), 0, 255)
    return jnp.where(step > 0, equalized, jnp.arange(256)[:, None])

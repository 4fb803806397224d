"""Augmentation of brightness, contrast, saturation and hue by torchvision's formulas, which dm-pix does not share."""

import jax
import jax.numpy as jnp

from jaxtl.data.augment import Transform


def colour_jitter(**strengths: float) -> Transform:
    """Adjust each image by random factors, as torchvision's ``ColorJitter``; dtype is kept, range 0..255.

    Args:
      **strengths: x of ``brightness``, ``contrast`` and ``saturation``, whose factors are uniform in [1 - x, 1 + x] and
        at least 0, and of ``hue``, which is turned by a share of the circle, uniform in [-x, x]; 0 for none.

    Factors are drawn for each image, the order of the adjustments for each batch.
    """
    chosen = {name: strength for name, strength in strengths.items() if strength}

    def apply(key: jax.Array, images: jax.Array) -> jax.Array:
        shape, steps = images.shape[:1], []
        for i, (name, x) in enumerate(chosen.items(), start=1):
            drawn = jax.random.uniform(jax.random.fold_in(key, i), shape, minval=-x, maxval=x)
            steps.append(lambda images, name=name, drawn=drawn: adjust(images, name, drawn))
        for step in jax.random.permutation(key, len(steps)):
            images = jax.lax.switch(step, steps, images)
        return images

    return apply


def adjust(images: jax.Array, what: str, amount: jax.Array) -> jax.Array:
    """Change each image by an amount; dtype is kept, range 0..255, uint8 cut to whole numbers.

    Args:
      images: ``[B, H, W, 1 or 3]``; those of one channel have no saturation and no hue to change.
      what: ``brightness``, ``contrast``, ``saturation`` or ``sharpness``: away from black, from the mean grey of the
        image, from its grey pixels, from its blurred pixels (for uint8); or ``hue``.
      amount: float ``[B]``: the factor less 1, which is at least -1; of the hue a share of the circle.
    """
    if what in ("saturation", "hue") and images.shape[-1] == 1:
        return images
    if what == "hue":
        return _turn_hue(images, amount)
    others = {
        "brightness": lambda: jnp.float32(0),
        "contrast": lambda: _grey(images).mean((1, 2, 3), keepdims=True),
        "saturation": lambda: _grey(images),
        "sharpness": lambda: _blurred(images),
    }
    factor = jnp.maximum(1 + amount, 0)[:, None, None, None]
    mixed = factor * images.astype(jnp.float32) + (1 - factor) * others[what]()
    return jnp.clip(mixed, 0, 255).astype(images.dtype)


def _grey(images: jax.Array) -> jax.Array:
    """Luma by ITU-R 601, cut to whole numbers for uint8: float32 ``[B, H, W, 1]``."""
    if images.shape[-1] == 1:
        return images.astype(jnp.float32)
    red, green, blue = jnp.split(images.astype(jnp.float32), 3, axis=-1)
    luma = 0.2989 * red + 0.587 * green + 0.114 * blue
    return jnp.floor(luma) if images.dtype == jnp.uint8 else luma


def _blurred(images: jax.Array) -> jax.Array:
    """Means of 3 x 3 pixels, the middle one counted five times, as whole numbers; those at the border stay."""
    pixels = jnp.asarray(images, jnp.float32)
    rows = pixels[:, :-2] + pixels[:, 1:-1] + pixels[:, 2:]
    sums = rows[:, :, :-2] + rows[:, :, 1:-1] + rows[:, :, 2:] + 4 * pixels[:, 1:-1, 1:-1]
    return pixels.at[:, 1:-1, 1:-1].set(jnp.round(sums / 13))


def _turn_hue(images: jax.Array, turn: jax.Array) -> jax.Array:
    """Turn the hue; saturation and value of HSV are kept."""
    pixels = images.astype(jnp.float32) / 255
    red, green, blue = pixels[..., 0], pixels[..., 1], pixels[..., 2]
    value = pixels.max(-1)
    chroma = value - pixels.min(-1)
    unit = jnp.where(chroma > 0, chroma, 1)
    hue = jnp.where(value == green, 2 + (blue - red) / unit, 4 + (red - green) / unit)
    hue = jnp.where(value == red, (green - blue) / unit, hue) + 6 * turn[:, None, None]
    # A channel is the value, less the chroma the farther its own hue is away.
    away = (hue[..., None] + jnp.array([5.0, 3.0, 1.0])) % 6
    turned = value[..., None] - chroma[..., None] * jnp.clip(jnp.minimum(away, 4 - away), 0, 1)
    whole = 255.999 if images.dtype == jnp.uint8 else 255.0  # torchvision's factor on the way back to uint8
    return (turned * whole).astype(images.dtype)

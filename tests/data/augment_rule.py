"""Images and parameters for which make_augment_golden.py stores torchvision's answers, and tests compare ours."""

import numpy as np

SAMPLES = 200
DRAWS = 10_000
SIZE = (20, 24)

# Operations of RandAugment and their magnitudes, see `jaxtl.data.policies.WIDE`.
OPERATIONS = [
    *[("identity", 0.0), ("shear_x", 0.21), ("shear_x", -0.9), ("shear_y", 0.4), ("shear_y", -0.17)],
    *[("translate_x", 5.7), ("translate_x", -3.2), ("translate_y", 4.9), ("translate_y", -11.0)],
    *[("rotate", 27.0), ("rotate", -101.0), ("brightness", 0.6), ("brightness", -0.45)],
    *[
        ("saturation", 0.83),
        ("saturation", -0.5),
        ("contrast", 0.9),
        ("contrast", -0.7),
        ("sharpness", 0.9),
        ("sharpness", -0.6),
    ],
    *[("posterize", 1.0), ("posterize", 4.0), ("posterize", 6.0), ("solarize", 76.5), ("solarize", 255.0)],
    *[("auto_contrast", 0.0), ("equalize", 0.0)],
]
TURNS = [-0.5, -0.31, -0.1, 0.04, 0.17, 0.25, 0.5]  # of the hue
BOXES = [(0, 0, 20, 24), (3, 5, 9, 17), (0, 11, 20, 13), (14, 1, 6, 2), (19, 23, 1, 1)]  # top, left, height, width
CROP = {"scale": (0.2, 1.0), "ratio": (0.5, 2.0)}
JITTER = {"brightness": 0.4, "contrast": 0.3, "saturation": 0.5, "hue": 0.1}


def draw_image(channels: int = 3) -> np.ndarray:
    """A soft gradient under noise, uint8 ``[H, W, C]``, of little contrast, so that stretching it does something."""
    height, width = SIZE
    rng = np.random.default_rng(channels)
    y, x = np.mgrid[:height, :width]
    ramps = np.stack([60 + 5 * y, 40 + 4 * x, 90 + 2 * x + 2 * y], -1)[..., :channels]
    return (ramps + rng.integers(0, 40, (height, width, channels))).astype(np.uint8)


def sample(image: np.ndarray) -> np.ndarray:
    """The same 200 values of any image of this shape."""
    flat = np.asarray(image).reshape(-1)
    return flat[np.random.default_rng(0).permutation(flat.size)[:SAMPLES]]


def moments(images: np.ndarray) -> np.ndarray:
    """Mean and standard deviation of sampled pixels over many draws ``[N, H, W, C]``: float32 ``[2, 200]``."""
    return np.stack([sample(images.mean(0)), sample(images.std(0))]).astype(np.float32)


def frequencies(values: np.ndarray, most: int) -> np.ndarray:
    """How often each of 0..most was drawn."""
    return np.bincount(np.asarray(values), minlength=most + 1).astype(np.int32)

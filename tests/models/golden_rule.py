"""Weights and images that numpy alone draws the same anywhere, and the pixels of a map that are compared.

The script that asks torchvision and the test that asks jaxtl both follow this rule, so that only outputs are stored.
"""

import math
import zlib

import numpy as np

SAMPLES = 64


def draw_weight(key: str, shape: tuple[int, ...]) -> np.ndarray:
    """The float32 array of a state dictionary's key; its seed is the key.

    Scales keep the maps near 1 through any depth, so that no layer is lost in the rounding of another: He et al.'s
    for kernels, factors between 0.5 and 1 for norms, half of that in residual blocks, whose outputs add up.
    """
    uniform = np.random.default_rng(zlib.crc32(key.encode())).random(shape, np.float32)
    if key.endswith("running_var"):
        return uniform + np.float32(0.5)
    if len(shape) > 1:
        fan_in = math.prod(shape[1:])
        gain = 6 if len(shape) == 4 else 3  # kernels feed a ReLU
        return (2 * uniform - 1) * np.float32(math.sqrt(gain / fan_in))
    if key.endswith("weight"):
        return (uniform + 1) / (4 if ".bn" in key else 2)
    return (uniform - np.float32(0.5)) / 5


def draw_keras_weight(key: str, shape: tuple[int, ...]) -> np.ndarray:
    """The same for an array of Keras, by the name of its layer and its own: ``conv1_bn/gamma``."""
    layer, _, leaf = key.rpartition("/")
    uniform = np.random.default_rng(zlib.crc32(key.encode())).random(shape, np.float32)
    if leaf == "moving_variance":
        return uniform + np.float32(0.5)
    if leaf == "kernel":
        gain = 6 if len(shape) == 4 else 3
        return (2 * uniform - 1) * np.float32(math.sqrt(gain / math.prod(shape[:-1])))
    if leaf == "gamma":
        return (uniform + 1) / (4 if layer.endswith(("_2_bn", "_3_bn")) else 2)
    return (uniform - np.float32(0.5)) / 5


def draw_images(height: int, width: int) -> np.ndarray:
    """One image ``[1, height, width, 3]``, float32 of mean 0 and standard deviation 1."""
    uniform = np.random.default_rng(zlib.crc32(b"images")).random((1, height, width, 3), np.float32)
    return (2 * uniform - 1) * np.float32(math.sqrt(3))


def sample(values: np.ndarray) -> np.ndarray:
    """At most 64 values, scattered over all axes of an array (channels last)."""
    flat = np.asarray(values).reshape(-1)
    if flat.size <= SAMPLES:
        return flat
    return flat[np.arange(SAMPLES, dtype=np.uint64) * np.uint64(2654435761) % np.uint64(flat.size)]


def outputs(logits: np.ndarray, features: np.ndarray, maps: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What is stored of a forward pass: all logits, samples of the features and of every stage."""
    stages = {f"stages/{name}": sample(values) for name, values in maps.items()}
    return {"logits": np.asarray(logits).reshape(-1), "features": sample(features), **stages}


def sizes(name: str) -> tuple[tuple[int, int], ...]:
    """Sizes (H, W) that a network is compared at: an odd, oblong one, and torchvision's networks at 224 too."""
    small = name.endswith("_cifar") or name.startswith("cifar_")
    return ((45, 38),) if small else ((224, 224), (75, 64))

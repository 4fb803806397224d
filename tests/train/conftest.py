"""Data that is learned in a moment, for all tests of training."""

import jax
import numpy as np
import pytest
from jax.sharding import Mesh

from jaxtl.data.augment import normalise
from jaxtl.data.dataset import Dataset

PREPROCESS = normalise([0.5], [0.5])


def stripes(count: int, seed: int) -> Dataset:
    """8 x 8 pixels of noise under a bright stripe at one of three heights, which survives flips and small shifts."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, count).astype(np.int32)
    images = rng.integers(0, 180, (count, 8, 8, 1))
    for image, label in zip(images, labels, strict=True):
        image[3 * label : 3 * label + 2] += 75
    # Some labels are wrong, as anywhere: no classifier reaches a loss of 0, and being too sure costs.
    labels[::7] = (labels[::7] + 1) % 3
    return Dataset(images.astype(np.uint8), labels, ("top", "middle", "bottom"))


@pytest.fixture(scope="session")
def train_set() -> Dataset:
    """37 images: in batches of 8, the last one holds 5."""
    return stripes(37, seed=0)


@pytest.fixture(scope="session")
def validation_set() -> Dataset:
    return stripes(21, seed=1)


@pytest.fixture(scope="session")
def preprocess():
    return PREPROCESS


@pytest.fixture(scope="session")
def mesh() -> Mesh:
    """One device, however many there are."""
    return Mesh(np.array(jax.devices()[:1]), ("data",))

"""Variables without compiling an initialisation, which takes longer than most tests here."""

from typing import Any

import jax
import numpy as np
import pytest


@pytest.fixture(scope="session")
def random_variables():
    """A function ``(model, images) -> variables`` that draws every leaf, scales and statistics too."""

    def draw(model, images) -> dict[str, Any]:
        shapes = jax.eval_shape(model.init, jax.random.key(0), images)
        rng = np.random.default_rng(0)
        return jax.tree.map_with_path(lambda path, leaf: draw_leaf(rng, path[-1].key, leaf), shapes)

    def draw_leaf(rng, name, leaf):
        if name in ("scale", "var"):
            return rng.uniform(0.5, 2, leaf.shape).astype(leaf.dtype)
        return rng.normal(scale=0.3, size=leaf.shape).astype(leaf.dtype)

    return draw

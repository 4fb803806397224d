import jax
import numpy as np
import pytest

from jaxtl.errors import UserError
from jaxtl.transfer.partition import transplant


def variables(classes: int, fill: float) -> dict:
    return {
        "params": {
            "stem": {"conv": {"kernel": np.full((3, 3, 1, 2), fill), "bias": np.full(2, fill)}},
            "head": {"linear": {"kernel": np.full((2, classes), fill)}},
        },
        "batch_stats": {"stem": {"norm": {"mean": np.full(2, fill)}}},
    }


def values(tree) -> dict[str, float]:
    return {jax.tree_util.keystr(path): float(leaf.ravel()[0]) for path, leaf in jax.tree.leaves_with_path(tree)}


def test_every_leaf_comes_from_the_source():
    fresh, source = variables(3, 0.0), variables(3, 1.0)
    found = transplant(fresh, source)
    assert set(values(found).values()) == {1.0}
    assert jax.tree.structure(found) == jax.tree.structure(fresh)
    assert set(values(fresh).values()) == {0.0}, "the argument is left as it was"


def test_everything_that_does_not_fit_is_named_at_once():
    source = variables(5, 1.0)
    del source["batch_stats"]["stem"]
    del source["params"]["stem"]["conv"]["bias"]
    source["params"]["stage1"] = {"kernel": np.ones(1)}
    source["params"]["stem"]["conv"]["kernel"] = np.ones((5, 5, 1, 2))
    with pytest.raises(UserError) as raised:
        transplant(variables(3, 0.0), source)
    message = str(raised.value)
    for fault in (
        "batch_stats/stem/norm/mean is missing",
        "params/stem/conv/bias is missing",
        "params/stage1/kernel has no place",
        "params/stem/conv/kernel has shape (5, 5, 1, 2) where the model has (3, 3, 1, 2)",
        "params/head/linear/kernel has shape (2, 5) where the model has (2, 3)",
    ):
        assert fault in message
    assert "new_head=True" in message

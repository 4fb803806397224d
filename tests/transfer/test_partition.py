import jax
import numpy as np
import pytest

from jaxtl.transfer.partition import merge, split

PARAMS = {"stem": {"kernel": np.ones(2)}, "stage1": {"kernel": np.zeros(3)}, "head": {"bias": np.arange(2)}}


@pytest.mark.parametrize(
    ("stages", "trained"),
    [(("head",), {"head"}), (("head", "stem"), {"stem", "head"}), ((), set()), (tuple(PARAMS), set(PARAMS))],
)
def test_split_and_merge_are_inverse(stages, trained):
    parts = split(PARAMS, stages)
    assert set(parts[0]) == trained
    assert set(parts[1]) == set(PARAMS) - trained
    whole = merge(*parts)
    assert whole == PARAMS


def test_leaves_are_shared_and_not_copied():
    trained, frozen = split(PARAMS, ("head",))
    assert trained["head"]["bias"] is PARAMS["head"]["bias"]
    assert frozen["stem"]["kernel"] is PARAMS["stem"]["kernel"]


def test_a_stage_is_named_in_full():
    # "stage1" must not take "stage10" along, nor "stage" either of them.
    params = {"stage1": 1, "stage10": 2}
    assert split(params, ("stage1",)) == ({"stage1": 1}, {"stage10": 2})
    assert split(params, ("stage",))[0] == {}


def test_stages_without_parameters_vanish():
    assert jax.tree.leaves(split({"head": {}}, ("head",))) == []

import dataclasses

import pytest

from jaxtl.errors import UserError
from jaxtl.transfer import Phase, trained_stages

STAGES = ("stem", "stage1", "stage2", "head")


@pytest.mark.parametrize(
    ("train", "expected"),
    [
        (("all",), STAGES),
        (("head",), ("head",)),
        (("head", "stem"), ("stem", "head")),  # the model's order
        (("stage2", "stage2"), ("stage2",)),
    ],
)
def test_trained_stages(train, expected):
    assert trained_stages(Phase(train=train), STAGES) == expected


def test_an_unknown_stage_suggests_the_nearest_and_lists_all():
    with pytest.raises(UserError, match=r"no stage 'stage3'; did you mean 'stage[12]'.*stem, stage1, stage2, head, or"):
        trained_stages(Phase(train=("head", "stage3")), STAGES)


def test_a_phase_that_trains_nothing_is_refused():
    with pytest.raises(UserError, match="trains no stage; name some of: stem"):
        trained_stages(Phase(train=()), STAGES)


def test_a_phase_is_named_after_its_stages():
    assert Phase(train=("stage1", "head")).name == "stage1+head"
    assert Phase().name == "all"


def test_a_phase_is_a_value():
    assert Phase(epochs=3) == dataclasses.replace(Phase(), epochs=3)
    with pytest.raises(dataclasses.FrozenInstanceError):
        Phase().epochs = 3  # type: ignore[misc]

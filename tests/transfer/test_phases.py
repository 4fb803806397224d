import dataclasses

import pytest

from jaxtl.errors import UserError
from jaxtl.transfer.phases import Phase, caches_features, phase_faults, settle, stages_in_training_mode, trained_stages

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
    with pytest.raises(UserError, match=r"no stage 'stage3'; did you mean 'stage[12]'.*It has: stem, stage1"):
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


# --- batch-norm modes ---


@pytest.mark.parametrize(
    ("phase", "in_training"),
    [
        (Phase(), STAGES),
        (Phase(batch_norm="frozen"), ("head",)),
        (Phase(train=("stage2", "head")), ("stage2", "head")),
        (Phase(train=("stage2", "head"), batch_norm="frozen"), ("head",)),
        (Phase(train=("head",), frozen_batch_norm="train"), STAGES),
        (Phase(train=("stage2", "head"), batch_norm="frozen", frozen_batch_norm="train"), ("stem", "stage1", "head")),
    ],
)
def test_stages_in_training_mode(phase, in_training):
    assert stages_in_training_mode(phase, STAGES, {"stem", "stage1", "stage2"}) == in_training


def test_a_frozen_stage_without_batch_norm_is_never_in_training_mode():
    phase = Phase(train=("head",), frozen_batch_norm="train")
    assert stages_in_training_mode(phase, STAGES, {"stage1"}) == ("stage1", "head")


# --- the feature cache ---


@pytest.mark.parametrize(
    ("phase", "cached"),
    [
        (Phase(train=("head",)), True),
        (Phase(train=("head",), flip=True), False),
        (Phase(train=("head",), crop=4), False),
        (Phase(train=("head",), flip=True, cached_views=4), True),
        (Phase(train=("head",), erasing=0.5, cached_views=4), True),
        (Phase(train=("head",), mixup=0.2), False),
        (Phase(train=("head",), cutmix=1.0, cached_views=4), False),  # every step mixes other images
        (Phase(train=("head",), cache_features=False), False),
        (Phase(train=("head",), frozen_batch_norm="train"), False),  # features would depend on the batch
        (Phase(train=("stage2", "head")), False),
        (Phase(train=("stage2",)), False),  # the head is frozen, the stage before it moves
        (Phase(), False),
    ],
)
def test_caches_features(phase, cached):
    assert caches_features(phase, STAGES, {"stem", "stage1", "stage2"}) is cached


def test_a_drift_that_cannot_happen_does_not_hinder_the_cache():
    assert caches_features(Phase(train=("head",), frozen_batch_norm="train"), STAGES, set())


def test_a_model_of_a_head_alone_has_no_backbone_to_run():
    assert not caches_features(Phase(), ("head",), set())


# --- the last N layers ---

LAYERS = {"stem": 2, "stage1": 6, "stage2": 6, "head": 1}


@pytest.mark.parametrize(
    ("count", "stages"),
    [(1, ("head",)), (2, ("stage2", "head")), (7, ("stage2", "head")), (8, ("stage1", "stage2", "head")), (15, STAGES)],
)
def test_the_last_layers_are_rounded_up_to_stages(count, stages):
    phase, told = settle(Phase(train=(f"last:{count}",), epochs=3), LAYERS)
    assert phase == Phase(train=stages, epochs=3)
    assert f"last:{count} is rounded" in told
    assert f"{sum(LAYERS[stage] for stage in stages)} of 15 layers" in told


def test_more_layers_than_there_are_is_refused():
    with pytest.raises(UserError, match="last:16 is asked for, but the model has 15 layers"):
        settle(Phase(train=("last:16",)), LAYERS)


@pytest.mark.parametrize("train", [("last:",), ("last:x",), ("last:0",), ("last:3", "head"), ("head", "last:3")])
def test_a_count_that_is_none_is_refused(train):
    with pytest.raises(UserError, match="last:N alone"):
        settle(Phase(train=train), LAYERS)


# --- the warm-up of a phase that was cut ---


@pytest.mark.parametrize(("epochs", "warmup", "expected"), [(1, 2.0, 0.5), (2, 2.0, 1.0), (3, 2.0, 2.0), (1, 0.0, 0.0)])
def test_a_warm_up_shrinks_with_its_phase(epochs, warmup, expected):
    phase, remark = settle(Phase(epochs=epochs, warmup_epochs=warmup), LAYERS)
    assert phase.warmup_epochs == expected
    assert bool(remark) == (expected != warmup)
    if remark:
        assert remark == f"warmup_epochs is 2, but phase 'all' has {epochs} epoch(s): it warms up for {expected:g}."


def test_both_adjustments_are_told():
    _, remark = settle(Phase(train=("last:1",), epochs=1, warmup_epochs=1.0), LAYERS)
    assert "last:1 is rounded" in remark and "phase 'head' has 1 epoch(s)" in remark


# --- what is wrong between a phase and a model ---


@pytest.mark.parametrize(
    ("phase", "fault"),
    [
        (Phase(train=("stage9",)), "train: The model has no stage 'stage9'"),
        (Phase(multipliers={"stage9": 0.1}), "multipliers names 'stage9', but the model's stages are: stem, stage1"),
        (Phase(train=("head",), multipliers={"stem": 0.1}), "multipliers names 'stem', which the phase does not train"),
        (Phase(train=("head",), cached_views=4), "cached_views is 4, but without augmentation every view is the same"),
        (
            Phase(train=("head",), mixup=0.2, cached_views=4),
            "cached_views is 4, but features can be kept only where a head alone trains on a backbone, mixup and",
        ),
        (Phase(flip=True, cached_views=4), "cached_views is 4, but features can be kept only where a head alone"),
        (
            Phase(train=("head",), flip=True, cached_views=4, frozen_batch_norm="train"),
            "cached_views is 4, but features can be kept only where",
        ),
    ],
)
def test_faults(phase, fault):
    (found,) = phase_faults(phase, STAGES)
    assert found.startswith(fault)
    assert found.endswith(".")


def test_a_sound_phase_has_no_fault():
    assert phase_faults(Phase(train=("head",), flip=True, cached_views=2, multipliers={"head": 2.0}), STAGES) == []

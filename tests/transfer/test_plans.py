import pytest

from jaxtl.errors import UserError
from jaxtl.transfer import Phase, discriminative_rates, fine_tune, from_scratch, gradual, linear_probe, lp_ft
from jaxtl.transfer.phases import phase_faults


def test_a_linear_probe_trains_the_head():
    assert linear_probe(5, learning_rate=0.1) == (Phase(train=("head",), epochs=5, learning_rate=0.1),)


@pytest.mark.parametrize("plan", [fine_tune, from_scratch])
def test_all_stages_train(plan):
    assert plan(5, optimizer="sgd") == (Phase(train=("all",), epochs=5, optimizer="sgd"),)


def test_scratch_must_learn_its_statistics():
    with pytest.raises(UserError, match="cannot freeze batch norm"):
        from_scratch(5, batch_norm="frozen")


def test_lp_ft_shares_a_recipe_that_the_probe_may_change():
    probe, fine = lp_ft(2, 8, probe={"learning_rate": 0.5, "flip": False}, learning_rate=0.1, flip=True)
    assert probe == Phase(train=("head",), epochs=2, learning_rate=0.5, flip=False)
    assert fine == Phase(train=("all",), epochs=8, learning_rate=0.1, flip=True)


def test_what_trains_once_goes_on_training():
    plan = gradual((("head",), ("stage4", "stage3"), "all"), (1, 2, 3), learning_rate=0.1, factor=0.5, optimizer="sgd")
    assert [phase.train for phase in plan] == [("head",), ("head", "stage4", "stage3"), ("all",)]
    assert [phase.epochs for phase in plan] == [1, 2, 3]
    assert [phase.learning_rate for phase in plan] == pytest.approx([0.1, 0.05, 0.025])
    assert {phase.optimizer for phase in plan} == {"sgd"}


def test_last_layers_stand_alone():
    assert gradual((("head",), "last:90"), (1, 2), learning_rate=0.1)[1].train == ("last:90",)


def test_a_length_for_every_group():
    with pytest.raises(UserError, match="2 groups of stages and 1 lengths"):
        gradual((("head",), ("stage4",)), (1,), learning_rate=0.1)


def test_rates_grow_towards_the_head():
    rates = discriminative_rates(("stem", "stage1", "stage2", "head"))
    assert rates["head"] == 1
    assert rates["stem"] == pytest.approx(2.6**-3)
    with pytest.raises(UserError, match="must be positive"):
        discriminative_rates(("stem", "head"), factor=0)


def test_plans_add_up():
    assert [phase.name for phase in linear_probe(1) + fine_tune(2)] == ["head", "all"]


def test_a_recipe_for_all_phases_counts_where_it_means_something():
    rates = {"stem": 0.1, "stage1": 0.5, "head": 1.0}
    plan = gradual(
        [("head",), ("stage1",), "all"], (1, 1, 1), learning_rate=0.1, multipliers=rates, cached_views=4, flip=True
    )
    assert [dict(phase.multipliers) for phase in plan] == [{"head": 1.0}, {"stage1": 0.5, "head": 1.0}, rates]
    assert [phase.cached_views for phase in plan] == [4, 0, 0]
    probe, fine = lp_ft(1, 2, multipliers=rates, cached_views=4, flip=True)
    assert (dict(probe.multipliers), probe.cached_views) == ({"head": 1.0}, 4)
    assert (dict(fine.multipliers), fine.cached_views) == (rates, 0)
    assert [phase_faults(phase, ("stem", "stage1", "head")) for phase in (*plan, probe, fine)] == [[]] * 5


def test_an_empty_group_is_refused():
    with pytest.raises(UserError, match="Group 1 of gradual names no stage"):
        gradual([("head",), ()], (1, 1), learning_rate=0.1)

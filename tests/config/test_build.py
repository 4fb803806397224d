import pytest

from jaxtl.config import check, default_config, phase, variants
from jaxtl.config.tree import plain
from jaxtl.transfer import Phase, fine_tune, gradual, linear_probe, lp_ft


@pytest.mark.parametrize(
    ("plan", "changes"),
    [
        (linear_probe(3, flip=True), [{"train": ("head",), "epochs": 3, "flip": True}]),
        (fine_tune(3, multipliers={"stem": 0.1}), [{"epochs": 3, "multipliers": {"stem": 0.1}}]),
        (lp_ft(1, 2), [{"train": ("head",), "epochs": 1}, {"epochs": 2}]),
        (gradual(["head"], [4], learning_rate=0.1), [{"train": ("head",), "epochs": 4, "learning_rate": 0.1}]),
    ],
)
def test_plans_and_phases_make_the_same(plan, changes):
    written = tuple(phase(**change) for change in changes)
    assert plain(plan) == plain(written)
    assert tuple(Phase(**plain(each)) for each in written) == plan
    config = default_config()
    config.phases = plan
    assert config.phases == written
    assert type(config.phases[0]) is type(written[0])


def test_the_phases_of_a_plan_can_be_changed_in_a_config():
    config = default_config()
    config.phases = lp_ft(1, 2)
    config.phases[1].epochs = 5
    config.source.phases = lp_ft(1, 2)
    config.source.phases[0].update(flip=True)
    config.baselines.other = {"phases": fine_tune(7)}
    config.baselines.other.phases[0].crop = 4
    config.model.weights = "source"
    assert check(config) == []
    runs = variants(config)
    assert [each["epochs"] for each in runs[""]["phases"]] == [1, 5]
    assert [each["flip"] for each in runs["source"]["phases"]] == [True, False]
    assert runs["baselines.other"]["phases"][0]["crop"] == 4

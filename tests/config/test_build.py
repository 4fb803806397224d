from pathlib import Path

import numpy as np
import pytest

from jaxtl.config import check, default_config, phase, repeats, variants
from jaxtl.config.data import image_folder
from jaxtl.config.tree import plain
from jaxtl.errors import UserError
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


def test_a_config_for_each_seed_and_fold():
    config = default_config()
    config.baselines.other = {"batch_size": 8}
    assert repeats(config) == {}
    assert {name: each["seed"] for name, each in repeats(config, (0, 3)).items()} == {"seed0": 0, "seed3": 3}
    assert [each["data"]["split_seed"] for each in repeats(config, (0, 3), vary_split=True).values()] == [0, 3]
    with pytest.raises(UserError, match=r"^The split varies with the seeds, but none was named"):
        repeats(config, vary_split=True)
    assert [type(each["seed"]) for each in repeats(config, np.arange(2)).values()] == [int, int]  # for JSON
    config.data.folds = 2
    found = repeats(config, (5, 6))
    drawn = [(name, each["seed"], each["data"]["fold"]) for name, each in found.items()]
    names = ("seed5_fold0", "seed5_fold1", "seed6_fold0", "seed6_fold1")
    assert drawn == list(zip(names, (5, 5, 6, 6), (0, 1, 0, 1), strict=True))
    other = variants(found["seed6_fold1"])["baselines.other"]
    assert (other["seed"], other["data"]["fold"], other["batch_size"]) == (6, 1, 8), "the baselines get the same draw"
    config.data.fold = 1
    assert repeats(config) == {}, "one fold is one run"


@pytest.mark.parametrize(
    ("data", "folder"),
    [
        ({"dir": "~/photos", "labels": "tables/a.csv"}, "~/photos"),
        ({"dir": "", "labels": "~/photos/labels.csv"}, "~/photos"),
    ],
)
def test_the_folder_of_image_files_is_that_of_the_table_if_none_is_named(data, folder):
    assert image_folder(data) == Path(folder).expanduser()
    assert image_folder({"dir": "", "labels": ""}) is None

"""One draw is no result: the same config with several seeds, and with several folds."""

import json

import numpy as np
import pytest
from scipy.stats import ttest_1samp

import jaxtl
from jaxtl import experiment
from jaxtl.config import repeats
from jaxtl.config.flags import load_config
from jaxtl.errors import UserError
from jaxtl.main import main
from jaxtl.runtime.run_files import RunFiles
from jaxtl.train.phase import DivergedError

pytestmark = pytest.mark.usefixtures("compiled_once")


@pytest.fixture(scope="module", autouse=True)
def quick(compiled_once, coarse_pictures):
    """Reports without pictures, and pages with coarse ones."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("jaxtl.report.figures.draw", lambda **kwargs: {})
        yield


@pytest.fixture(scope="module")
def seeds(tiny_config, tmp_path_factory):
    """The folder of two seeds."""
    folder = tmp_path_factory.mktemp("runs") / "seeds"
    flags = ("--phases.0.epochs=1", "--seeds", "0,3")
    assert main(["--config", str(tiny_config), "--workdir", str(folder), *flags]) == 0
    return folder


@pytest.fixture(scope="module")
def folds(tiny_config, tmp_path_factory):
    """The folder of three folds, and what ``jaxtl.run`` returned."""
    folder = tmp_path_factory.mktemp("runs") / "folds"
    config = load_config(tiny_config)
    config["data"] |= {"folds": 3, "subset": 100}
    return folder, jaxtl.run(config, folder)


def content(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_every_seed_is_a_finished_run_of_its_own(seeds):
    assert RunFiles(seeds).repeats() == [seeds / "seed0", seeds / "seed3"]
    files = [RunFiles(folder) for folder in RunFiles(seeds).repeats()]
    assert [each.config()["config"]["seed"] for each in files] == [0, 3]
    assert all(each.summary() and each.report.is_file() for each in files)
    losses = [each.summary()["test"]["loss"] for each in files]
    assert losses[0] != losses[1]
    splits = [each.split() for each in files]
    assert all(np.array_equal(splits[0][part], splits[1][part]) for part in splits[0]), "features can be shared"


def test_mean_standard_deviation_and_interval_are_on_the_page_and_in_json(seeds):
    accuracies = [RunFiles(folder).summary()["test"]["accuracy"] for folder in RunFiles(seeds).repeats()]
    record = json.loads((seeds / "comparison.json").read_text())
    (found,) = record["repeated"]
    assert found["accuracies"] == accuracies and found["draws"] == "seed 0, 3"
    across = found["across"]
    assert (across["n"], across["mean"]) == (2, pytest.approx(np.mean(accuracies)))
    assert across["sd"] == pytest.approx(np.std(accuracies, ddof=1))
    low, high = ttest_1samp(accuracies, 0).confidence_interval()
    assert (across["low"], across["high"]) == pytest.approx((max(low, 0), min(high, 1)))
    assert record["pairs"] == [], "single draws of one config are not tested against each other"
    page = (seeds / "comparison.html").read_text()
    assert "Across draws" in page and f"{100 * across['mean']:.2f}" in page


def test_the_same_command_trains_nothing_again_and_others_go_on(seeds, command, tiny_config):
    before = content(seeds)
    outcome = command("--config", tiny_config, "--workdir", seeds, "--phases.0.epochs=1", "--seeds=0,3")
    assert outcome.status == 0 and outcome.out.count("is finished: nothing was trained") == 2
    assert "Across draws" in outcome.out and "seed 0, 3" in outcome.out
    assert content(seeds) == before


def test_what_processes_tell_each_other_is_json(seeds, command, tiny_config, monkeypatch):
    for module in ("jaxtl.main", "jaxtl.experiment"):
        monkeypatch.setattr(f"{module}.broadcast", lambda value: json.loads(json.dumps(value)))
    outcome = command("--config", tiny_config, "--workdir", seeds, "--phases.0.epochs=1", "--seeds=0,3")
    assert outcome.status == 0 and "Across draws" in outcome.out


def test_an_interrupted_series_goes_on(seeds, command, tiny_config, tmp_path):
    arguments = ("--config", tiny_config, "--workdir", tmp_path / "w", "--phases.0.epochs=1")
    assert command(*arguments, "--seeds=3").status == 0
    first = content(tmp_path / "w" / "seed3")
    outcome = command(*arguments, "--seeds=0,3")
    assert outcome.status == 0 and outcome.out.count("is finished: nothing was trained") == 1
    assert content(tmp_path / "w" / "seed3") == first
    accuracies = [
        json.loads((folder / "comparison.json").read_text())["repeated"][0]["accuracies"]
        for folder in (seeds, tmp_path / "w")
    ]
    assert accuracies[0] == accuracies[1]


def test_a_work_folder_holds_one_run_or_several(seeds, command, tiny_config, tmp_path):
    outcome = command("--config", tiny_config, "--workdir", seeds, "--phases.0.epochs=1")
    assert outcome.status == 2 and "holds the runs of several seeds or folds (seed0, …)" in outcome.err
    (tmp_path / "config.json").write_text("{}")
    outcome = command("--config", tiny_config, "--workdir", tmp_path, "--seeds=0..1")
    assert outcome.status == 2 and "holds a single run; choose another for several" in outcome.err


def test_after_a_mistake_the_folder_is_free_for_the_corrected_config(tiny_config, tmp_path):
    config = load_config(tiny_config)
    config["data"] |= {"folds": 300}
    with pytest.raises(UserError, match="300 folds cannot be made of classes of"):
        jaxtl.run(config, tmp_path / "w")
    assert (tmp_path / "w" / "fold0").exists() and not RunFiles(tmp_path / "w").repeats()


@pytest.mark.parametrize("seeds", [(-1,), (2**31,), ("0",), (0.5,)])
def test_seeds_in_python_are_whole_numbers(tiny_config, tmp_path, seeds):
    with pytest.raises(UserError, match=rf"^{seeds[0]!r} is not a seed; give whole numbers in \[0, 2147483647\], for"):
        jaxtl.run(load_config(tiny_config), tmp_path, seeds=seeds)


@pytest.mark.parametrize("seeds", [5, None, True, np.array(3)])
def test_seeds_in_python_are_several(tiny_config, tmp_path, seeds):
    with pytest.raises(UserError, match=r"^seeds is .* but must be whole numbers, for example range\(5\) or \[5\]\.$"):
        jaxtl.run(load_config(tiny_config), tmp_path, seeds=seeds)


def test_seeds_may_come_one_by_one_and_are_not_endless(tiny_config, tmp_path):
    assert list(repeats({}, iter([0, 7]))) == ["seed0", "seed7"]
    with pytest.raises(UserError, match=r"^There are more than 1,000 seeds, a run each"):
        repeats({}, range(10**9))


def test_a_seed_that_diverges_does_not_end_the_others(tiny_config, tmp_path, monkeypatch):
    def train_one(runs, workdir, console):
        if workdir.name != "seed3":
            raise DivergedError("The loss is not a number any more")
        return run_all(runs, workdir, console)

    run_all = experiment._run_all
    monkeypatch.setattr(experiment, "_run_all", train_one)
    config = load_config(tiny_config)
    summary = jaxtl.run(config, tmp_path, seeds=[0, 3, 7])
    assert [run["folder"] for run in summary["runs"]] == [str(tmp_path / "seed3")]
    assert summary["notes"][0].startswith("2 of 3 runs diverged (seed0, seed7). They are left out of all figures")
    assert summary["diverged"] == ["seed0", "seed7"]
    assert "seed0, seed7" in (tmp_path / "comparison.html").read_text()
    with pytest.raises(DivergedError, match=r"^The loss is not a number any more; lower the learning rate"):
        jaxtl.run(config, tmp_path, seeds=[0, 7])


def test_folds_validate_every_training_image_once(folds):
    folder, summary = folds
    parts = [RunFiles(folder / f"fold{k}").split() for k in range(3)]
    held = np.concatenate([part["validation"] for part in parts])
    assert np.array_equal(np.sort(held), np.arange(100)), "disjoint, and together all"
    for part in parts:
        assert np.array_equal(np.sort(np.concatenate([part["train"], part["validation"]])), np.arange(100))
        assert np.array_equal(part["test"], parts[0]["test"])
    validated, tested = summary["repeated"]
    assert (validated["measured_on"], tested["measured_on"]) == ("validation images", "test images")
    assert validated["draws"] == tested["draws"] == "fold 0, 1, 2"
    assert any("Folds share training images" in note for note in summary["notes"])


def test_the_accuracy_of_a_fold_is_that_of_the_epoch_that_was_tested(folds):
    folder, summary = folds
    expected = []
    for k in range(3):
        files = RunFiles(folder / f"fold{k}")
        line = files.history()[files.summary()["best_epoch"] - 1]
        expected.append(line["val_accuracy"])
    assert list(summary["repeated"][0]["accuracies"]) == expected


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"folds": 1}, "data.folds is 1 and data.fold -1; take two folds or more"),
        ({"folds": 5, "fold": 5}, "data.folds is 5 and data.fold 5"),
        ({"fold": 0}, "data.folds is 0 and data.fold 0"),
        ({"folds": 10**9}, "data.folds is 1000000000, but must lie in"),
    ],
)
def test_folds_that_do_not_exist_are_refused(tiny_config, tmp_path, data, said):
    config = load_config(tiny_config)
    config["data"] |= data
    with pytest.raises(UserError, match=said):
        jaxtl.run(config, tmp_path / "w")
    assert not (tmp_path / "w").exists()


def test_folds_leave_no_place_for_validation_images_of_ones_own(tiny_config, tmp_path):
    config = load_config(tiny_config)
    config["data"] |= {"folds": 5, "subset": 0, "test_subset": 0}
    digits = jaxtl.load_dataset("digits")
    with pytest.raises(UserError, match=r"data.folds is 5, but given:\w+ has validation images of its own"):
        jaxtl.run(config, tmp_path / "w", train=digits, validation=digits, test=digits)


def test_a_search_needs_one_fold(tiny_config):
    space = pytest.importorskip("jaxtl.search.space")
    config = load_config(tiny_config)
    config["data"]["folds"] = 5
    wanted = space.Space({"phases.0.learning_rate": "1e-4..1e-1"})
    assert "Trials are judged on one fold: choose it by data.fold" in " ".join(space.space_faults(config, wanted))
    config["data"]["fold"] = 2
    assert space.space_faults(config, wanted) == []


@pytest.mark.parametrize("text", ["", "x", "4..0", "0..", "-1", "0..5000", "1.5"])
def test_what_names_no_seeds_is_refused(command, tiny_config, text):
    outcome = command("--config", tiny_config, f"--seeds={text}")
    assert outcome.status == 2 and "names no seeds; write 0..4 or 0,3,7" in outcome.err

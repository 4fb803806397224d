"""A run from its config to its report, as a function call and on real data."""

import csv
import json
import re
import types

import jax
import numpy as np
import pytest
from PIL import Image

import jaxtl
from jaxtl.config import default_config, phase
from jaxtl.config.flags import load_config
from jaxtl.create import create_model
from jaxtl.report.compared_runs import read_run
from jaxtl.runs.finished import load_run
from jaxtl.train.checkpoint import read_best
from jaxtl.weights import save

pytestmark = pytest.mark.usefixtures("compiled_once")


@pytest.fixture(scope="module")
def finished(tiny_config, tmp_path_factory, compiled_once):
    """(work folder, what `run` returned) of the tiny run."""
    workdir = tmp_path_factory.mktemp("run")
    return workdir, jaxtl.run(load_config(tiny_config), workdir)


def read(path):
    return json.loads(path.read_text(), parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))


def test_the_folder_holds_what_the_design_lists_and_nothing_else(finished):
    workdir, _ = finished
    assert {path.name for path in workdir.iterdir()} == {
        *("config.json", "metrics.jsonl", "split.npz", "summary.json"),
        *("predictions.csv", "validation_predictions.csv"),
        *("checkpoints", "tensorboard", "report"),
    }
    assert [path.name for path in (workdir / "report").iterdir()] == ["index.html"]
    assert {path.name for path in (workdir / "checkpoints").iterdir()} == {"best", "frozen", "last"}


def test_config_json(finished):
    written = read(finished[0] / "config.json")
    config, environment = written["config"], written["environment"]
    assert config["data"]["subset"] == 200
    assert config["data"]["split_seed"] == 0, "defaults are resolved"
    assert config["phases"][0]["weight_decay"] == 0.0
    assert environment["jax"] and environment["python"] and environment["device"] and environment["commit"]
    assert environment["date"] and environment["command"]


def test_metrics_jsonl(finished):
    lines = [json.loads(line) for line in (finished[0] / "metrics.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2]
    for line in lines:
        assert line["phase"] == "all"
        assert 0 <= line["train_accuracy"] <= 1 and 0 <= line["val_accuracy"] <= 1
        assert line["train_loss"] > 0 and line["val_loss"] > 0
        assert line["learning_rate"] == pytest.approx(0.01)
        assert line["images_per_s"] > 0 and line["seconds"] > 0


def test_a_notebook_shows_a_line_of_the_summary(finished):
    printed = []
    finished[1]._repr_pretty_(types.SimpleNamespace(text=printed.append), cycle=False)
    (line,) = printed
    assert line.startswith("Summary of 'tiny': test accuracy ") and "on 100 images; keys name, data, test" in line


def test_summary_json(finished):
    workdir, returned = finished
    summary = read(workdir / "summary.json")
    assert summary == returned
    assert summary.keys() == {
        *("name", "data", "test", "calibration", "time", "params", "best_epoch", "weights_sha256", "epochs_run"),
    }
    test = summary["test"]
    assert test.keys() == {
        *("accuracy", "loss", "precision", "recall", "f1", "n", "confusion_matrix", "per_class"),
        *("majority", "remarks", "calibration_error", "calibration_error_before"),
    }
    assert summary["time"].keys() == {"compile_s", "train_s", "features_s", "inference_s", "total_s"}
    assert summary["time"]["total_s"] >= summary["time"]["train_s"] > 0
    # blocks ((4,),) on 8 x 8 x 1, hidden (8,), ten classes
    assert summary["params"] == {"total": 9 * 4 + 4 + 4 * 16 * 8 + 8 + 8 * 10 + 10, "trainable": 650}
    assert summary["epochs_run"] == 2 and summary["best_epoch"] in (1, 2)
    confusion = np.array(test["confusion_matrix"])
    assert test["n"] == confusion.sum() == 100
    assert test["accuracy"] == pytest.approx(np.trace(confusion) / 100)
    assert len(test["per_class"]) == 10
    assert test["per_class"][3]["class"] == "3"


def test_what_was_read_is_in_the_summary(finished):
    data = read(finished[0] / "summary.json")["data"]
    assert data["class_names"] == list("0123456789") and data["image_shape"] == [8, 8, 1]
    assert {part: sum(counts) for part, counts in data["parts"].items()} == {
        "training": 180,
        "validation": 20,
        "test": 100,
    }
    assert data["passed_over"] == [] and all(isinstance(warning, str) for warning in data["warnings"])


def test_predictions_csv_agrees_with_the_summary(finished):
    workdir, summary = finished
    with (workdir / "predictions.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert list(lines[0]) == ["index", "true", "predicted", "probability"]
    assert [int(line["index"]) for line in lines] == list(range(100))
    labels = jaxtl.load_dataset("digits", "test").labels[:100]
    assert [int(line["true"]) for line in lines] == labels.tolist()
    right = sum(line["true"] == line["predicted"] for line in lines)
    assert right / 100 == summary["test"]["accuracy"]
    assert all(0.1 <= float(line["probability"]) <= 1 for line in lines)


def test_split_npz_tells_who_validated(finished):
    with np.load(finished[0] / "split.npz") as split:
        both = np.concatenate([split["train"], split["validation"]])
    assert sorted(both.tolist()) == list(range(200))


def test_the_report_is_one_self_contained_page(finished):
    workdir, summary = finished
    page = (workdir / "report" / "index.html").read_text()
    assert f"{100 * summary['test']['accuracy']:.2f}" in page
    assert "Augmented images" not in page, "the run augments none"
    assert page.count("data:image/png;base64,") >= 4
    assert not re.search(r"""(?:src|href)=["'](?!data:|#)""", page), "nothing is loaded from elsewhere"


def test_the_best_checkpoint_is_what_was_tested(finished):
    workdir, summary = finished
    data = jaxtl.load_dataset("digits", "test")
    options = {"blocks": ((4,),), "hidden": (8,)}
    model, _ = create_model("cnn", 10, key=jax.random.key(0), image_shape=(8, 8, 1), **options)
    logits = model.apply(read_best(workdir / "checkpoints"), (data.images[:100] / 255.0 - 0.5) / 0.5, train=False)
    right = np.asarray(logits).argmax(-1) == data.labels[:100]
    assert right.mean() == pytest.approx(summary["test"]["accuracy"])


@pytest.mark.usefixtures("no_pictures")
def test_source_transfer_and_baseline(transfer_config, tmp_path):
    config = load_config(transfer_config)
    summary = jaxtl.run(config, tmp_path)
    source, scratch = read_best(tmp_path / "source" / "checkpoints"), tmp_path / "baselines" / "scratch"
    assert read(tmp_path / "source" / "summary.json")["test"]["n"] > 0
    assert source["params"]["head"]["linear"]["kernel"].shape == (8, 3)

    this, other = summary["comparison"]["runs"]
    (pair,) = summary["comparison"]["pairs"]
    assert (this["name"], other["name"]) == (pair["run"], pair["other"]) == ("this run", "scratch")
    assert this["accuracy"] == summary["test"]["accuracy"]
    assert other["accuracy"] == read(scratch / "summary.json")["test"]["accuracy"]
    assert pair["difference"] == pytest.approx(this["accuracy"] - other["accuracy"])
    assert "weights of the source" in this["description"] and "random weights" in other["description"]
    assert "scratch" in (tmp_path / "report" / "index.html").read_text()

    # Two epochs of the head alone, then all: both kinds of lines, and every parameter counts as trained.
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["phase"] for line in lines] == ["head", "head", "all", "all"]
    assert summary["params"]["trainable"] == summary["params"]["total"]


@pytest.mark.usefixtures("no_pictures")
def test_a_frozen_stage_keeps_the_weights_of_the_source(transfer_config, tmp_path):
    config = load_config(transfer_config)
    config["baselines"] = {}
    config["phases"] = (phase(train=("head",), epochs=1, keep="last"),)
    summary = jaxtl.run(config, tmp_path)
    before, after = (read_best(folder / "checkpoints")["params"] for folder in (tmp_path / "source", tmp_path))
    np.testing.assert_array_equal(before["stem"]["conv1"]["kernel"], after["stem"]["conv1"]["kernel"])
    assert summary["params"]["trainable"] == 8 * 3 + 3


@pytest.mark.usefixtures("no_pictures")
def test_weights_of_a_finished_run_by_its_folder(finished, tiny_config, tmp_path):
    config = load_config(tiny_config)
    config["model"] |= {"weights": str(finished[0]), "new_head": False}
    config["phases"] = (phase(train=("head",), epochs=1, learning_rate=1e-9, keep="last"),)
    summary = jaxtl.run(config, tmp_path)
    assert summary["test"]["accuracy"] == finished[1]["test"]["accuracy"]


def test_a_bad_config_is_refused_by_the_function_too(tmp_path):
    config = default_config()
    config.seed = -1
    with pytest.raises(jaxtl.UserError, match="The config: seed is -1"):
        jaxtl.run(config, tmp_path / "w")
    assert not (tmp_path / "w").exists()


def test_real_cifar10(cifar10_dir, command, tmp_path, request):
    """configs/cnn.py on a thousand real images: files, training, test and report, and clearly better than chance."""
    flags = (f"--config.data.dir={cifar10_dir}", "--config.data.subset=1000", "--config.data.test_subset=500")
    flags += ("--config.phases.0.epochs=2", "--config.batch_size=32")
    config = request.config.rootpath / "configs" / "cnn.py"
    assert command("--config", config, "--workdir", tmp_path, *flags).status == 0
    summary = read(tmp_path / "summary.json")
    assert summary["test"]["n"] == 500
    assert summary["test"]["accuracy"] > 0.2  # chance is 0.1, with a standard deviation of 0.013
    assert summary["test"]["per_class"][0]["class"] == "airplane"
    assert (tmp_path / "report" / "index.html").stat().st_size > 100_000


def test_weights_that_do_not_fit_are_told_before_the_source_trains(transfer_config, tmp_path):
    config = load_config(transfer_config)
    config["baselines"]["other"] = {"model": {"weights": str(tmp_path / "other.safetensors")}}
    kernels = {"stem": np.zeros((3, 3, 1, 7), np.float32), "hidden": np.zeros((3, 3), np.float32)}
    stranger = {"params": {stage: {"conv1": {"kernel": kernel}} for stage, kernel in kernels.items()}}
    save(stranger, tmp_path / "other.safetensors")
    with pytest.raises(jaxtl.UserError, match="do not fit"):
        jaxtl.run(config, tmp_path / "run")
    assert not (tmp_path / "run" / "source").exists()


def test_without_phases_the_weights_are_tested_and_kept_as_they_are(finished, tmp_path):
    before, trained = finished
    config = default_config()
    config.update(json.loads((before / "config.json").read_text())["config"])
    config.model.weights, config.model.new_head, config.phases = str(before), False, ()
    summary = jaxtl.run(config, tmp_path / "as_they_are")
    assert summary["test"] == trained["test"]
    assert (summary["epochs_run"], summary["params"]["trainable"]) == (0, 0)
    kept, again = (read_best(folder / "checkpoints") for folder in (before, tmp_path / "as_they_are"))
    assert jax.tree.all(jax.tree.map(np.array_equal, kept, again))


@pytest.mark.usefixtures("no_pictures")
def test_a_folder_of_images_gives_the_same_run_from_memory_and_streamed(tmp_path):
    rng = np.random.default_rng(0)
    for k, name in enumerate(("cat", "dog")):
        (tmp_path / "images" / name).mkdir(parents=True)
        for i in range(10):
            pixels = rng.integers(0, 128, (9, 12, 3), np.uint8)
            pixels[..., k] += 100
            Image.fromarray(pixels).save(tmp_path / "images" / name / f"{i}.png")
    (tmp_path / "images" / "cat" / "empty.jpg").touch()
    config = default_config()
    config.data.name, config.data.dir, config.data.size = "folder", str(tmp_path / "images"), 8
    config.data.undecodable, config.data.validation = 0.1, 0.2
    config.model.options = {"blocks": ((4,),), "hidden": (8,)}
    config.batch_size = 4
    config.phases = (phase(epochs=1, flip=True, resized_crop=0.5, erasing=0.5, mixup=0.5),)
    outcomes = []
    for stream in ("never", "always"):
        config.data.stream, config.data.workers = stream, 1
        summary = jaxtl.run(config, tmp_path / stream)
        left = [(tmp_path / stream / name).read_bytes() for name in ("predictions.csv", "remarks.csv")]
        outcomes.append((summary["test"], *left))
    assert outcomes[0] == outcomes[1]
    assert b"cat/empty.jpg,it is empty,skipped" in outcomes[0][2]
    finished = read_run(tmp_path / "always")
    assert {path.split("/")[0] for path, _ in finished.test_images} == {"cat", "dog"}
    assert load_run(tmp_path / "always").image_shape == (8, 8, 3)


# --- images given in Python ------------------------------------------------------------------------------------------


def bright_and_dark(n, seed, names=("dark", "bright"), size=8):
    """``n`` images whose class is their brightness."""
    labels = np.arange(n, dtype=np.int32) % 2
    noise = np.random.default_rng(seed).integers(0, 128, (n, size, size, 1))
    return jaxtl.Dataset((noise + 127 * labels[:, None, None, None]).astype(np.uint8), labels, names)


@pytest.fixture
def small():
    config = default_config()
    config.name, config.reported = "cnn on CIFAR-10 (study Z)", "75 %"
    config.model.options = {"blocks": ((4,),), "hidden": (8,)}
    config.batch_size = 8
    config.phases = (phase(epochs=2, learning_rate=0.01),)
    return config


@pytest.mark.usefixtures("no_pictures")
def test_images_given_in_python(small, tmp_path):
    train, test = bright_and_dark(80, 0), bright_and_dark(20, 1)
    summary = jaxtl.run(small, tmp_path, train=train, test=test)
    assert summary["test"]["n"] == 20 and summary["test"]["accuracy"] > 0.8
    assert summary["data"]["parts"] == {"training": [36, 36], "validation": [4, 4], "test": [10, 10]}
    assert summary["name"] == "cnn on images given in Python"
    run = load_run(tmp_path)
    assert run.class_names == ("dark", "bright") and len(run.predict(test.images)) == 20
    again = jaxtl.run(small, tmp_path, train=bright_and_dark(80, 0), test=test)
    assert again == summary, "the same images continue the run"
    with pytest.raises(jaxtl.UserError, match=r"holds another run, which differs in data\.name"):
        jaxtl.run(small, tmp_path, train=bright_and_dark(80, 2), test=test)
    with pytest.raises(jaxtl.UserError, match="given in Python and kept nowhere; name another data set"):
        jaxtl.load_dataset(run.config["data"]["name"])


@pytest.mark.usefixtures("no_pictures")
def test_validation_images_given_in_python(small, tmp_path):
    small.data.validation = 0.0
    parts = {"train": bright_and_dark(40, 0), "validation": bright_and_dark(10, 1), "test": bright_and_dark(10, 2)}
    summary = jaxtl.run(small, tmp_path, **parts)
    assert {part: sum(counts) for part, counts in summary["data"]["parts"].items()} == {
        "training": 40,
        "validation": 10,
        "test": 10,
    }


@pytest.mark.usefixtures("no_pictures")
def test_without_validation_images_nothing_is_calibrated(small, tmp_path):
    small.data.validation, small.phases = 0.0, (phase(epochs=1, keep="last"),)
    summary = jaxtl.run(small, tmp_path, train=bright_and_dark(40, 0), test=bright_and_dark(10, 2))
    remark = "Probabilities are not calibrated, because the run has no validation images."
    assert summary["calibration"] == {"temperature": 1, "validation_images": 0, "remark": remark, "answered": []}
    assert summary["test"]["calibration_error"] == summary["test"]["calibration_error_before"]
    assert not (tmp_path / "validation_predictions.csv").exists()


def test_given_images_that_do_not_go_together(small, tmp_path):
    train = bright_and_dark(40, 0)
    for parts, words in (
        ({"train": train}, "Images were given for train only; give train and test, which are both needed."),
        ({"test": train}, "Images were given for test only"),
        ({"train": train, "test": bright_and_dark(10, 1, ("a", "b"))}, "give all splits the same"),
        ({"train": train, "test": bright_and_dark(10, 1, size=9)}, "give all splits the same"),
    ):
        with pytest.raises(jaxtl.UserError, match=words):
            jaxtl.run(small, tmp_path / "run", **parts)
    assert not (tmp_path / "run").exists()

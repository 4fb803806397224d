"""``python -m jaxtl.evaluate``: a finished run on its own images again, and on others."""

import json

import jax
import numpy as np
import pytest
from PIL import Image

import jaxtl
from jaxtl import evaluate as command_line
from jaxtl.data.augment import channels
from jaxtl.data.dataset import Dataset
from jaxtl.data.match_classes import match_classes
from jaxtl.errors import UserError
from jaxtl.runs.evaluation import make_evaluation
from jaxtl.runs.finished import load_run

pytestmark = pytest.mark.usefixtures("compiled_once")


@pytest.fixture(scope="module")
def run(tiny_run):
    return load_run(tiny_run)


@pytest.fixture
def call(capsys, monkeypatch, tmp_path):
    """``call(*arguments)`` in a folder of its own gives (status, stdout, stderr, the JSON)."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        capsys.readouterr()
        try:
            status = command_line.main([str(argument) for argument in (*arguments, "--out", "figures.json")])
        except SystemExit as exit_:  # argparse
            status = exit_.code
        written = tmp_path / "figures.json"
        return status, *capsys.readouterr(), json.loads(written.read_text()) if written.exists() else None

    return run


def by_hand(run, images):
    """Predicted classes of uint8 images."""
    logits = run.model.apply(run.variables, (images / np.float32(255) - 0.5) / 0.5, train=False)
    return np.asarray(logits).argmax(-1)


def test_the_own_test_images_give_the_figures_of_the_run(call, tiny_run):
    status, out, err, tree = call("--run", tiny_run, "--batch", 32)
    assert status == 0 and err == "All figures: figures.json\n"
    summary = json.loads((tiny_run / "summary.json").read_text())["test"]
    assert tree["test"]["confusion_matrix"] == summary["confusion_matrix"]
    assert tree["test"]["per_class"] == summary["per_class"]
    for key in ("accuracy", "loss", "precision", "recall", "f1", "n"):
        assert tree["test"][key] == pytest.approx(summary[key], rel=1e-5)
    low, high = tree["test"]["interval"]
    assert 0 <= low < summary["accuracy"] < high <= 1
    assert f"{100 * summary['accuracy']:.2f} % (95 % interval {100 * low:.2f} % to {100 * high:.2f} %)" in out
    assert "the figures of the run itself are in its summary.json" in out
    assert "first 100 of 898" in out
    assert tree["time"]["total_s"] > tree["time"]["inference_s"] > 0 and tree["environment"]["jax"]
    assert tree["data"]["split"] == "test" and tree["data"]["image_size"] == [8, 8]


def test_all_of_the_test_split(call, run, tiny_run):
    *_, tree = call("--run", tiny_run, "--subset", 0)
    test = jaxtl.load_dataset("digits", "test")
    assert tree["test"]["n"] == len(test)
    assert tree["test"]["accuracy"] == pytest.approx((by_hand(run, test.images) == test.labels).mean())


@pytest.mark.parametrize(("split", "part"), [("train", "train"), ("val", "validation")])
def test_the_images_that_trained_and_validated(call, run, tiny_run, split, part):
    status, out, _, tree = call("--run", tiny_run, "--split", split)
    assert status == 0 and "summary.json" not in out
    assert {"train": "trained the run", "val": "held out"}[split] in out
    with np.load(tiny_run / "split.npz") as kept:
        indices = kept[part]
    data = jaxtl.load_dataset("digits", "train")
    assert tree["test"]["n"] == len(indices)
    right = by_hand(run, data.images[indices]) == data.labels[indices]
    assert tree["test"]["accuracy"] == pytest.approx(right.mean())


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    """A folder of RGB images of 16 x 16 pixels: three digits and a letter, and a file that is none."""
    root, data = tmp_path_factory.mktemp("photographs"), jaxtl.load_dataset("digits", "test")
    for name, label in (("3", 3), ("1", 1), ("seven", 7), ("x", 0)):
        (root / name).mkdir()
        for i in np.flatnonzero(data.labels == label)[:10]:
            image = Image.fromarray(np.kron(data.images[i, ..., 0], np.ones((2, 2), np.uint8)))
            image.convert("RGB").save(root / name / f"{i}.png")
    return root


def test_a_folder_with_other_classes(call, run, tiny_run, photographs):
    arguments = "--run", tiny_run, "--data", "folder", "--data-dir", photographs, "--split", "all"
    status, out, _, tree = call(*arguments)
    assert status == 0
    test = tree["test"]
    assert [line["class"] for line in test["per_class"]] == ["1", "3"]
    assert test["n"] == 20 and np.array(test["confusion_matrix"]).shape == (10, 10)
    assert "20 images are left out, whose classes the run does not have: seven, x." in out
    assert "lacks 8 of the run's 10 classes (0, 2, 4, 5, 6, 7, 8, 9)" in out
    assert "converted from RGB to grey" in out
    assert test["recall"] == pytest.approx(np.mean([line["recall"] for line in test["per_class"]]))

    status, out, _, tree = call(*arguments, "--classes", ",1,,3,,,,seven,,")
    assert status == 0 and "'seven' as '7'" in out
    assert [(line["class"], line["support"]) for line in tree["test"]["per_class"]] == [("1", 10), ("3", 10), ("7", 10)]
    images = jaxtl.load_dataset(
        "folder", "test", photographs, options=jaxtl.data.options.ImageOptions(size=8, test=0.5)
    ).images
    assert images.shape[1:] == (8, 8, 3)
    grey = np.asarray(channels(1)(jax.random.key(0), images))
    np.testing.assert_allclose(grey, images[..., :1], atol=1e-3)

    status, out, _, tree = call(*arguments[:-2])
    assert status == 0 and "8 of the folder's 40 images are its test split; --split all takes all." in out
    assert tree["test"]["n"] == 4


def test_a_folder_file_that_cannot_be_read_is_named(call, tiny_run, photographs):
    broken = photographs / "3" / "broken.png"
    broken.write_bytes(b"none")
    status, _, err, tree = call(
        "--run", tiny_run, "--data", "folder", "--data-dir", photographs, "--split", "all", "--subset", 5
    )
    broken.unlink()
    assert status == 0 and "3/broken.png: it is not an image of a known format (skipped)" in err
    assert "1 of 41 images could not be read." in err
    assert tree["images"][0]["place"] == "3/broken.png" and tree["test"]["n"] == 5


def some(names, labels):
    return Dataset(np.arange(len(labels), dtype=np.uint8).reshape(-1, 1, 1, 1), np.array(labels, np.int32), names)


def test_classes_in_another_order():
    matched = match_classes(some(("b", "c", "a"), [0, 1, 2, 0]), ("a", "b", "c"))
    assert matched.dataset.labels.tolist() == [1, 2, 0, 1] and matched.remarks == ()
    assert matched.dataset.class_names == ("a", "b", "c") and matched.present == (0, 1, 2)


def test_classes_that_play_others():
    stl = some(("airplane", "car", "monkey"), [0, 1, 2])
    matched = match_classes(stl, ("automobile", "frog", "airplane"), ("car", "", "airplane"))
    assert matched.dataset.labels.tolist() == [2, 0] and matched.present == (0, 2)
    assert matched.dataset.images.ravel().tolist() == [0, 1]
    assert len(matched.remarks) == 3 and "monkey" in matched.remarks[0]


@pytest.mark.parametrize(
    ("names", "played_by", "words"),
    [
        (("x", "y"), (), "none of the run's classes"),
        (("a", "b"), ("a",), "names 1 classes, but the run has 2"),
        (("x", "y"), ("a", "a"), "'a' twice"),
        (("x", "y"), ("a", "z"), "There is no class 'z'"),
    ],
)
def test_classes_that_do_not_match(names, played_by, words):
    with pytest.raises(UserError, match=words):
        match_classes(some(("a", "b"), [0, 1]), names, played_by)


def test_mistakes_are_one_sentence(call, tiny_run, tmp_path):
    for arguments, words in (
        (["--size", 1], "needs at least 2 x 2"),
        (["--size", 16], "The dense layer was made for 64 inputs"),
        (["--data", "digit"], "did you mean 'digits'"),
        (["--data", "folder"], "--data-dir"),
        (["--data", "folder", "--data-dir", tmp_path / "none"], "there is no folder"),
        (["--subset", 10_000], "The first 10000 of"),
        (["--subset", -1], "'-1' is not a whole number of 0 or more"),
    ):
        status, out, err, _ = call("--run", tiny_run, *arguments)
        assert (status, out) == (2, "")
        assert err.startswith("jaxtl: ") and err.count("\n") == 1 and words in err
    assert call("--run", tmp_path / "none")[0] == 2


def test_images_of_another_size_are_resized_on_the_device(run):
    """As a data set of one fixed size is that is not the run's."""
    test = jaxtl.load_dataset("digits", "test")
    twice = np.repeat(np.repeat(test.images[:100], 2, axis=1), 2, axis=2)
    dataset = Dataset(np.repeat(twice, 3, axis=-1), test.labels[:100], test.class_names)
    found = make_evaluation(run, (8, 8), batch_size=64)(dataset)
    shrunk = jax.image.resize(twice.astype(np.float32), (100, 8, 8, 1), "bilinear", antialias=True)
    np.testing.assert_array_equal(found.predicted, by_hand(run, np.asarray(shrunk)))
    assert found.confusion.sum() == 100

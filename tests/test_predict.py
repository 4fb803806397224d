"""``python -m jaxtl.predict``: files of all kinds in, tables, CSV, JSON and sheets out."""

import csv
import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from PIL import Image

import jaxtl
from jaxtl import predict as command_line
from jaxtl.config.flags import load_config
from jaxtl.data.image_files import image_files
from jaxtl.report import sheets as contact_sheets
from jaxtl.report.statistics import calibration
from jaxtl.runs.finished import LoadedRun, load_run
from jaxtl.runtime.run_files import RunFiles
from jaxtl.train.calibration import fit_temperature
from tests.conftest import edit

DIGITS = "0123456789"


pytestmark = pytest.mark.usefixtures("compiled_once")


@pytest.fixture(scope="module")
def runs(tiny_config, tmp_path_factory, compiled_once):
    """Two runs of the same name, with other weights; a linear model compiles fastest."""
    workdirs = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("jaxtl.report.figures.draw", lambda **kwargs: {})
        for seed, name in ((0, "tiny"), (7, "other")):
            config = load_config(tiny_config)
            config["seed"], config["model"]["name"], config["model"]["options"] = seed, "logistic_regression", {}
            workdirs.append(tmp_path_factory.mktemp("runs") / name)
            jaxtl.run(config, workdirs[-1])
    return workdirs


@pytest.fixture(scope="module")
def run_dir(runs):
    return runs[0]


@pytest.fixture(scope="module")
def other_dir(runs):
    return runs[1]


@pytest.fixture(scope="module")
def run(run_dir):
    return load_run(run_dir)


@pytest.fixture(scope="module")
def images():
    """Seven digits of the test split, uint8 [7, 8, 8, 1]."""
    return jaxtl.load_dataset("digits", "test").images[:7]


@pytest.fixture(scope="module")
def folder(images, tmp_path_factory):
    """Seven digits, in files that must all decode to their pixels, and other things."""
    root = tmp_path_factory.mktemp("pictures")
    (root / "deep").mkdir()
    for i, image in enumerate(images):
        Image.fromarray(image[..., 0]).save(root / ("deep" if i >= 5 else "") / f"{i}.png")
    (root / "notes.txt").write_text("no image")
    (root / ".hidden.png").write_bytes(b"no image either")
    return root


@pytest.fixture
def call(capsys, monkeypatch, tmp_path):
    """``call(*arguments, stdin=…)`` in a folder of its own gives (status, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments, stdin=b""):
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(stdin)))
        capsys.readouterr()
        status = command_line.main([str(argument) for argument in arguments])
        return status, *capsys.readouterr()

    return run


def by_hand(run, images):
    """Softmax probabilities of uint8 images, [N, 10]."""
    logits = run.model.apply(run.variables, (images / np.float32(255) - 0.5) / 0.5, train=False)
    return np.asarray(jax.nn.softmax(logits / run.temperature))


def test_csv_of_a_folder_agrees_with_the_model(call, run, run_dir, folder, images):
    status, out, err = call("--run", run_dir, folder, "--format", "csv", "--top", 3, "--batch", 4)
    assert (status, err) == (0, "")
    assert out.startswith("file,class_1,probability_1,class_2,")
    lines = list(csv.DictReader(io.StringIO(out)))
    assert [os.path.relpath(line["file"], folder) for line in lines] == [
        *("0.png", "1.png", "2.png", "3.png", "4.png"),
        *("deep/5.png", "deep/6.png"),
    ]
    for line, expected in zip(lines, by_hand(run, images), strict=True):
        best = np.argsort(-expected)[:3]
        assert [line[f"class_{rank}"] for rank in (1, 2, 3)] == [DIGITS[k] for k in best]
        assert [float(line[f"probability_{rank}"]) for rank in (1, 2, 3)] == pytest.approx(expected[best], abs=2e-6)


def test_the_batch_size_changes_nothing(run, folder):
    files, faults = image_files([str(folder)])
    assert not faults
    files.insert(3, folder / "gone.png")
    told = []
    one = run.predict(files, batch_size=3, top=99, progress=lambda *done: told.append(done))
    other = run.predict(files, batch_size=100, top=10)
    assert one.classes.shape == (8, 10) and told == [(3, 8), (6, 8), (8, 8)]
    assert (one.classes[3] == -1).all() and np.isnan(one.probability[3]).all()
    assert [bool(fault) for fault in one.faults] == [i == 3 for i in range(8)] and "No such file" in one.faults[3]
    np.testing.assert_array_equal(one.classes, other.classes)
    np.testing.assert_allclose(one.probability, other.probability, rtol=1e-5)
    np.testing.assert_allclose(np.delete(one.probability, 3, axis=0).sum(-1), 1, rtol=1e-5)


def test_one_compilation_for_all_batches(run, folder):
    traced = []

    def counted(key, images):
        traced.append(images.shape)
        return run.preprocess(key, images)

    run._replace(preprocess=counted).predict(image_files([str(folder)])[0], batch_size=2)
    assert traced == [(2, 8, 8, 1)]


def test_paths_contents_and_arrays_get_the_same_answers(run, folder, images):
    files, _ = image_files([str(folder)])
    by_path = run.predict(files, top=3)
    for others in ([file.read_bytes() for file in files], [str(file) for file in files], images, [*images]):
        found = run.predict(others, top=3)
        np.testing.assert_array_equal(found.classes, by_path.classes)
        np.testing.assert_array_equal(found.probability, by_path.probability)
    assert run.predict(images).names[:2] == ("image 0", "image 1") and by_path.names[0] == str(files[0])
    for one in (str(files[0]), files[0], images[0], images[0, ..., 0]):
        (answers,) = run.predict(one, top=3)
        assert [name for name, _ in answers] == [name for name, _ in by_path[0]]
        assert [p for _, p in answers] == pytest.approx([p for _, p in by_path[0]], rel=1e-5)
    assert by_path[0][0][0] == DIGITS[by_path.classes[0, 0]]
    assert str(by_path).splitlines()[0].startswith(f"{files[0]}: {by_path[0][0][0]} ")
    odd = run.predict([images[0].astype(np.float32)])
    assert odd[0] == [] and "is an array of float32" in odd.faults[0]


def test_the_test_images_as_files_get_the_answers_of_the_run(run, run_dir, tmp_path):
    test = jaxtl.load_dataset("digits", "test")
    with (run_dir / "predictions.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    found = run.predict(test.images[: len(lines)], top=1)
    assert [answers[0][0] for answers in found] == [line["predicted"] for line in lines]


def test_nothing_to_predict(run):
    none = run.predict([])
    assert none.classes.shape == (0, 5) and none.faults == ()
    with pytest.raises(ValueError, match="at least 1"):
        run.predict([], top=0)


def test_kinds_of_files_a_list_on_stdin_and_what_cannot_be_read(call, run_dir, images, tmp_path):
    grey = Image.fromarray(images[0][..., 0])
    Image.merge("RGBA", [grey, grey, grey, Image.new("L", grey.size, 255)]).save(tmp_path / "rgba.png")
    grey.resize((80, 80), Image.Resampling.NEAREST).save(tmp_path / "large.png")
    grey.save(tmp_path / "plain.image", format="PNG")
    (tmp_path / "broken.png").write_bytes((tmp_path / "large.png").read_bytes()[:90])
    (tmp_path / "empty").mkdir()
    listed = b"rgba.png\n\nlarge.png\r\nempty\nbroken.png\n"
    status, out, err = call("--run", run_dir, "-", "plain.image", "gone.png", "--format", "json", stdin=listed)
    assert status == 0
    tree = json.loads(out)
    assert [image["file"] for image in tree["images"]] == ["rgba.png", "large.png", "plain.image"]
    rgba, large, plain = (image["predictions"]["tiny"] for image in tree["images"])
    assert len(plain) == 5 and rgba == plain, "opaque, so the same pixels"
    assert large[0]["class"] == plain[0]["class"]
    assert {entry["file"] for entry in tree["unread"]} == {"empty", "broken.png", "gone.png"}
    lines = err.splitlines()
    assert len(lines) == 4 and lines[-1] == "3 of 6 images could not be read."
    assert "empty: no image lies in this folder" in lines and "broken.png: it is damaged" in err


def test_several_runs_side_by_side_and_on_a_sheet(call, run, run_dir, other_dir, folder, images, monkeypatch):
    monkeypatch.setattr(contact_sheets, "PER_PAGE", 5)
    arguments = ["--run", run_dir, "--run", other_dir, folder]
    status, out, err = call(*arguments, "--out", "made/table.csv", "--sheet", "sheet.png")
    assert (status, out) == (0, "")
    assert "sheet.png and 1 more pages, up to sheet-2.png" in err
    with Path("made/table.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    expected = {
        f"tiny ({path.parent.name}/{path.name})": by_hand(load_run(path), images) for path in (run_dir, other_dir)
    }
    assert list(lines[0]) == ["file", *(key for name in expected for key in (name, f"{name} probability"))]
    for name, probability in expected.items():
        assert [line[name] for line in lines] == [DIGITS[k] for k in probability.argmax(-1)]
        assert [float(line[f"{name} probability"]) for line in lines] == pytest.approx(probability.max(-1), abs=2e-6)
    for page, rows in (("sheet.png", 1), ("sheet-2.png", 1)):
        with Image.open(page) as image:
            assert image.format == "PNG" and 800 < image.width < 1700 and 200 * rows < image.height < 800
            assert len(image.convert("RGB").getcolors(1 << 24)) > 50, "it shows something"
    status, _, err = call("--run", run_dir, folder, "sheet-2.png", "--sheet", "sheet.png")
    assert status == 2 and "sheet-2.png is one of the images, which would be lost" in err

    status, out, _ = call(*arguments)
    assert status == 0 and "/other)" in out
    row = next(line for line in out.splitlines() if "5.png" in line)
    assert row.split()[1::3] == [DIGITS[probability[5].argmax()] for probability in expected.values()]


def test_probabilities_are_calibrated_on_the_validation_images(run, run_dir):
    summary = json.loads((run_dir / "summary.json").read_text())
    found = summary["calibration"]
    data, split = jaxtl.load_dataset("digits", "train"), RunFiles(run_dir).split()["validation"]
    preprocessed = (data.images[split] / np.float32(255) - 0.5) / 0.5
    logits = run.model.apply(run.variables, preprocessed, train=False)
    expected = fit_temperature(np.asarray(logits), data.labels[split])
    assert found["temperature"] == run.temperature == pytest.approx(expected, rel=1e-3) != 1
    assert (found["validation_images"], found["remark"]) == (20, "")

    for name, labelled in (("validation", data), ("", jaxtl.load_dataset("digits", "test"))):
        path = run_dir / f"{name}{'_' if name else ''}predictions.csv"
        with path.open(newline="") as file:
            lines = list(csv.DictReader(file))
        indices = [int(line["index"]) for line in lines]
        answers = run.predict(labelled.images[indices], top=1)
        assert [answer[0][0] for answer in answers] == [line["predicted"] for line in lines]
        written = [float(line["probability"]) for line in lines]
        np.testing.assert_allclose(answers.probability[:, 0], written, atol=1e-5)
    right = np.array([line["true"] == line["predicted"] for line in lines])
    error = calibration(np.array(written), right)[1]
    assert summary["test"]["calibration_error"] == pytest.approx(error, abs=1e-5)
    for line in found["answered"]:
        sure = np.array(written) >= line["confidence"] - 1e-6
        assert line["answered"] == pytest.approx(sure.mean())
        assert line["error"] is None or line["error"] == pytest.approx((~right[sure]).mean())


def test_images_that_are_too_uncertain_are_unsure(call, run, run_dir, other_dir, folder, images):
    with (run_dir / "validation_predictions.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    threshold = run.threshold(0.05)
    kept = [line for line in lines if float(line["probability"]) >= threshold]
    assert 0 < len(kept) < len(lines)
    assert sum(line["true"] != line["predicted"] for line in kept) <= 0.05 * len(kept)

    test = jaxtl.load_dataset("digits", "test").images[:200]
    found, always = run.predict(test, top=3, max_error=0.05), run.predict(test, top=3)
    np.testing.assert_array_equal(found.unsure, found.probability[:, 0] < threshold)
    assert 0 < found.unsure.sum() < 200 and not always.unsure.any()
    i, j = np.flatnonzero(found.unsure)[0], np.flatnonzero(~found.unsure)[0]
    assert found[i] == [("unsure", always[i][0][1]), *always[i][:2]] and found[j] == always[j]
    assert str(found).splitlines()[i].startswith(f"image {i}: unsure ")

    unsure = run.predict(images, max_error=0.05).unsure
    status, out, err = call("--run", run_dir, folder, "--max-error", "5%", "--format", "csv")
    assert (status, err) == (0, f"tiny is unsure below a confidence of {100 * threshold:.2f} %.\n")
    assert [row["class_1"] == "unsure" for row in csv.DictReader(io.StringIO(out))] == unsure.tolist()
    _, out, _ = call("--run", run_dir, folder, "--max-error", "0.05", "--format", "json")
    answers = [image["predictions"]["tiny"] for image in json.loads(out)["images"]]
    assert [answer[0]["class"] == "unsure" for answer in answers] == unsure.tolist()
    _, out, _ = call("--run", run_dir, folder, "--max-error", "0.05", "--sheet", "sheet.png")
    assert out.count("unsure ") == unsure.sum()
    _, out, _ = call("--run", run_dir, "--run", other_dir, folder, "--max-error", "0.05", "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(out)))
    (name,) = (name for name in rows[0] if name.endswith("/tiny)"))
    assert [row[name] == "unsure" for row in rows] == unsure.tolist()


def test_an_error_rate_that_no_confidence_keeps_is_one_sentence(call, run, run_dir, folder, tmp_path):
    shutil.copytree(run_dir, tmp_path / "wrong")
    (tmp_path / "wrong" / "validation_predictions.csv").write_text("index,true,predicted,probability\n1,3,4,0.99\n")
    shutil.copytree(run_dir, tmp_path / "old")
    (tmp_path / "old" / "validation_predictions.csv").unlink()
    for name, words in (("wrong", "are wrong more often"), ("old", "no predictions of validation images")):
        status, out, err = call("--run", tmp_path / name, folder, "--max-error", "2%")
        assert (status, out) == (2, "") and err.startswith("jaxtl: ") and words in err
    for text in ("2", "-1%", "100%", "few", "nan"):
        status, _, err = call("--run", run_dir, folder, f"--max-error={text}")
        assert status == 2 and f"{text!r} is not a share below 1, such as 2% or 0.02" in err
    with pytest.raises(jaxtl.UserError, match="max_error is 2, but must be a share below 1"):
        run.predict([], max_error=2)


def test_mistakes_are_one_sentence(call, run_dir, folder, tmp_path):
    for arguments, words in (
        ([folder], "No run was named"),
        (["--run", run_dir], "No image was named"),
        (["--run", tmp_path / "none", folder], "does not exist"),
        (["--run", run_dir, folder, "--sheet", "a.jpg"], "ends in .png"),
        (["--run", run_dir, folder, "--out", tmp_path], "cannot be written"),
    ):
        status, out, err = call(*arguments)
        assert (status, out) == (2, "")
        assert err.startswith("jaxtl: ") and err.count("\n") == 1 and words in err
    status, out, err = call("--run", run_dir, "gone.png")
    assert (status, out) == (2, "")
    assert err.splitlines()[0].startswith("gone.png: it cannot be read")
    assert err.splitlines()[1].startswith("jaxtl: Nothing could be predicted")


DAMAGES = {
    "config nested deep": lambda folder: (folder / "config.json").write_text("[" * 100_000),
    "summary nested deep": lambda folder: (folder / "summary.json").write_text('{"test":' + "[" * 100_000),
    "summary without a test": edit("summary.json", lambda tree: tree.pop("test")),
    "summary with a class less": edit("summary.json", lambda tree: tree["test"]["per_class"].pop()),
    "another network": edit("config.json", lambda tree: tree["config"]["model"].update(name="cnn")),
    "an unknown network": edit("config.json", lambda tree: tree["config"]["model"].update(name="nothing")),
    "an absurd size": edit("config.json", lambda tree: tree["config"]["data"].update(size=10**9)),
    "a size of text": edit("config.json", lambda tree: tree["config"]["data"].update(size="8")),
    "a temperature of 0": edit("summary.json", lambda tree: tree["calibration"].update(temperature=0)),
    "a temperature of text": edit("summary.json", lambda tree: tree["calibration"].update(temperature="hot")),
    "a mean of text": edit("config.json", lambda tree: tree["config"]["data"].update(mean="grey")),
    "an image without channels": edit("config.json", lambda tree: tree["data"].update(image_shape=[8, 8])),
    "images of another size": edit("config.json", lambda tree: tree["data"].update(image_shape=[9, 9, 1])),
    "classes of another order": edit("summary.json", lambda tree: tree["test"]["per_class"].reverse()),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_forged_or_damaged_run_is_told_in_one_sentence(call, run_dir, folder, tmp_path, damage):
    shutil.copytree(run_dir, tmp_path / "run")
    DAMAGES[damage](tmp_path / "run")
    status, out, err = call("--run", tmp_path / "run", folder)
    assert (status, out) == (2, "")
    assert err.startswith("jaxtl: ") and err.count("\n") == 1 and "Traceback" not in err


def test_weights_of_another_run_are_refused(call, run_dir, other_dir, folder, tmp_path):
    """Their network and their classes are the same: nothing but their digest tells them apart."""
    shutil.copytree(run_dir, tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "checkpoints")
    shutil.copytree(other_dir / "checkpoints", tmp_path / "run" / "checkpoints")
    status, out, err = call("--run", tmp_path / "run", folder)
    assert (status, out) == (2, "") and "are not those that the run tested" in err
    with pytest.raises(jaxtl.UserError, match="are not those that the run tested"):
        jaxtl.create_model("logistic_regression", key=jax.random.key(0), weights=tmp_path / "run")


def test_python_takes_images_in_many_forms(run, images, folder, monkeypatch):
    expected = run.predict(images[:2]).classes
    monkeypatch.setenv("HOME", str(folder))
    pictures = [Image.fromarray(image[..., 0]) for image in images[:2]]
    for given in (jax.numpy.asarray(images[:2]), ["~/0.png", folder / "1.png"], pictures, iter(pictures)):
        np.testing.assert_array_equal(run.predict(given).classes, expected)
    for single in (jax.numpy.asarray(images[0]), pictures[0], "~/0.png"):
        np.testing.assert_array_equal(run.predict(single).classes, expected[:1])
    for neither in ([3.5], [[1, 2]], {7: 1}):
        (fault,) = run.predict(neither).faults
        assert fault.startswith("its type is ")


def test_ctrl_c(call, run_dir, folder, monkeypatch):
    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(LoadedRun, "predict", interrupted)
    assert call("--run", run_dir, folder) == (130, "", "Stopped.\n")


def test_a_reader_that_leaves_early(run_dir, folder):
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "jaxtl.predict", "--run", str(run_dir), str(folder), "--format", "csv"]
    with os.fdopen(writing, "w") as pipe:
        done = subprocess.run(command, stdout=pipe, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (141, "")

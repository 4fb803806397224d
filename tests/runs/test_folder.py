import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest

from jaxtl.config import kept_config
from jaxtl.data.dataset import Dataset
from jaxtl.errors import UserError
from jaxtl.runs.folder import RunFolder, disk_errors_explained

BLANK = np.zeros((2, 1, 1, 1), np.uint8)
CONFIG = {"seed": 0, "data": {"name": "digits", "mean": (0.5,)}, "phases": ({"epochs": 2},)}


def begun(path, config=CONFIG):
    with RunFolder(path, config) as folder:
        folder.write_config({"jax": "1.0"}, {"image_shape": (8, 8, 1)})
    return path


def content(path):
    """Every file below a folder with its bytes."""
    return {file: file.read_bytes() for file in path.rglob("*") if file.is_file()}


def test_config_json_holds_config_and_environment(tmp_path):
    begun(tmp_path / "a" / "b")
    written = json.loads((tmp_path / "a" / "b" / "config.json").read_text())
    assert written["config"] == json.loads(json.dumps(CONFIG))
    assert written["environment"] == {"jax": "1.0"}
    assert written["data"] == {"image_shape": [8, 8, 1]}


def test_the_same_config_enters_again(tmp_path):
    begun(tmp_path)
    with RunFolder(tmp_path, CONFIG) as folder:  # tuples came back as lists, and are no difference
        assert folder.summary() is None


def test_another_config_is_refused_its_fields_named_and_nothing_changed(tmp_path):
    begun(tmp_path)
    before = content(tmp_path)
    other = {**CONFIG, "seed": 1, "phases": ({"epochs": 3},)}
    with pytest.raises(UserError, match=r"phases\.0\.epochs: 2 -> 3; seed: 0 -> 1: choose another with --workdir"):
        RunFolder(tmp_path, other)
    assert content(tmp_path) == before
    with RunFolder(tmp_path, CONFIG):
        pass  # the refused one let go of the folder


def test_a_folder_of_an_older_version_is_entered_where_newer_fields_have_their_defaults(tmp_path):
    scratch = {**CONFIG, "seed": 1}
    begun(tmp_path, {**CONFIG, "baselines.scratch": scratch})
    now = {**kept_config(CONFIG), "baselines.scratch": kept_config(scratch)}
    with RunFolder(tmp_path, now):
        pass
    now["baselines.scratch"]["data"]["folds"] = 5
    with pytest.raises(UserError, match=r"differs in baselines\.scratch\.data\.folds: 0 -> 5: choose"):
        RunFolder(tmp_path, now)


def test_a_work_folder_whose_name_is_not_in_utf8_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"w\\xe9 has a name that is not in UTF-8; choose another\.$"):
        RunFolder(tmp_path / os.fsdecode(b"w\xe9"), CONFIG)
    assert list(tmp_path.iterdir()) == []


def test_an_error_of_the_system_is_told_of_the_file_that_it_is_about(tmp_path):
    for file, told in (
        (tmp_path / "w" / "x", f"The work folder {tmp_path / 'w'} cannot"),
        ("/data/a", "/data/a cannot"),
    ):
        with pytest.raises(UserError, match=f"^{told} .*Permission denied"), disk_errors_explained(tmp_path / "w"):
            raise PermissionError(13, "Permission denied", str(file))


def test_a_folder_belongs_to_nobody_before_a_run_begins_there(tmp_path):
    with RunFolder(tmp_path, CONFIG):
        pass
    with RunFolder(tmp_path, {**CONFIG, "seed": 1}):
        pass


@pytest.mark.parametrize("garbage", ["{", "[]", "3", "{}", '{"config": 3}', ""])
def test_a_config_json_of_something_else(tmp_path, garbage):
    (tmp_path / "config.json").write_text(garbage)
    with pytest.raises(UserError, match=r"config\.json cannot be used \(.+\): .*; restore it, run the experiment"):
        RunFolder(tmp_path, CONFIG)
    assert (tmp_path / "config.json").read_text() == garbage


def test_files_of_something_else_are_not_overwritten(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with RunFolder(tmp_path, CONFIG):
        pass
    (tmp_path / "summary.json").write_text("{}")
    with pytest.raises(UserError, match=r"has no config\.json, but holds summary\.json"):
        RunFolder(tmp_path, CONFIG)


@pytest.mark.parametrize("garbage", ["", "{", "[]"])
def test_a_damaged_summary_is_named(tmp_path, garbage):
    begun(tmp_path)
    (tmp_path / "summary.json").write_text(garbage)
    with RunFolder(tmp_path, CONFIG) as folder, pytest.raises(UserError, match=r"summary\.json"):
        folder.summary()


@pytest.mark.parametrize("place", ["file", "file/below", "/proc/jaxtl"])
def test_a_folder_that_cannot_be_made(tmp_path, place):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"cannot be created \(.+\); choose another with --workdir\."):
        RunFolder(tmp_path / place, CONFIG)


def test_a_second_process_is_refused_until_the_first_is_dead(tmp_path):
    begun(tmp_path)
    hold = "import filelock, sys, time; lock = filelock.FileLock(sys.argv[1]); lock.acquire(); print(flush=True)"
    hold += "; time.sleep(60)"
    process = subprocess.Popen([sys.executable, "-c", hold, tmp_path / ".lock"], stdout=subprocess.PIPE)
    process.stdout.readline()
    before = content(tmp_path)
    with pytest.raises(UserError, match="Another process is running in the work folder"):
        RunFolder(tmp_path, CONFIG)
    assert content(tmp_path) == before
    process.send_signal(signal.SIGKILL)
    process.communicate()
    with RunFolder(tmp_path, CONFIG):
        pass


def test_one_process_cannot_enter_twice(tmp_path):
    with RunFolder(tmp_path, CONFIG), pytest.raises(UserError, match="Another process"):
        RunFolder(tmp_path, CONFIG)


def test_lines_are_appended_and_written_again(tmp_path):
    with RunFolder(tmp_path, CONFIG) as folder:
        folder.append_line({"epoch": 1})
        folder.append_line({"epoch": 2})
        assert folder.history() == [{"epoch": 1}, {"epoch": 2}]
        folder.write_history([{"epoch": 1}])
        assert folder.history() == [{"epoch": 1}]


def test_predictions_come_back_as_names(tmp_path):
    with RunFolder(tmp_path, CONFIG) as folder:
        images = Dataset(BLANK, np.array([0, 1], np.int32), ("cat", "dog"), np.array([3, 8]))
        folder.write_predictions(images, np.array([1, 1]), np.array([0.5, 0.25]))
        folder.write_predictions(images, np.array([0, 1]), np.array([0.5, 0.25]), name=folder.VALIDATION)
        assert (tmp_path / "predictions.csv").read_text().splitlines() == [
            "index,true,predicted,probability",
            "3,cat,dog,0.500000",
            "8,dog,dog,0.250000",
        ]
        assert folder.predictions()[1]["predicted"] == "dog"
        assert [line["predicted"] for line in folder.predictions(folder.VALIDATION)] == ["cat", "dog"]


def test_the_split_is_saved(tmp_path):
    with RunFolder(tmp_path, CONFIG) as folder:
        folder.write_split(np.array([0, 2]), np.array([1]), np.array([0]))
    with np.load(tmp_path / "split.npz") as split:
        assert split["train"].tolist() == [0, 2]
        assert split["validation"].tolist() == [1]
    assert [path.name for path in tmp_path.iterdir()] == ["split.npz"]  # no draft left


def test_a_file_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    with RunFolder(tmp_path, CONFIG) as folder:
        folder.write_summary({"n": 1})
        with pytest.raises(TypeError):
            folder.write_summary({"n": object()})
        before = content(tmp_path)

        def full(descriptor):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("os.fsync", full)
        with pytest.raises(OSError, match="No space left"):
            folder.write_summary({"n": 2})
        assert content(tmp_path) == before


def test_a_run_does_not_go_on_with_other_images(tmp_path):
    with RunFolder(tmp_path, CONFIG) as folder:
        folder.write_config({}, {})
        folder.write_split(np.array(["cat/1.jpg", "cat/2.jpg"]), np.array(["cat/3.jpg"]), np.array(["cat/4.jpg"]))
        folder.write_split(np.array(["cat/1.jpg", "cat/2.jpg"]), np.array(["cat/3.jpg"]), np.array(["cat/4.jpg"]))
        with pytest.raises(UserError, match=r"begun with other images.*restore them, or start over"):
            folder.write_split(np.array(["cat/1.jpg"]), np.array(["cat/3.jpg"]), np.array(["cat/4.jpg"]))
        with np.load(tmp_path / "split.npz") as split:
            assert split["train"].tolist() == ["cat/1.jpg", "cat/2.jpg"]


def test_remarks_are_a_table_and_none_leave_no_file(tmp_path):
    with RunFolder(tmp_path, CONFIG) as folder:
        folder.write_remarks([("Ä,花.jpg", "it is empty", "skipped")])
        rows = folder.remarks.read_text(encoding="utf-8").splitlines()
        assert rows == ["place,problem,consequence", '"Ä,花.jpg",it is empty,skipped']
        folder.write_remarks([])
        assert not folder.remarks.exists()


def test_predictions_name_files_by_their_paths(tmp_path):
    with RunFolder(tmp_path, CONFIG) as folder:
        images = Dataset(BLANK[:1], np.array([1], np.int32), ("a", "b"), np.array(["a/花.jpg"]))
        folder.write_predictions(images, np.array([0]), np.array([0.75]))
        assert folder.predictions() == [{"path": "a/花.jpg", "true": "b", "predicted": "a", "probability": "0.750000"}]


@pytest.mark.parametrize(
    "garbage", [b"", b"PK", b"PK\x03\x04 and more", b"\x93NUMPY", "half", "list", "objects", "other"]
)
def test_a_damaged_split_is_told_in_a_sentence(tmp_path, garbage):
    with RunFolder(tmp_path, CONFIG) as folder:
        parts = np.arange(100), np.arange(3), np.arange(4)
        folder.write_split(*parts)
        path = tmp_path / "split.npz"
        if garbage == "half":
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        elif garbage == "list":
            np.savez(path, train=np.zeros((2, 2)), validation=np.zeros(3))
        elif garbage == "objects":
            np.savez(path, train=np.array([{}, None], object), validation=np.zeros(3))
        elif garbage == "other":
            np.savez(path, images=np.zeros(3))
        else:
            path.write_bytes(garbage)
        with pytest.raises(UserError, match=r"split\.npz cannot be used"):
            folder.write_split(*parts)

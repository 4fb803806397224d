"""``python -m jaxtl.compare`` in this process: what it prints and writes, and its sentences for mistakes."""

import json

import pytest

from jaxtl import compare

pytestmark = pytest.mark.usefixtures("coarse_pictures")


@pytest.fixture
def call(capsys, monkeypatch, tmp_path):
    """``call(*arguments)`` in a folder of its own gives (status, printed, complained)."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments):
        capsys.readouterr()
        status = compare.main([str(argument) for argument in arguments])
        return status, *capsys.readouterr()

    return run


def test_a_comparison(call, tmp_path, write_run):
    for i, (name, accuracy) in enumerate({"probe": 0.9, "scratch": 0.6, "fine-tuned": 0.93}.items()):
        write_run(tmp_path / "runs" / name, name=name, accuracy=accuracy, reported=f"~{name}~", seed=i)
    (tmp_path / "runs" / "comparison").mkdir()
    (tmp_path / "runs" / "empty").mkdir()
    status, printed, complained = call(*sorted((tmp_path / "runs").iterdir()))
    assert (status, complained) == (0, "")
    assert printed.count("Skipped") == 1 and "empty: it is not a run folder" in printed
    order = [line.split()[0] for line in printed.splitlines() if "~" in line]
    assert order == ["fine-tuned", "probe", "scratch"]
    assert (
        "93.00 %" in printed and "Difference to “fine-tuned”" in printed and "Holm's method for all 3 pairs" in printed
    )
    assert "runs/comparison/comparison.html" in printed
    tree = json.loads((tmp_path / "runs" / "comparison" / "comparison.json").read_text())
    assert [run["accuracy"] for run in tree["runs"]] == [0.93, 0.9, 0.6]
    assert tree["pairs"][0]["difference"] == pytest.approx(0.03)
    again = call(*sorted((tmp_path / "runs").iterdir()))
    assert again[1] == printed, "its own folder is passed over, and nothing depends on the first time"


def test_baselines_and_another_folder_for_the_result(call, tmp_path, write_run):
    write_run(tmp_path / "a", name="a", accuracy=0.9)
    write_run(tmp_path / "a" / "baselines" / "b", name="a: b", accuracy=0.8)
    status, printed, _ = call("a", "--with-baselines", "--out", "result")
    assert status == 0 and "a: b" in printed
    assert (tmp_path / "result" / "comparison.html").exists()
    assert not (tmp_path / "runs").exists()


def sentence(complained):
    """The one line of a complaint."""
    assert complained.startswith("jaxtl: ") and complained.endswith(".\n") and complained.count("\n") == 1
    return complained


def test_mistakes_are_one_sentence_and_leave_nothing_behind(call, tmp_path, write_run):
    write_run(tmp_path / "good", name="good", accuracy=0.9)
    write_run(tmp_path / "bad", name="bad", accuracy=0.9)
    (tmp_path / "bad" / "summary.json").write_text("{")
    (tmp_path / "empty").mkdir()
    for arguments, expected in (
        ((), "No run was named"),
        (("nowhere",), "nowhere does not exist"),
        (("good", "runs/*"), "runs/* does not exist"),
        (("empty",), "No finished run is among the folders named"),
        (("good", "bad"), "bad/summary.json cannot be used"),
    ):
        status, _, complained = call(*arguments)
        assert status == 2 and expected in sentence(complained)
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("out", ["file", "file/below", "/proc/jaxtl"])
def test_a_folder_that_cannot_be_written(call, tmp_path, write_run, out):
    write_run(tmp_path / "good", name="good", accuracy=0.9)
    (tmp_path / "file").touch()
    status, _, complained = call("good", "--out", out)
    assert status == 2
    assert f"cannot be written to {out} (" in sentence(complained) and "--out" in complained

"""``python -m jaxtl.study``: the rows of a study, run or not, in the study's own table."""

import json
import re
import shutil
from pathlib import Path

import pytest

from jaxtl import study
from jaxtl.config import check, variants
from jaxtl.config.flags import load_config

pytestmark = pytest.mark.usefixtures("compiled_once", "coarse_pictures")
EVERY_ROW = [row for _, rows in study.studies().values() for row in rows]


@pytest.fixture
def call(capsys, monkeypatch, tmp_path, tiny_config):
    """``call(*arguments)`` of a study of two rows, one of which lacks its weights: (status, printed)."""
    lacking = tmp_path / "lacking.py"
    text = tiny_config.read_text().replace("config.name = ", "config.reported, config.name = '81 %', ")
    lacking.write_text(text.replace("return", "config.model.weights = '/nowhere.pth'\n    return"))
    mine = tmp_path / "mine.py"
    mine.write_text(text)
    rows = [study.Row("A CNN", "replica", str(mine), 0), study.Row("A network", "best", str(lacking), 0)]
    monkeypatch.setattr(study, "studies", lambda: {"z": ("Study Z: digits", rows)})
    monkeypatch.setattr("jaxtl.report.figures.draw", lambda **kwargs: {})
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments):
        capsys.readouterr()
        return study.main([str(argument) for argument in arguments]), capsys.readouterr().out

    return run


def complete(folder, **changes):
    """Give a run that nobody trained the whole config of the row, but for some fields."""
    content = json.loads((folder / "config.json").read_text())
    content["config"] = {**variants(load_config("mine.py"))[""], **changes}
    (folder / "config.json").write_text(json.dumps(content))


def test_there_are_all_rows_of_the_five_studies():
    found = {name: len({row.name for row in rows}) for name, (_, rows) in study.studies().items()}
    assert found == {"a": 5, "b": 4, "c": 2, "d": 3, "e": 4}
    assert [row.command for row in EVERY_ROW if row.trials] == ["jaxtl search stl10_search --trials 30"]
    assert len({row.place for row in EVERY_ROW}) == len(EVERY_ROW)


@pytest.mark.parametrize("row", EVERY_ROW, ids=lambda row: row.place)
def test_a_row_is_sound_in_full_and_as_a_try_out(row):
    config = load_config(row.place)
    assert config["reported"] and check(config) == []
    assert study.scaled(config, 1) == config
    small = study.scaled(config, 0.01)
    assert check(small) == []
    assert small["data"]["subset"] <= 500 and small["data"]["test_subset"] == 200 - 20 * (
        len(small["data"]["classes"]) == 9
    )
    assert {phase["epochs"] for phase in small["phases"]} <= {1}
    assert all(phase["epochs"] == 1 for each in small["baselines"].values() for phase in each.get("phases", ()))


def test_rows_are_run_and_what_lacks_its_weights_says_so(call, tmp_path):
    status, printed = call("z", "--scale", "0.5")
    assert status == 0
    folder = tmp_path / "runs" / "scale_0.5"
    summary = json.loads((folder / "mine" / "summary.json").read_text())
    assert (summary["epochs_run"], summary["test"]["n"]) == (1, 100)
    (mine,) = (line for line in printed.splitlines() if line.strip().startswith("A CNN"))
    assert (
        f"{100 * summary['test']['accuracy']:.2f} %" in mine
        and "with other" not in mine
        and "81 %" in mine
        and "random" in mine
    )
    assert "Study Z: digits: a try-out on 50 %" in printed
    (absent,) = (line for line in printed.splitlines() if line.startswith("Not measured: "))
    assert "jaxtl train " in absent and "is neither a file" in absent
    page = (folder / "study_z" / "comparison.html").read_text()
    assert "The study" in page and "not measured" in page and "is neither a file" in page
    again = call("z", "--no-train", "--scale", "0.5")[1]
    assert mine in again and "Epoch" not in again
    (folder / "lacking" / "seed0").mkdir(parents=True)
    (folder / "lacking" / "seed0" / "config.json").touch()  # interrupted
    refused = call("z", "--scale", "0.5", "--seeds=0,1")[1]
    (told,) = (line for line in refused.splitlines() if line.startswith("Not all of it was run now: "))
    assert mine in refused and "holds a single run" in told


def test_the_try_out_of_a_search_is_short(monkeypatch, tmp_path):
    called = []
    monkeypatch.setattr(pytest.importorskip("jaxtl.search.command"), "search", called.extend)
    (row,) = (row for row in EVERY_ROW if row.trials)
    arguments, _ = study.parse(["d", "--scale", "0.1"])
    assert study.train(row, tmp_path, arguments, []) == ""
    assert {"--final=phases.0.epochs=1", "--config.phases.0.epochs=1", "--config.data.subset=450"} <= {*called}
    assert called[called.index("--trials") + 1] == "3"


def test_the_page_keeps_what_was_measured_before(call, tmp_path, write_run):
    write_run(tmp_path / "runs" / "mine", name="mine", accuracy=0.8)
    before = {"accuracy": 0.5, "low": 0.4, "high": 0.6, "runs": 5, "train_s": 60, "inference_s": 1}
    before |= {"start": "Tiny ImageNet", "measured_on": "a GPU"}
    lacking = study.studies()["z"][1][1].place
    (tmp_path / "results.json").write_text(json.dumps({lacking: before}))
    complete(tmp_path / "runs" / "mine")
    status, _ = call("all", "--no-train", "--page", "results.md")
    assert status == 0
    text = (tmp_path / "results.md").read_text()
    (mine,) = re.findall(r"^\| A CNN \|.*$", text, re.M)
    assert "| 80.00 % | " in mine and "| cpu |" in mine
    (other,) = re.findall(r"^\| A network \|.*$", text, re.M)
    assert "50.00 % (mean of 5 runs) | 40.00 to 60.00 | Tiny ImageNet; the study: /nowhere.pth | 1 min 0 s" in other
    assert set(json.loads((tmp_path / "results.json").read_text())) == {lacking, str(tmp_path / "mine.py")}


def test_the_page_of_the_manual_is_what_the_command_writes(tmp_path):
    docs = Path(__file__).parents[1] / "docs"
    shutil.copy(docs / "results.json", tmp_path)
    study.write_results(tmp_path / "results.md", study.studies(), {})
    assert (tmp_path / "results.md").read_text() == (docs / "results.md").read_text()
    found, measured = json.loads((docs / "results.json").read_text()), (docs / "studies.md").read_text()
    for place, figures in found.items():
        interval = f"{100 * figures['low']:.2f} to {100 * figures['high']:.2f}"
        assert re.search(rf"{100 * figures['accuracy']:.2f}( %\*\*)? \({interval}\)", measured), place


def test_several_seeds_are_a_mean_with_students_interval(call, tmp_path, write_run):
    for seed, accuracy in enumerate((0.8, 0.7)):
        folder = tmp_path / "runs" / "mine" / f"seed{seed}"
        write_run(folder, name="mine", accuracy=accuracy)
        complete(folder, seed=seed)
    printed = call("z", "--no-train")[1]
    assert "75.00 % (mean of 2 runs)  11.47 to 100.00" in " ".join(printed.split("\n")), printed
    assert "seed 0, 1" in (tmp_path / "runs" / "study_z" / "comparison.html").read_text()


def test_a_run_by_another_recipe_says_what_it_changed(call, tmp_path, write_run):
    write_run(tmp_path / "runs" / "mine", name="mine", accuracy=0.8)
    complete(tmp_path / "runs" / "mine", batch_size=7, seed=5)
    assert "80.00 %, with other batch_size" in call("z", "--no-train", "--page", "page.md")[1]
    assert "| jaxtl train " + str(tmp_path / "mine.py") + " --config.batch_size=7 |" in Path("page.md").read_text()


@pytest.mark.parametrize(
    "flags",
    [("f",), ("a", "--scale", "0"), ("a", "--scale", "2"), ("a", "--scale", "x"), ("a", "--scale=0.1", "--page=x")],
)
def test_mistakes_are_one_sentence(call, capsys, flags):
    assert study.main(list(flags)) == 2
    complained = capsys.readouterr().err
    assert complained.startswith("jaxtl: ") and complained.count("\n") == 1

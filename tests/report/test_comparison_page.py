import csv
import json
import re

import numpy as np
import pytest

from jaxtl.report.comparison import compare_runs
from jaxtl.report.comparison_page import write

pytestmark = pytest.mark.usefixtures("coarse_pictures")

N = 400
BEST, NEAR, FAR = (np.arange(N) >= 40), (np.arange(N) >= 44), (np.arange(N) >= 120)


@pytest.fixture(scope="module")
def written(finished, coarse_pictures, tmp_path_factory):
    """(comparison, folder) of four runs, one of them on other images of other classes."""
    folder = tmp_path_factory.mktemp("comparison") / "new"
    other = {"class_names": ("ant", "bee"), "test_images": tuple((str(i), "ant") for i in range(N))}
    runs = [finished("<far>", FAR), finished("best", BEST, reported="~91 %"), finished("near", NEAR)]
    comparison = compare_runs([*runs, finished("elsewhere", NEAR, **other)])
    write(comparison, folder)
    return comparison, folder


def text_of(page):
    visible = re.sub(r"<style>.*?</style>|<[^>]+>", " ", page, flags=re.S)
    return " ".join(visible.replace("&#39;", "'").replace("&lt;", "<").replace("&gt;", ">").split())


def test_the_folder_holds_page_table_figures_and_charts_and_nothing_else(written):
    charts = {"accuracies", "time_accuracy", "curves", "confusion_matrices", "confusion_matrices_2"}
    names = {"comparison.html", "comparison.csv", "comparison.json"} | {f"{chart}.png" for chart in charts}
    assert {path.name for path in written[1].iterdir()} == names
    for chart in charts:
        assert (written[1] / f"{chart}.png").read_bytes().startswith(b"\x89PNG")


def test_the_csv_has_the_figures_of_every_run(written):
    comparison, folder = written
    with (folder / "comparison.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert [line["name"] for line in lines] == ["best", "near", "elsewhere", "<far>"]
    for line, run in zip(lines, comparison.runs, strict=True):
        assert float(line["accuracy"]) == run.accuracy
        assert (float(line["accuracy_low"]), float(line["accuracy_high"])) == run.interval
        assert float(line["f1"]) == run.f1
        assert (line["test_images"], line["params_trained"]) == ("400", "2050")
    assert [line["reported"] for line in lines] == ["~91 %", "", "", ""]


def test_the_json_has_the_tests_too(written):
    comparison, folder = written
    tree = json.loads((folder / "comparison.json").read_text())
    assert [run["name"] for run in tree["runs"]] == ["best", "near", "elsewhere", "<far>"]
    assert tree["test_sets"] == [["best", "near", "<far>"], ["elsewhere"]]
    assert [(pair["run"], pair["other"]) for pair in tree["pairs"]] == [
        ("best", "near"),
        ("best", "<far>"),
        ("near", "<far>"),
    ]
    first = tree["pairs"][0]
    assert first["difference"] == pytest.approx(0.01)
    assert first["p_value"] == first["p_holm"] == pytest.approx(0.125)
    assert first["interval"] == list(comparison.differences[0].interval)
    assert tree["notes"] == comparison.notes


def test_the_page_shows_all_of_it_and_needs_nothing_from_outside(written):
    page = (written[1] / "comparison.html").read_text()
    text = text_of(page)
    for words in (
        "Comparison of 4 runs",
        "best 90.00 % 86.67 to 92.57",
        "~91 %",
        "“best” is 1.0 percentage points more accurate than “near”",
        "p = 0.12, corrected for 3 tests by Holm's method). Chance alone could explain",
        "Difference to “best”, on the same 400 test images",
        "All pairs 3",
        "<far>",
        "2 different sets of images",
        "The runs do not all have the same classes",
        "2 classes: ant, bee",
        "runs/near",
    ):
        assert words in text, words
    assert page.count("<svg ") == 5
    assert not re.search(r"""(?:src|href)=["'](?!data:|#)""", page)
    assert "<script" not in page and not re.search(r"url\((?!#)", page)
    links, targets = set(re.findall(r'<a href="#(\w+)"', page)), set(re.findall(r'id="(\w+)"', page))
    assert links <= targets and len(links) == 6
    assert "Most accurate" not in text, "there is no contest over two test sets"


def test_runs_that_stand_out_are_named(finished, tmp_path):
    fast = finished("fast", FAR, train_s=2.0, params_trained=7)
    write(compare_runs([fast, finished("good", BEST)]), tmp_path)
    text = text_of((tmp_path / "comparison.html").read_text())
    assert "Most accurate 90.00 % good Fastest to train 2 s fast Fewest parameters trained 7 fast" in text
    assert "All pairs" not in text, "one pair needs no list"


def test_a_run_alone_has_a_page_too(finished, tmp_path):
    history = [{"epoch": 1}]
    write(compare_runs([finished("alone", BEST, train_s=0.0, history=history)]), tmp_path)
    page = (tmp_path / "comparison.html").read_text()
    assert "<h1>alone</h1>" in page
    assert "Paired tests" not in page and "Learning curves" not in page and "Time and accuracy" not in page
    assert {path.name for path in tmp_path.glob("*.png")} == {"accuracies.png", "confusion_matrices.png"}


def test_charts_of_an_earlier_comparison_do_not_stay(written, finished, tmp_path):
    write(written[0], tmp_path)
    (tmp_path / "mine.png").touch()
    write(compare_runs([finished("alone", BEST, train_s=0.0)]), tmp_path)
    assert {path.name for path in tmp_path.glob("*.png")} == {
        "accuracies.png",
        "curves.png",
        "confusion_matrices.png",
        "mine.png",
    }


def test_the_same_runs_give_the_same_bytes(written, tmp_path):
    write(written[0], tmp_path)
    for path in written[1].iterdir():
        assert (tmp_path / path.name).read_bytes() == path.read_bytes(), path.name

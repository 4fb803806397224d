import io

import numpy as np
import pytest
from rich.console import Console

from jaxtl.report.comparison.overview import compare_runs
from jaxtl.report.comparison.screen import show
from jaxtl.report.comparison.tables import all_pairs, behind_the_best, correction, runs_table

N = 400
BEST, NEAR, FAR = (np.arange(N) >= 40), (np.arange(N) >= 44), (np.arange(N) >= 120)


@pytest.fixture(scope="module")
def three(finished):
    return compare_runs(
        [finished("far", FAR), finished("best", BEST, reported="~91 %", train_s=3725), finished("near", NEAR)]
    )


def test_every_figure_of_every_run_is_in_the_table(three):
    table = runs_table(three)
    first = dict(zip(table.headings, table.rows[0], strict=True))
    assert [row[0] for row in table.rows] == ["best", "near", "far"]
    assert first == {
        "Run": "best",
        "Accuracy": "90.00 %",
        "95 % interval": "86.67 to 92.57",
        "Precision": "90.00 %",
        "Recall": "90.00 %",
        "F1": "90.00 %",
        "Time to train": "1 h 02 min",
        "Time to test": "0.5 s",
        "Test images": "400",
        "Parameters": "26.5 M",
        "Trained": "2.05 k",
        "Reported": "~91 %",
    }
    assert table.rows[1][-1] == ""


def test_without_any_reported_figure_there_is_no_column_for_it(finished):
    assert runs_table(compare_runs([finished("a", BEST)])).headings[-1] == "Trained"


def test_the_others_are_behind_the_best(three):
    (table,) = behind_the_best(three)
    assert table.title == "Behind “best”, on the same 400 test images"
    near, far = table.rows
    assert near[:2] == ["near", "1.00"]
    assert near[3:] == ["0.12", "0.12"], "4 discordant images, all for the best: p = 2 / 2**4; the largest of three"
    assert far[0] == "far" and far[1] == "20.00" and far[3:] == ["< 0.001", "< 0.001"]
    assert [row[:2] for row in all_pairs(three).rows] == [["best", "near"], ["best", "far"], ["near", "far"]]
    assert correction(three) == (
        "p is that of McNemar's exact test; corrected by Holm's method for all 3 pairs that were tested on the same "
        "images."
    )


def test_every_test_set_has_its_own_best(finished):
    other = tuple((str(i), "x") for i in range(N))
    runs = [finished("a", BEST), finished("b", FAR), finished("c", BEST, test_images=other)]
    assert [table.title.split(",")[0] for table in behind_the_best(compare_runs(runs))] == ["Behind “a”"]
    runs.append(finished("d", NEAR, test_images=other))
    assert [table.rows[0][0] for table in behind_the_best(compare_runs(runs))] == ["b", "d"]


def test_a_run_alone_is_not_tested(finished):
    alone = compare_runs([finished("a", BEST)])
    assert behind_the_best(alone) == [] and correction(alone) == ""
    assert "single test" in correction(compare_runs([finished("a", BEST), finished("b", FAR)]))


@pytest.mark.parametrize("width", [40, 80, 200])
def test_the_screen_shows_every_figure_whole_however_narrow_it_is(three, finished, width):
    screen = io.StringIO()
    runs = [*three.runs, finished("a run [bold]whose[/bold] name is far too long for any column of it", FAR)]
    show(compare_runs(runs), Console(file=screen, width=width, color_system=None))
    text = screen.getvalue()
    for row in runs_table(three).rows:
        line = next(line for line in text.splitlines() if line.split()[:1] == [row[0]])
        assert all(cell in line for cell in row)
    assert "…" not in text
    assert "[bold]whose" in text, "a name is no markup"
    assert "Holm's method for all 6 pairs" in text

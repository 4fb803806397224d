"""Runs beside each other: what is tested, what the tables say, what is noted."""

import dataclasses
import io

import numpy as np
import pytest
from rich.console import Console

from jaxtl.report import statistics
from jaxtl.report.comparison import ONE_DRAW, by_labels, compare_runs, compare_with_baselines, groups
from jaxtl.report.comparison_tables import (
    all_pairs,
    correction,
    difference_tables,
    repeated_table,
    runs_table,
    settings_table,
    show,
    verdicts,
)

N = 400
BEST, NEAR, FAR = (np.arange(N) >= 40), (np.arange(N) >= 44), (np.arange(N) >= 120)


def vectors(*accuracies, n=100):
    return [np.random.default_rng(i).permutation(n) < accuracy * n for i, accuracy in enumerate(accuracies)]


def test_the_most_accurate_comes_first_and_every_pair_is_tested(finished):
    low, high, middle = vectors(0.5, 0.9, 0.7)
    found = compare_runs([finished("low", low), finished("high", high), finished("middle", middle)])
    assert [run.name for run in found.runs] == ["high", "middle", "low"]
    assert [run.interval for run in found.runs] == [statistics.wilson_interval(k, 100) for k in (90, 70, 50)]
    assert found.test_sets == [[0, 1, 2]]
    assert [(d.run, d.other) for d in found.differences] == [(0, 1), (0, 2), (1, 2)]
    assert [d.difference for d in found.differences] == pytest.approx([0.2, 0.4, 0.2])
    pairs = [(high, middle), (high, low), (middle, low)]
    assert [d.p_value for d in found.differences] == [statistics.mcnemar(a, b) for a, b in pairs]
    assert [d.p_holm for d in found.differences] == statistics.holm([statistics.mcnemar(a, b) for a, b in pairs])
    for d, (a, b) in zip(found.differences, pairs, strict=True):
        assert d.interval == statistics.paired_difference_interval(a, b)
        assert d.interval[0] < d.difference < d.interval[1]
    assert found.notes == [ONE_DRAW]


def test_equally_accurate_runs_keep_their_order(finished):
    (right,) = vectors(0.5)
    assert [run.name for run in compare_runs([finished(name, right) for name in "bca"]).runs] == ["b", "c", "a"]


def test_runs_on_other_images_are_not_paired_and_it_is_said(finished):
    a, b, c = vectors(0.9, 0.8, 0.7)
    other = finished("c", c, test_images=tuple((str(i), "cat") for i in range(100)))
    found = compare_runs([finished("a", a), finished("b", b), other])
    assert found.test_sets == [[0, 1], [2]]
    assert [(d.run, d.other) for d in found.differences] == [(0, 1)]
    assert (
        "The runs were tested on 2 different sets of images: “a”, “b” on 100; “c” on 100. Accuracies on different "
        "sets cannot be compared, and only runs on one set are tested in pairs." in found.notes
    )


def test_many_runs_on_one_set_are_counted_not_named(finished):
    runs = [finished(name, right) for name, right in zip("abcd", vectors(0.9, 0.8, 0.7, 0.6), strict=True)]
    odd = finished("odd", vectors(0.5, n=50)[0])
    assert any("4 runs on 100; “odd” on 50" in note for note in compare_runs([*runs, odd]).notes)


def test_other_devices_are_told_because_their_times_cannot_be_compared(finished):
    (right,) = vectors(0.9)
    notes = compare_runs([finished("a", right), finished("b", right, device="gpu")]).notes
    assert notes[1:] == ["The runs were not all made on the same device, so their times cannot be compared."]


def test_groups_keep_the_order_of_their_first_members():
    assert groups([("1", "cat"), ("2", "dog"), ("1", "cat"), ("3", "dog"), ("2", "dog")]) == [[0, 2], [1, 4], [3]]
    assert groups([]) == []


# --- a run and its baselines ---


def test_every_baseline_is_compared_with_the_run_which_stays_first(finished):
    right = np.array([True, True, True, False])
    run, worse, better = finished("this run", right), finished("worse", right & False), finished("better", right | True)
    found = compare_with_baselines(run, [worse, better])
    assert [run.name for run in found.runs] == ["this run", "worse", "better"]
    assert [(d.run, d.other, d.difference) for d in found.differences] == [(0, 1, 0.75), (0, 2, -0.25)]
    # Three discordant images, all of them the run's successes; of two tests the smaller p-value counts twice.
    assert found.differences[0].p_value == pytest.approx(0.25)
    assert found.differences[0].p_holm == pytest.approx(0.5)
    record = found.record()
    assert [run["name"] for run in record["runs"]] == ["this run", "worse", "better"]
    assert record["runs"][1]["description"] == "how worse was trained"
    assert (record["pairs"][0]["run"], record["pairs"][0]["other"]) == ("this run", "worse")


def test_a_baseline_tested_on_other_images_has_no_paired_difference(finished):
    other = finished("other", BEST, test_images=tuple((str(i), "cat") for i in range(N)))
    found = compare_with_baselines(finished("this run", BEST), [other, finished("same", FAR)])
    assert [(d.run, d.other) for d in found.differences] == [(0, 2)]
    assert found.differences[0].p_holm == found.differences[0].p_value, "one test needs no correction"
    assert any("2 different sets of images" in note for note in found.notes)


def labelled(finished, *runs):
    return [finished(name, np.arange(100) < 100 * accuracy, per_class=count) for name, count, accuracy in runs]


def test_strategies_over_numbers_of_labels(finished):
    found = by_labels(labelled(finished, ("probe 10", 10, 0.5), ("lp-ft 10", 10, 0.6), ("probe 100", 100, 0.75)))
    assert {name: [(labels, accuracy) for labels, accuracy, _ in points] for name, points in found.items()} == {
        "probe": [(10, 0.5), (100, 0.75)],
        "lp-ft": [(10, 0.6)],
    }
    assert found["probe"][0][2] == statistics.wilson_interval(50, 100)


def test_a_run_on_all_labels_stands_at_their_mean_over_the_classes(finished):
    every = finished("probe all", BEST, per_class=0, train_images=250 * len(finished("any", BEST).class_names))
    found = by_labels([*labelled(finished, ("probe 10", 10, 0.5)), every])
    assert [labels for labels, _, _ in found["probe"]] == [10, 250]
    small = finished("resnet small", BEST, per_class=0, train_images=250)
    assert [*by_labels([*labelled(finished, ("resnet small 10", 10, 0.5)), small])] == ["resnet small"]


@pytest.mark.parametrize("counts", [(5, 5), (0, 10)])  # the same in all runs; all of a number unknown
def test_without_a_choice_of_labels_there_are_no_strategies_over_them(finished, counts):
    assert by_labels(labelled(finished, *((f"run {i}", count, 0.5) for i, count in enumerate(counts)))) == {}


# --- sentences ---


def test_the_verdict_names_the_better_one_and_what_chance_explains(finished):
    (sentence,) = verdicts(compare_with_baselines(finished("a", BEST), [finished("b", FAR)]))
    assert "“a” is 20.0 percentage points more accurate than “b” (95 % interval 16" in sentence
    assert "exact McNemar test, p < 0.001)." in sentence and "Chance" not in sentence and "Holm" not in sentence
    (sentence,) = verdicts(compare_with_baselines(finished("a", NEAR), [finished("b", BEST)]))
    assert "“b” is 1.0 percentage points more accurate than “a”" in sentence
    assert sentence.endswith("p = 0.12). Chance alone could explain a difference of this size.")


def test_the_verdict_is_about_the_best_of_the_others(finished):
    (sentence,) = verdicts(compare_with_baselines(finished("a", BEST), [finished("far", FAR), finished("near", NEAR)]))
    assert "“a” is 1.0 percentage points more accurate than “near”" in sentence
    assert "p = 0.12, corrected for 2 tests by Holm's method). Chance alone could explain" in sentence


# --- tables ---


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


def test_the_others_stand_beside_the_best(three):
    (table,) = difference_tables(three)
    assert table.title == "Difference to “best”, on the same 400 test images"
    near, far = table.rows
    assert near[:2] == ["near", "-1.00"]
    assert near[3:] == ["0.12", "0.12"], "4 discordant images, all for the best: p = 2 / 2**4; the largest of three"
    assert far[0] == "far" and far[1] == "-20.00" and far[3:] == ["< 0.001", "< 0.001"]
    assert far[2].startswith("-2") and " to -1" in far[2]
    assert [row[:3] for row in all_pairs(three).rows] == [
        ["best", "near", "+1.00"],
        ["best", "far", "+20.00"],
        ["near", "far", "+19.00"],
    ]
    assert correction(three) == (
        "p is that of McNemar's exact test; corrected by Holm's method for all 3 pairs that were tested on the same "
        "images."
    )


def test_every_test_set_has_its_own_best(finished):
    other = tuple((str(i), "x") for i in range(N))
    runs = [finished("a", BEST), finished("b", FAR), finished("c", BEST, test_images=other)]
    assert [table.title.split(",")[0] for table in difference_tables(compare_runs(runs))] == ["Difference to “a”"]
    runs.append(finished("d", NEAR, test_images=other))
    assert [table.rows[0][0] for table in difference_tables(compare_runs(runs))] == ["b", "d"]
    assert len(verdicts(compare_runs(runs))) == 2


def test_a_run_alone_is_not_tested(finished):
    alone = compare_runs([finished("a", BEST)])
    assert difference_tables(alone) == [] and correction(alone) == "" and verdicts(alone) == []
    assert "single test" in correction(compare_runs([finished("a", BEST), finished("b", FAR)]))


def test_the_fields_in_which_configs_differ_are_listed(finished):
    settings = {"name": "a", "seed": 0, "phases.0.train": ("head",), "model.weights": "", "source.seed": 1}
    other = {
        **settings,
        "name": "b",
        "model.weights": "imagenet1k_v1",
        "phases.1.epochs": 3,
        "phases.1.crop": 0,
        "source.seed": 2,
    }
    table = settings_table(compare_runs([finished("a", BEST, settings=settings), finished("b", FAR, settings=other)]))
    assert table.headings == ["Field", "a", "b"]
    assert table.rows == [["model.weights", '""', "imagenet1k_v1"], ["phases.1.epochs", "—", "3"]]
    assert settings_table(compare_runs([finished(name, BEST, settings=settings) for name in "ab"])) is None


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


# --- runs that differ in their draw alone ---


def drawn(finished, name, accuracies, **settings):
    """Runs of one config, one a seed."""
    rights = vectors(*accuracies)
    return [
        finished(f"{name} {seed}", right, settings={"name": name, "seed": seed, **settings})
        for seed, right in enumerate(rights)
    ]


def test_runs_of_one_config_have_a_mean_and_are_not_tested_against_each_other(finished):
    better, worse = drawn(finished, "a", (0.8, 0.7, 0.9), rate=1), drawn(finished, "b", (0.7, 0.6, 0.7), rate=2)
    found = compare_runs([*worse, *better, finished("single", vectors(0.5)[0])])
    first, second = found.repeated
    assert (first.name, first.draws, first.accuracies) == ("a", "seed 0, 1, 2", (0.8, 0.7, 0.9))
    assert first.across == statistics.spread([0.8, 0.7, 0.9], bounds=(0, 1)) and first.difference is None
    assert second.difference == pytest.approx(statistics.spread([-0.1, -0.1, -0.2])), "by seed"
    names = [run.name for run in found.runs]
    assert all("single" in (names[d.run], names[d.other]) for d in found.differences) and len(found.differences) == 6
    assert "across draws" in found.notes[0] and ONE_DRAW in found.notes
    row = repeated_table(found).rows[1]
    assert row[:5] == ["b", "test images", "seed 0, 1, 2", "66.67 %", "5.77"] and row[6] == "-13.33"


def test_the_folders_of_one_config_may_be_named_in_different_ways(finished, tmp_path):
    runs = drawn(finished, "a", (0.8, 0.7), rate=1)
    runs = [runs[0], dataclasses.replace(runs[1], folder=str(tmp_path / "a"))]  # relative and absolute
    assert [each.name for each in compare_runs(runs).repeated] == ["a"]


def test_other_settings_or_the_same_draw_twice_are_no_repeats(finished):
    a, b = vectors(0.8, 0.7)
    for settings in ({"seed": 0}, {"seed": 1, "rate": 2}):
        runs = [finished("a", a, settings={"seed": 0, "rate": 1}), finished("b", b, settings={"rate": 1, **settings})]
        found = compare_runs(runs)
        assert found.repeated == [] and len(found.differences) == 1 and repeated_table(found) is None
    same = [finished(name, a, settings={"seed": 0}) for name in "ab"]
    assert compare_runs(same).repeated == []


def test_configs_tested_on_other_images_have_no_difference(finished):
    a = drawn(finished, "a", (0.8, 0.7), data=1)
    b = drawn(finished, "b", (0.7, 0.6), data=2)
    b = [dataclasses.replace(run, test_images=tuple((f"x{i}", "cat") for i in range(100))) for run in b]
    assert [each.difference for each in compare_runs([*a, *b]).repeated] == [None, None]


@pytest.mark.parametrize(
    ("text", "point"),
    [
        ("~75 %", (0.75, None)),
        ("81.87 %; 12 min 47 s of training, 1 min 4 s for the test images", (0.8187, 767.0)),
        ("94 %, 50 s of training", (0.94, 50.0)),
        ("no figure", (None, None)),
        ("", (None, None)),
    ],
)
def test_what_a_study_reports_can_be_drawn(finished, text, point):
    assert finished("a", BEST, reported=text).reported_point == pytest.approx(point)

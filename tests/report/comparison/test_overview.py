import numpy as np
import pytest

from jaxtl.report import statistics
from jaxtl.report.comparison.overview import ONE_DRAW, compare_runs


def vectors(*accuracies, n=100):
    return [np.random.default_rng(i).permutation(n) < accuracy * n for i, accuracy in enumerate(accuracies)]


def test_the_most_accurate_comes_first_and_every_pair_is_tested(finished):
    low, high, middle = vectors(0.5, 0.9, 0.7)
    found = compare_runs([finished("low", low), finished("high", high), finished("middle", middle)])
    assert [run.name for run in found.runs] == ["high", "middle", "low"]
    assert found.intervals == tuple(statistics.wilson_interval(k, 100) for k in (90, 70, 50))
    assert found.test_sets == [[0, 1, 2]]
    assert [(pair.better, pair.other) for pair in found.pairs] == [(0, 1), (0, 2), (1, 2)]
    assert [pair.found.difference for pair in found.pairs] == pytest.approx([0.2, 0.4, 0.2])
    p_values = [statistics.mcnemar(a, b) for a, b in ((high, middle), (high, low), (middle, low))]
    assert [pair.found.p_value for pair in found.pairs] == p_values
    assert [pair.found.p_holm for pair in found.pairs] == statistics.holm(p_values)
    assert found.notes == [ONE_DRAW]


def test_equally_accurate_runs_keep_their_order(finished):
    (right,) = vectors(0.5)
    assert [run.name for run in compare_runs([finished(name, right) for name in "bca"]).runs] == ["b", "c", "a"]


def test_runs_on_other_images_are_not_paired_and_it_is_said(finished):
    a, b, c = vectors(0.9, 0.8, 0.7)
    other = finished("c", c, test_images=tuple((str(i), "cat") for i in range(100)))
    found = compare_runs([finished("a", a), finished("b", b), other])
    assert found.test_sets == [[0, 1], [2]]
    assert [(pair.better, pair.other) for pair in found.pairs] == [(0, 1)]
    assert (
        "The runs were tested on 2 different sets of images: “a”, “b” on 100; “c” on 100. Accuracies on different "
        "sets are no contest, and only runs on one set are tested in pairs." in found.notes
    )


def test_many_runs_on_one_set_are_counted_not_named(finished):
    runs = [finished(name, right) for name, right in zip("abcd", vectors(0.9, 0.8, 0.7, 0.6), strict=True)]
    odd = finished("odd", vectors(0.5, n=50)[0])
    assert any("4 runs on 100; “odd” on 50" in note for note in compare_runs([*runs, odd]).notes)


def test_what_limits_the_comparison_is_said(finished):
    (right,) = vectors(0.9)
    blind = [{"epoch": 1, "train_accuracy": 0.5, "val_accuracy": None}]
    notes = compare_runs([finished("a", right), finished("b", right, device="gpu", history=blind, train_s=0.0)]).notes
    assert any("not all made on the same device" in note for note in notes)
    assert any("Not validated: “b”. " in note for note in notes)
    assert any("not in the chart of times: “b”." in note for note in notes)
    (only,) = compare_runs([finished("b", right, history=blind)]).notes[1:]
    assert only == "No run was validated: the curves show training accuracy."

import pytest

from jaxtl.report import statistics
from jaxtl.report.comparison import Arm, by_labels, compare


def arm(name, predicted, *, true="aabb", indices="0123"):
    predictions = [{"index": i, "true": t, "predicted": p} for i, t, p in zip(indices, true, predicted, strict=True)]
    right = sum(line["true"] == line["predicted"] for line in predictions)
    summary = {"test": {"accuracy": right / len(true), "n": len(true)}, "time": {"train_s": 2.0}}
    return Arm(name, f"how {name} was trained", summary, [], predictions)


def test_every_baseline_is_compared_with_the_run():
    this, worse, equal = compare([arm("this run", "aabb"), arm("worse", "bbba"), arm("equal", "aabb")])
    assert this == {
        "name": "this run",
        "description": "how this run was trained",
        "accuracy": 1.0,
        "interval": list(statistics.wilson_interval(4, 4)),
        "n": 4,
        "train_s": 2.0,
        "per_class": 0,
    }
    assert worse["versus"]["name"] == equal["versus"]["name"] == "this run"
    assert (worse["versus"]["difference"], equal["versus"]["difference"]) == (-0.75, 0.0)
    # Three discordant images, all of them the run's successes; of two tests the smaller p-value counts twice.
    assert worse["versus"]["p_value"] == pytest.approx(0.25)
    assert worse["versus"]["p_holm"] == pytest.approx(0.5)
    assert equal["versus"]["p_value"] == equal["versus"]["p_holm"] == 1.0
    low, high = worse["versus"]["interval"]
    assert low < -0.75 < high < 0


def test_a_baseline_tested_on_other_images_has_no_paired_difference():
    rows = compare([arm("this run", "aabb"), arm("other", "aabb", indices="0124"), arm("same", "abbb")])
    assert ["versus" in row for row in rows] == [False, False, True]
    assert rows[2]["versus"]["p_holm"] == rows[2]["versus"]["p_value"], "one test is no family"


def test_a_run_alone_is_one_row():
    assert [row["name"] for row in compare([arm("this run", "aabb")])] == ["this run"]


def rows(*arms):
    return [
        {"name": name, "per_class": per_class, "accuracy": accuracy, "interval": [accuracy - 0.1, accuracy + 0.1]}
        for name, per_class, accuracy in arms
    ]


def test_strategies_over_numbers_of_labels():
    found = by_labels(rows(("probe 10", 10, 0.5), ("lp-ft 10", 10, 0.6), ("probe 100", 100, 0.75)))
    assert {name: [(labels, accuracy) for labels, accuracy, _ in points] for name, points in found.items()} == {
        "probe": [(10, 0.5), (100, 0.75)],
        "lp-ft": [(10, 0.6)],
    }
    assert found["probe"][0][2] == (0.4, 0.6)


@pytest.mark.parametrize("counts", [(5, 5), (0, 10)])  # the same in all arms, or all images there are
def test_without_a_choice_of_labels_there_are_no_strategies_over_them(counts):
    assert by_labels(rows(*((f"arm {i}", count, 0.5) for i, count in enumerate(counts)))) == {}

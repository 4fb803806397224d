"""Finished runs beside each other: best first, every pair on the same test images tested, and what to know of it."""

from collections.abc import Sequence
from itertools import combinations
from typing import Any, NamedTuple

from jaxtl.report.comparison.finished import FinishedRun
from jaxtl.report.comparison.paired import Difference, differences, groups
from jaxtl.report.plots import accuracy_metrics
from jaxtl.report.statistics import wilson_interval

ONE_DRAW = (
    "Each run is one draw of training images and one initialisation; intervals and tests cover the choice of test "
    "images alone."
)


class Pair(NamedTuple):
    """Two runs that were tested on the same images.

    Attributes:
      better: position of the run that is at least as accurate.
      other: position of the other.
      found: accuracy of the better minus that of the other.
    """

    better: int
    other: int
    found: Difference


class Comparison(NamedTuple):
    """All that tables, charts and files are made of.

    Attributes:
      runs: the most accurate first.
      intervals: 95 % Wilson interval of each run's accuracy.
      test_sets: positions of the runs that were tested on the same images, set by set.
      pairs: every two runs of a test set; the p-values are corrected for all of them together.
      notes: sentences on what can be compared and what cannot.
    """

    runs: tuple[FinishedRun, ...]
    intervals: tuple[tuple[float, float], ...]
    test_sets: list[list[int]]
    pairs: list[Pair]
    notes: list[str]


def compare_runs(runs: Sequence[FinishedRun]) -> Comparison:
    """Sort the runs, test their pairs and say what the reader has to know."""
    ranked = tuple(sorted(runs, key=lambda run: -run.accuracy))
    test_sets = groups([run.test_images for run in ranked])
    together = [pair for group in test_sets for pair in combinations(group, 2)]
    # All pairs are one family: which run is the best, and so which pairs a reader looks at, was told by the same data.
    found = differences((ranked[i].right, ranked[j].right) for i, j in together)
    return Comparison(
        ranked,
        tuple(wilson_interval(int(run.right.sum()), len(run.right)) for run in ranked),
        test_sets,
        [Pair(i, j, difference) for (i, j), difference in zip(together, found, strict=True)],
        _notes(ranked, test_sets),
    )


def record(run: FinishedRun, interval: tuple[float, float]) -> dict[str, Any]:
    """The figures of a run, flat: a line of ``comparison.csv``. Times in seconds, shares in [0, 1]."""
    return {
        "name": run.name,
        "accuracy": run.accuracy,
        "accuracy_low": interval[0],
        "accuracy_high": interval[1],
        "precision": run.precision,
        "recall": run.recall,
        "f1": run.f1,
        "train_s": run.train_s,
        "inference_s": run.inference_s,
        "test_images": len(run.right),
        "params_total": run.params_total,
        "params_trained": run.params_trained,
        "reported": run.reported,
        "model": run.model,
        "device": run.device,
        "folder": run.folder,
    }


def _notes(runs: Sequence[FinishedRun], test_sets: Sequence[Sequence[int]]) -> list[str]:
    notes = [ONE_DRAW]
    if len(test_sets) > 1:
        sets = [(_who(runs, group, test_sets), len(runs[group[0]].right)) for group in test_sets]
        notes.append(
            f"The runs were tested on {len(test_sets)} different sets of images: "
            + "; ".join(f"{who} on {count:,}" for who, count in sets)
            + ". Accuracies on different sets are no contest, and only runs on one set are tested in pairs."
        )
    if len({run.device for run in runs}) > 1:
        notes.append("The runs were not all made on the same device, so their times cannot be compared.")
    if untimed := [run for run in runs if run.train_s <= 0]:
        notes.append(f"Without any time of training, and so not in the chart of times: {_quoted(untimed)}.")
    metrics = accuracy_metrics({run.name: run.history for run in runs})
    if metrics == ["train_accuracy"]:
        notes.append("No run was validated: the curves show training accuracy.")
    elif len(metrics) == 2:
        blind = [run for run in runs if accuracy_metrics({"": run.history}) != ["val_accuracy"]]
        notes.append(
            f"Not validated: {_quoted(blind)}. The curves therefore show validation accuracy of the others, and "
            "training accuracy of all."
        )
    return notes


def _who(runs: Sequence[FinishedRun], group: Sequence[int], all_groups: Sequence[Sequence[int]]) -> str:
    """The names of a group; its size alone where it is the largest and the names would be many."""
    if len(group) > 3 and group is max(all_groups, key=len):
        return f"{len(group)} runs"
    return _quoted([runs[i] for i in group])


def _quoted(runs: Sequence[FinishedRun]) -> str:
    return ", ".join(f"“{run.name}”" for run in runs)

"""Finished runs beside each other: a run and its baselines in the run's own report, or any runs on a page of theirs."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from os.path import commonpath
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console

from jaxtl.report.statistics import Spread, holm, mcnemar, paired_difference_interval, spread, wilson_interval
from jaxtl.report.tables import Table, print_table
from jaxtl.report.text import NOT_MEASURED, compact, counted, duration, integer, p_value, percent, points

ONE_DRAW = (
    "Each run is one draw of training images and one initialisation; intervals and tests cover the choice of test "
    "images alone."
)
ACROSS_DRAWS = (
    "Runs of one config differ in their draw alone: seed, validation split or fold. Mean, standard deviation (SD) and "
    "95 % interval (Student's t) are across draws; differences are between runs of the same draw."
)
ACROSS_FOLDS = (
    "Across folds each training image is validated once. Folds share training images, and seeds share folds, so "
    "the interval is too narrow; where the fold also chose the epoch (keep='best'), its accuracy is a little too high."
)

VALIDATED, TESTED_ON = "validation images", "test images"
DRAWN = ("seed", "split_seed", "fold")  # last parts of the fields in which repeated runs differ
NAMES = ("name", "arm")  # fields that a reader sees at once
BESIDE = ("source.", "baselines.")  # fields of other runs in the same folder
OF_A_PHASE = (".train", ".epochs", ".learning_rate")
TESTED = ("Difference, points", "95 % interval", "p", "p, corrected")


@dataclass(frozen=True)
class FinishedRun:
    """A finished run, as it is compared with others of any kind."""

    name: str  # in tables and charts; no other run of the comparison has it
    folder: str  # for the reader
    description: str  # how it was trained, in one line
    model: str  # its network
    device: str  # what it was trained on
    reported: str  # the figure that the study reports for it; may be empty
    accuracy: float  # on the test images, in [0, 1], as the macro means that follow
    precision: float
    recall: float
    f1: float
    train_s: float
    inference_s: float  # seconds for all its test images
    params_total: int
    params_trained: int  # those that any phase trained
    per_class: int  # training images of each class, 0 where their number was not chosen
    class_names: tuple[str, ...]  # K names
    confusion: np.ndarray  # int [K, K], counts; rows are true classes, columns predicted ones
    history: Sequence[dict[str, Any]]  # lines of metrics.jsonl
    test_images: tuple[tuple[str, str], ...]  # (index, true class) of N test images
    right: np.ndarray  # bool [N], which of them it got right
    settings: Mapping[str, Any] = field(default_factory=dict)  # path -> value of the fields that figures depend on
    val_accuracy: float | None = None  # on validation images, after the epoch that was tested

    @property
    def interval(self) -> tuple[float, float]:
        """95 % Wilson interval of the accuracy."""
        return wilson_interval(int(self.right.sum()), len(self.right))

    @property
    def reported_point(self) -> tuple[float | None, float | None]:
        """The accuracy, in [0, 1], and the seconds of training that the study reports, where ``reported`` says so."""
        accuracy = re.match(r"~?(\d+(?:\.\d+)?) ?%", self.reported)
        time = re.search(r"(?:(\d+) min )?(\d+) s of training", self.reported)
        return accuracy and float(accuracy[1]) / 100, time and 60.0 * int(time[1] or 0) + int(time[2])

    def record(self) -> dict[str, Any]:
        """The figures, flat: a line of ``comparison.csv``. Times in seconds, shares in [0, 1]."""
        low, high = self.interval
        first = {"name": self.name, "accuracy": self.accuracy, "accuracy_low": low, "accuracy_high": high}
        others = (
            *("precision", "recall", "f1", "train_s", "inference_s", "params_total", "params_trained"),
            *("reported", "model", "device", "folder", "description"),
        )
        return {**first, "test_images": len(self.right), **{name: getattr(self, name) for name in others}}


class Difference(NamedTuple):
    """Accuracy of one run minus that of another, on the same test images."""

    run: int  # position of the run whose accuracy comes first
    other: int  # position of the run whose accuracy is subtracted
    difference: float  # in [-1, 1]
    interval: tuple[float, float]  # 95 %
    p_value: float  # of McNemar's exact test, two-sided, for this pair alone
    p_holm: float  # the same, corrected for all pairs of the comparison


class Repeated(NamedTuple):
    """The accuracy of one config across draws, on validation or on test images."""

    name: str  # of the config
    measured_on: str  # VALIDATED or TESTED_ON
    draws: str  # in words
    runs: tuple[str, ...]  # names, in the order of their draws
    accuracies: tuple[float, ...]  # of each run, in [0, 1]
    across: Spread  # of the accuracies
    difference: Spread | None  # to the first config, over draws that both have; None for that one, and below two

    def record(self) -> dict[str, Any]:
        """All of it, for JSON."""
        difference = self.difference._asdict() if self.difference else None
        return {**self._asdict(), "across": self.across._asdict(), "difference": difference}


class Comparison(NamedTuple):
    """All that tables, charts and files are made of."""

    runs: tuple[FinishedRun, ...]  # the most accurate first; or the run first whose baselines the others are
    test_sets: list[list[int]]  # positions of the runs that were tested on the same images, set by set
    differences: list[Difference]  # of the pairs of a test set that were tested, those of its first run first
    notes: list[str]  # sentences on what can be compared and what cannot
    repeated: list[Repeated]  # of the configs that were run several times, that of the best mean first

    def record(self) -> dict[str, Any]:
        """The figures and the tests, for JSON."""
        names = [run.name for run in self.runs]
        return {
            "runs": [run.record() for run in self.runs],
            "pairs": [{**d._asdict(), "run": names[d.run], "other": names[d.other]} for d in self.differences],
            "test_sets": [[names[i] for i in group] for group in self.test_sets],
            "notes": self.notes,
            "repeated": [each.record() for each in self.repeated],
        }


def compare_runs(runs: Sequence[FinishedRun]) -> Comparison:
    """Any runs, the most accurate first; every pair on the same test images is tested.

    All pairs are one family: which run is the best, and so which pairs a reader looks at, was told by the same data.
    """
    return _compare(sorted(runs, key=lambda run: -run.accuracy), with_first=False)


def compare_with_baselines(run: FinishedRun, baselines: Sequence[FinishedRun]) -> Comparison:
    """A run, first, and its baselines; each one on the same test images is tested against the run."""
    return _compare([run, *baselines], with_first=True)


def _compare(runs: Sequence[FinishedRun], *, with_first: bool) -> Comparison:
    """Test all pairs on the same images, or those with the first run; p-values are corrected for all tests together."""
    test_sets = groups([run.test_images for run in runs])
    repeated = repeats(runs)
    # Single runs of these say less than their means, and the best of many runs is the best by luck.
    drawn = {name for each in repeated for name in each.runs}
    pairs = [pair for group in test_sets for pair in combinations(group, 2) if pair[0] == 0 or not with_first]
    pairs = [pair for pair in pairs if not {runs[i].name for i in pair} <= drawn]
    p_values = [mcnemar(runs[i].right, runs[j].right) for i, j in pairs]
    differences = []
    for (i, j), p, corrected in zip(pairs, p_values, holm(p_values), strict=True):
        difference = float(runs[i].right.mean() - runs[j].right.mean())
        interval = paired_difference_interval(runs[i].right, runs[j].right)
        differences.append(Difference(i, j, difference, interval, p, corrected))
    return Comparison(tuple(runs), test_sets, differences, _notes(runs, test_sets, repeated), repeated)


def repeats(runs: Sequence[FinishedRun]) -> list[Repeated]:
    """The accuracies of configs that were run several times, each time with another draw, the best mean first."""
    same = [{path: value for path, value in run.settings.items() if path.split(".")[-1] not in DRAWN} for run in runs]
    draws = [tuple(run.settings.get(path, 0) for path in ("seed", "data.split_seed", "data.fold")) for run in runs]
    found = [sorted(group, key=lambda i: draws[i]) for group in groups(same)]
    found = [group for group in found if len({draws[i] for i in group}) == len(group) > 1]
    found.sort(key=lambda group: -np.mean([runs[i].accuracy for i in group]))
    titles = [str(runs[group[0]].settings.get("name", "")) for group in found]
    repeated: list[Repeated] = []
    for measured_on in (VALIDATED, TESTED_ON):
        first: dict[Any, float] = {}  # by draw and test images
        for group, title in zip(found, titles, strict=True):
            values = [runs[i].accuracy if measured_on == TESTED_ON else runs[i].val_accuracy for i in group]
            known = [value for value in values if value is not None]
            # Validation images of one split are no estimate: they chose the epoch. Across folds they are all images.
            if len(known) < len(group) or not (measured_on == TESTED_ON or runs[group[0]].settings.get("data.folds")):
                continue
            by_draw = {(draws[i], runs[i].test_images): value for i, value in zip(group, known, strict=True)}
            shared = [value - first[draw] for draw, value in by_draw.items() if draw in first]
            first = first or by_draw
            names = tuple(runs[i].name for i in group)
            name = title if titles.count(title) == 1 else f"{title} ({commonpath([runs[i].folder for i in group])})"
            words, across = _in_draws([draws[i] for i in group]), spread(known, bounds=(0, 1))
            difference = spread(shared) if len(shared) > 1 else None
            repeated.append(Repeated(name, measured_on, words, names, tuple(known), across, difference))
    return repeated


def _in_draws(draws: Sequence[tuple[int, ...]]) -> str:
    """What varies: ``seed 0, 1, 2``."""
    columns = [list(dict.fromkeys(column)) for column in zip(*draws, strict=True)]
    named = zip(("seed", "split seed", "fold"), columns, strict=True)
    return "; ".join(f"{what} {', '.join(map(str, values))}" for what, values in named if len(values) > 1)


def groups(keys: Sequence[object]) -> list[list[int]]:
    """Positions of equal keys, group by group, each where its first member stands.

    >>> groups(["a", "b", "a"])
    [[0, 2], [1]]
    """
    firsts = [keys.index(key) for key in keys]
    return [[i for i, found in enumerate(firsts) if found == first] for first in dict.fromkeys(firsts)]


def by_labels(runs: Sequence[FinishedRun]) -> dict[str, list[tuple[int, float, tuple[float, float]]]]:
    """The strategies of a comparison over numbers of labels; empty where that number is the same in all runs.

    Runs are one strategy if their names differ by the number of labels a class alone, which ends them: ``probe 10``
    and ``probe 100`` are ``probe``.

    Returns:
      By strategy, the points (labels a class, accuracy, interval).
    """
    series: dict[str, list[tuple[int, float, tuple[float, float]]]] = {}
    if len({run.per_class for run in runs}) < 2 or not all(run.per_class for run in runs):
        return series
    for run in runs:
        strategy = run.name.removesuffix(str(run.per_class)).rstrip(" -_")
        series.setdefault(strategy, []).append((run.per_class, run.accuracy, run.interval))
    return series


# --- tables and sentences ---------------------------------------------------------------------------------------------


def runs_table(comparison: Comparison) -> Table:
    """All figures of all runs; precision, recall and F1 are macro means. There may be no reported figures."""
    headings = ["Run", "Accuracy", "95 % interval", "Precision", "Recall", "F1", "Time to train", "Time to test"]
    headings += ["Test images", "Parameters", "Trained", "Reported"]
    rows = [
        [
            run.name,
            percent(run.accuracy),
            f"{100 * run.interval[0]:.2f} to {100 * run.interval[1]:.2f}",
            *(percent(score) for score in (run.precision, run.recall, run.f1)),
            duration(run.train_s),
            duration(run.inference_s),
            integer(len(run.right)),
            compact(run.params_total),
            compact(run.params_trained),
            run.reported,
        ]
        for run in comparison.runs
    ]
    if not any(run.reported for run in comparison.runs):
        headings, rows = headings[:-1], [row[:-1] for row in rows]
    return Table("Runs", headings, rows)


def repeated_table(comparison: Comparison) -> Table | None:
    """Mean, standard deviation and interval of the configs that were run several times; None where none was."""
    headings = ["Config", "Accuracy on", "Draws", "Mean", "SD, points", "95 % interval"]
    headings += ["To the first, points", "95 % interval"]
    rows = []
    for each in comparison.repeated:
        across, by = each.across, each.difference
        row = [each.name, each.measured_on, each.draws, percent(across.mean), f"{100 * across.sd:.2f}"]
        row += [f"{100 * across.low:.2f} to {100 * across.high:.2f}"]
        row += [points(by.mean), f"{points(by.low)} to {points(by.high)}"] if by else [NOT_MEASURED] * 2
        rows.append(row)
    if not any(each.difference for each in comparison.repeated):
        headings, rows = headings[:-2], [row[:-2] for row in rows]
    return Table("Across draws", headings, rows) if rows else None


def difference_tables(comparison: Comparison) -> list[Table]:
    """For each set of test images that several runs share: the others beside its first run."""
    tables = []
    for first, *_ in comparison.test_sets:
        run = comparison.runs[first]
        title = f"Difference to “{run.name}”, on the same {counted(len(run.right), 'test image')}"
        found = [d for d in comparison.differences if d.run == first]
        rows = [[comparison.runs[d.other].name, *_figures(d, -1)] for d in found]
        tables += [Table(title, ["Run", *TESTED], rows)] * bool(rows)
    return tables


def all_pairs(comparison: Comparison) -> Table:
    """Every tested pair, the more accurate run first."""
    rows = [[*(comparison.runs[i].name for i in (d.run, d.other)), *_figures(d, 1)] for d in comparison.differences]
    return Table("All pairs", ["Run", "More accurate than", *TESTED], rows)


def _figures(found: Difference, sign: int) -> list[str]:
    """The cells of a difference, or with ``sign`` -1 of that of the other run to this one."""
    low, high = sorted(sign * end for end in found.interval)
    interval = f"{points(low)} to {points(high)}"
    return [points(sign * found.difference), interval, p_value(found.p_value), p_value(found.p_holm)]


def settings_table(comparison: Comparison) -> Table | None:
    """The fields of the configs in which runs differ; None where there are none."""
    runs = comparison.runs
    fields = dict.fromkeys(path for run in runs for path in run.settings)
    rows = [
        [path, *(_shown(run.settings[path]) if path in run.settings else NOT_MEASURED for run in runs)]
        for path in fields
        if path not in NAMES and not path.startswith(BESIDE)
        # Of a phase that some run lacks, what it is about.
        if all(path in run.settings for run in runs) or not path.startswith("phases.") or path.endswith(OF_A_PHASE)
    ]
    rows = [row for row in rows if len(set(row[1:])) > 1]
    return Table("Where their configs differ", ["Field", *(run.name for run in runs)], rows) if rows else None


def origin_table(comparison: Comparison) -> Table:
    """Where the runs come from."""
    rows = [[run.name, run.model, run.device, run.description, run.folder] for run in comparison.runs]
    return Table("Where they come from", ["Run", "Model", "Device", "Training", "Folder"], rows)


def correction(comparison: Comparison) -> str:
    """How the p-values were computed, in a sentence; empty where nothing was tested."""
    tests, exact = len(comparison.differences), "p is that of McNemar's exact test"
    if tests > 1:
        return f"{exact}; corrected by Holm's method for all {tests} pairs that were tested on the same images."
    return f"{exact}; a single test needs no correction." * tests


def verdicts(comparison: Comparison) -> list[str]:
    """For each set of test images, whether its first run is better than the best of the others."""
    with_first = [[d for d in comparison.differences if d.run == first] for first, *_ in comparison.test_sets]
    return [_in_words(comparison, min(found, key=lambda d: d.difference)) for found in with_first if found]


def show(comparison: Comparison, console: Console) -> None:
    """Print the table of the runs, the differences, and the notes."""
    for table in (runs_table(comparison), repeated_table(comparison), *difference_tables(comparison)):
        if table:
            print_table(table, console)
    for sentence in filter(None, (correction(comparison), *comparison.notes)):
        console.print(sentence, highlight=False, markup=False, soft_wrap=True)


def _in_words(comparison: Comparison, found: Difference) -> str:
    """A sentence that says which of two runs is better, by how much, and whether chance explains it."""
    tests, sign = len(comparison.differences), 1 if found.difference > 0 else -1
    better, worse = (comparison.runs[i].name for i in (found.run, found.other)[::sign])
    low, high = sorted(100 * sign * end for end in found.interval)
    p = found.p_value if tests == 1 else found.p_holm
    chance = f"p {p_value(p)}" if p < 0.001 else f"p = {p_value(p)}"
    corrected = f", corrected for {tests} tests by Holm's method" if tests > 1 else ""
    sentence = (
        f"On the same test images “{better}” is {100 * abs(found.difference):.1f} percentage points more accurate "
        f"than “{worse}” (95 % interval {low:.1f} to {high:.1f}; exact McNemar test, {chance}{corrected})."
    )
    return sentence if p < 0.05 else sentence + " Chance alone could explain a difference of this size."


def _notes(runs: Sequence[FinishedRun], test_sets: Sequence[Sequence[int]], repeated: Sequence[Repeated]) -> list[str]:
    notes = [ACROSS_DRAWS] if repeated else []
    if {run.name for run in runs} > {name for each in repeated for name in each.runs}:
        notes.append(ONE_DRAW)
    if any(each.measured_on == VALIDATED for each in repeated):
        notes.append(ACROSS_FOLDS)
    if len(test_sets) > 1:
        named = (f"{len(of)} runs" if len(of) > 3 else _quoted([runs[i] for i in of]) for of in test_sets)
        sets = [f"{name} on {len(runs[of[0]].right):,}" for name, of in zip(named, test_sets, strict=True)]
        notes.append(
            f"The runs were tested on {len(test_sets)} different sets of images: {'; '.join(sets)}"
            ". Accuracies on different sets cannot be compared, and only runs on one set are tested in pairs."
        )
    if len({run.device for run in runs}) > 1:
        notes.append("The runs were not all made on the same device, so their times cannot be compared.")
    return notes


def _shown(value: Any) -> str:
    """A value of a config; a text as it is, but for the empty one."""
    return value if isinstance(value, str) and value else json.dumps(value, ensure_ascii=False, default=str)


def _quoted(runs: Sequence[FinishedRun]) -> str:
    return ", ".join(f"“{run.name}”" for run in runs)

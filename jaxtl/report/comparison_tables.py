"""A comparison in tables and sentences, for the screen and the page alike."""

import json
from typing import Any

from rich.console import Console

from jaxtl.report.compared_runs import FinishedRun
from jaxtl.report.comparison import Comparison, Difference
from jaxtl.report.tables import Table, print_table
from jaxtl.report.text import NOT_MEASURED, compact, counted, duration, integer, p_value, percent, points

NAMES = ("name", "arm")  # fields that a reader sees at once
BESIDE = ("source.", "baselines.")  # fields of other runs in the same folder
OF_A_PHASE = (".train", ".epochs", ".learning_rate")
TESTED = ("Difference, points", "95 % interval", "p", "p, corrected")


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


def _by_first(comparison: Comparison) -> list[tuple[FinishedRun, list[Difference]]]:
    """For each set of test images that several runs share, its first run and the differences to the others."""
    firsts = [first for first, *_ in comparison.test_sets]
    found = [(comparison.runs[first], [d for d in comparison.differences if d.run == first]) for first in firsts]
    return [(run, differences) for run, differences in found if differences]


def difference_tables(comparison: Comparison) -> list[Table]:
    """For each set of test images that several runs share: the others beside its first run."""
    return [
        Table(
            f"Difference to “{run.name}”, on the same {counted(len(run.right), 'test image')}",
            ["Run", *TESTED],
            [[comparison.runs[d.other].name, *_figures(d, -1)] for d in differences],
        )
        for run, differences in _by_first(comparison)
    ]


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
    closest = (min(differences, key=lambda d: d.difference) for _, differences in _by_first(comparison))
    return [_in_words(comparison, d) for d in closest]


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


def _shown(value: Any) -> str:
    """A value of a config; a text as it is, but for the empty one."""
    return value if isinstance(value, str) and value else json.dumps(value, ensure_ascii=False, default=str)

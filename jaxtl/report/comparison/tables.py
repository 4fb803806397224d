"""The tables of a comparison in words, for the screen and the page alike."""

from jaxtl.report.comparison.overview import Comparison, Pair
from jaxtl.report.tables import Table
from jaxtl.report.text import compact, duration, integer, p_value, percent


def runs_table(comparison: Comparison) -> Table:
    """All figures of all runs; precision, recall and F1 are macro means. There may be no reported figures."""
    headings = ["Run", "Accuracy", "95 % interval", "Precision", "Recall", "F1", "Time to train", "Time to test"]
    headings += ["Test images", "Parameters", "Trained", "Reported"]
    rows = [
        [
            run.name,
            percent(run.accuracy),
            f"{100 * low:.2f} to {100 * high:.2f}",
            *(percent(score) for score in (run.precision, run.recall, run.f1)),
            duration(run.train_s),
            duration(run.inference_s),
            integer(len(run.right)),
            compact(run.params_total),
            compact(run.params_trained),
            run.reported,
        ]
        for run, (low, high) in zip(comparison.runs, comparison.intervals, strict=True)
    ]
    if not any(run.reported for run in comparison.runs):
        headings, rows = headings[:-1], [row[:-1] for row in rows]
    return Table("Runs", headings, rows)


def behind_the_best(comparison: Comparison) -> list[Table]:
    """For each set of test images that several runs share: how far the others are behind its best run."""
    tables = []
    for group in comparison.test_sets:
        best = comparison.runs[group[0]]
        pairs = [pair for pair in comparison.pairs if pair.better == group[0]]
        if pairs:
            headings = ["Run", "Behind, points", "95 % interval", "p", "p, corrected"]
            rows = [[comparison.runs[pair.other].name, *_figures(pair)] for pair in pairs]
            title = f"Behind “{best.name}”, on the same {integer(len(best.right))} test images"
            tables.append(Table(title, headings, rows))
    return tables


def all_pairs(comparison: Comparison) -> Table:
    """Every tested pair, the more accurate run first."""
    names = [run.name for run in comparison.runs]
    rows = [[names[pair.better], names[pair.other], *_figures(pair)] for pair in comparison.pairs]
    return Table(
        "All pairs", ["Run", "More accurate than", "Difference, points", "95 % interval", "p", "p, corrected"], rows
    )


def correction(comparison: Comparison) -> str:
    """How the p-values were come by, in a sentence; empty where nothing was tested."""
    tests = len(comparison.pairs)
    if not tests:
        return ""
    exact = "p is that of McNemar's exact test"
    if tests == 1:
        return f"{exact}; a single test needs no correction."
    return f"{exact}; corrected by Holm's method for all {tests} pairs that were tested on the same images."


def _figures(pair: Pair) -> list[str]:
    low, high = pair.found.interval
    return [
        f"{100 * pair.found.difference:.2f}",
        f"{100 * low:.2f} to {100 * high:.2f}",
        p_value(pair.found.p_value),
        p_value(pair.found.p_holm),
    ]

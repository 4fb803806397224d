"""The page of a comparison."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from jaxtl.report.comparison.charts import confusion_groups
from jaxtl.report.comparison.overview import Comparison
from jaxtl.report.comparison.paired import in_words
from jaxtl.report.comparison.tables import all_pairs, behind_the_best, correction, runs_table
from jaxtl.report.page import Picture, write_page
from jaxtl.report.tables import Table
from jaxtl.report.text import compact, duration, percent


def write_comparison_page(path: Path, comparison: Comparison, charts: Mapping[str, Picture]) -> None:
    """Write the page. The file appears complete or not at all.

    Args:
      path: the HTML file; folders above it are made.
      comparison: what it shows.
      charts: as ``charts.draw`` names them.
    """
    runs = comparison.runs
    origin = Table(
        "Where they are", ["Run", "Model", "Device", "Folder"], [_origin(i, comparison) for i in range(len(runs))]
    )
    write_page(
        path,
        "comparison.html",
        charts,
        title=f"Comparison of {len(runs)} runs" if len(runs) > 1 else runs[0].name,
        highlights=_highlights(comparison),
        runs=runs_table(comparison),
        one_test_set=len(comparison.test_sets) == 1,
        verdicts=_verdicts(comparison),
        behind=behind_the_best(comparison),
        pairs=all_pairs(comparison),
        correction=correction(comparison),
        confusions={name: _classes(runs[group[0]].class_names) for name, group in confusion_groups(comparison).items()},
        notes=comparison.notes,
        origin=origin,
    )


def _origin(i: int, comparison: Comparison) -> list[str]:
    run = comparison.runs[i]
    return [run.name, run.model, run.device, run.folder]


def _classes(names: Sequence[str], most: int = 12) -> str:
    return f"{len(names)} classes: " + ", ".join(names[:most]) + (", …" if len(names) > most else "")


def _highlights(comparison: Comparison) -> list[tuple[str, str, str]]:
    """(what, figure, name of the run) of the runs that stand out, where they can be compared."""
    runs = comparison.runs
    if len(runs) < 2 or len(comparison.test_sets) > 1:
        return []
    found = [("Most accurate", percent(runs[0].accuracy), runs[0].name)]
    if len({run.device for run in runs}) == 1:
        fastest = min(runs, key=lambda run: run.train_s)
        found.append(("Fastest to train", duration(fastest.train_s), fastest.name))
    smallest = min(runs, key=lambda run: run.params_trained)
    return [*found, ("Fewest parameters trained", compact(smallest.params_trained), smallest.name)]


def _verdicts(comparison: Comparison) -> list[str]:
    """For each set of test images, whether its best run is better than the second."""
    names = [run.name for run in comparison.runs]
    firsts = [group[:2] for group in comparison.test_sets if len(group) > 1]
    return [
        in_words(names[pair.better], names[pair.other], pair.found, tests=len(comparison.pairs)).replace(
            " %", "\u00a0%"
        )
        for pair in comparison.pairs
        if [pair.better, pair.other] in firsts
    ]

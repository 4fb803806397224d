"""What a comparison leaves in its folder: a page, a table, and charts."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from jaxtl.report import comparison_tables as compared
from jaxtl.report import plots
from jaxtl.report.compared_runs import find_runs
from jaxtl.report.comparison import Comparison, compare_runs, groups
from jaxtl.report.console import LiveConsole
from jaxtl.report.page import write_page
from jaxtl.report.tables import Table
from jaxtl.report.text import compact, duration, percent
from jaxtl.runtime.files import csv_text, json_text, write_whole

PAGE, CSV, JSON = "comparison.html", "comparison.csv", "comparison.json"
ACCURACIES, TIME_ACCURACY, CURVES, CONFUSIONS = "accuracies", "time_accuracy", "curves", "confusion_matrices"


def compare_folders(
    folders: Sequence[Path], out: Path, console: LiveConsole, *, with_baselines: bool, notes: Sequence[str] = ()
) -> Comparison:
    """Compare the finished runs among some folders, on the screen and in the folder ``out``; see ``find_runs``.

    The notes are told before those of the comparison.
    """
    comparison = compare_runs(find_runs(folders, with_baselines=with_baselines, ignored=out, say=console.say))
    comparison = comparison._replace(notes=[*notes, *comparison.notes])
    compared.show(comparison, console.console)
    write(comparison, out)
    console.say(f"The page with all tables and charts: {out / PAGE}")
    return comparison


def write(comparison: Comparison, folder: Path, *, study: Table | None = None, absent: Sequence[str] = ()) -> None:
    """Write page, table, figures and charts, each whole or not at all.

    Charts of an earlier comparison in the same folder that this one lacks are removed: they would pass for its own.

    Args:
      comparison: what is written.
      folder: made if absent.
      study: a table of published figures with ours, above all others; its title is that of the page.
      absent: sentences on its rows that are not measured.

    Raises:
      OSError: the folder cannot be made or written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    charts, classes = draw(comparison)
    if (folder / JSON).exists():
        for name in (ACCURACIES, TIME_ACCURACY, CURVES, CONFUSIONS, f"{CONFUSIONS}_[0-9]*"):
            for path in folder.glob(f"{name}.png"):
                path.unlink()
    for name, chart in charts.items():
        write_whole(folder / f"{name}.png", plots.png(chart))
    runs = comparison.runs
    write_page(
        folder / PAGE,
        "comparison.html",
        charts,
        kicker="jaxtl comparison",
        title=study.title if study else f"Comparison of {len(runs)} runs" if len(runs) > 1 else runs[0].name,
        study=study,
        absent=absent,
        highlights=_highlights(comparison),
        comparison=comparison,
        compared=compared,
        confusions=classes,
    )
    records = [run.record() for run in runs]
    write_whole(folder / CSV, csv_text([list(records[0]), *(list(record.values()) for record in records)]))
    write_whole(folder / JSON, json_text(comparison.record()))


def draw(comparison: Comparison) -> tuple[dict[str, Figure], dict[str, str]]:
    """All charts, name -> figure, without those that there is nothing to draw for; and whose classes matrices have.

    Confusion matrices stand side by side where the classes are the same: confusion_matrices, confusion_matrices_2, …
    """
    runs = comparison.runs
    charts = {ACCURACIES: plots.accuracy_comparison(runs)}
    if timed := [run for run in runs if run.train_s > 0]:
        charts[TIME_ACCURACY] = plots.time_accuracy(timed)
    histories = {run.name: run.history for run in runs}
    if plots.accuracy_metrics(histories):
        charts[CURVES] = plots.overlaid_curves(histories)
    classes = {}
    for i, group in enumerate(groups([run.class_names for run in runs]), start=1):
        name, class_names = f"{CONFUSIONS}_{i}" if i > 1 else CONFUSIONS, runs[group[0]].class_names
        charts[name] = plots.confusion_matrices({runs[i].name: runs[i].confusion for i in group}, class_names)
        classes[name] = f"{len(class_names)} classes: {', '.join(class_names[:12])}" + ", …" * (len(class_names) > 12)
    return charts, classes


def _highlights(comparison: Comparison) -> list[tuple[str, str, str]]:
    """(what, figure, name of the run) of the runs that stand out, where they can be compared."""
    if repeated := comparison.repeated[:4]:
        return [(f"Mean accuracy on {each.measured_on}", percent(each.across.mean), each.name) for each in repeated]
    runs = comparison.runs
    if len(runs) < 2 or len(comparison.test_sets) > 1:
        return []
    fastest, smallest = min(runs, key=lambda run: run.train_s), min(runs, key=lambda run: run.params_trained)
    found = [("Most accurate", percent(runs[0].accuracy), runs[0].name)]
    if len({run.device for run in runs}) == 1:
        found.append(("Fastest to train", duration(fastest.train_s), fastest.name))
    return [*found, ("Fewest parameters trained", compact(smallest.params_trained), smallest.name)]

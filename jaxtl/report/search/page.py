"""The page of a search."""

from collections.abc import Mapping
from pathlib import Path

from jaxtl.report.page import Picture, write_page
from jaxtl.report.search.outcome import Outcome, State, shown
from jaxtl.report.search.tables import (
    measure_of,
    method_in_words,
    reasons_table,
    space_table,
    trials_table,
    value_of,
)
from jaxtl.report.statistics import wilson_interval
from jaxtl.report.tables import Table
from jaxtl.report.text import duration, integer, loss, percent

HISTORY, PARAMETERS = "history", "parameters"


def write_search_page(path: Path, outcome: Outcome, charts: Mapping[str, Picture]) -> None:
    """Write the page. The file appears complete or not at all.

    Args:
      path: the HTML file.
      outcome: what it shows.
      charts: as ``files.draw`` names them.
    """
    write_page(
        path,
        "search.html",
        charts,
        title=outcome.name,
        highlights=_highlights(outcome),
        method=method_in_words(outcome),
        final=_final(outcome),
        trials=trials_table(outcome),
        measure=measure_of(outcome),
        space=space_table(outcome),
        reasons=reasons_table(outcome),
        details={"folder": outcome.folder, **outcome.environment},
    )


def _highlights(outcome: Outcome) -> list[tuple[str, str, str]]:
    """(what, figure, remark) of what matters most."""
    best, lines = outcome.best, outcome.lines
    found = []
    if test := outcome.summary and outcome.summary["test"]:
        low, high = wilson_interval(round(test["accuracy"] * test["n"]), test["n"])
        interval = f"95 % interval {100 * low:.2f} to {100 * high:.2f}"
        found.append(("Test accuracy of the final training", percent(test["accuracy"]), interval))
    if best:
        found.append((f"Best {measure_of(outcome).lower()}", value_of(outcome, best.value), f"in trial {best.number}"))
    pruned = sum(line.state == State.PRUNED for line in lines)
    spent = duration(sum(line.seconds or 0.0 for line in lines))
    return [*found, ("Trials", integer(len(lines)), f"{pruned} pruned; {spent} of training")][:3]


def _final(outcome: Outcome) -> Table | None:
    """The training of the best trial's config that was tested."""
    if outcome.summary is None:
        return None
    test, times = outcome.summary["test"], outcome.summary["time"]
    headings = ["Test accuracy", "Test loss", "Test images", "Epochs", "Best epoch", "Time to train"]
    row = [percent(test["accuracy"]), loss(test["loss"]), integer(test["n"]), str(outcome.summary["epochs_run"])]
    row += [str(outcome.summary["best_epoch"]), duration(times["train_s"])]
    if outcome.reported:
        headings, row = [*headings, "Reported"], [*row, outcome.reported]
    changes = ", ".join(f"{path} {shown(value)}" for path, value in outcome.final.items())
    return Table(f"with {changes}" if changes else "as it was", headings, [row])

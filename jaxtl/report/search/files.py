"""What a search leaves in its folder, beside its trials."""

import csv
import io
import json
import math
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from jaxtl.report import plots
from jaxtl.report.page import picture
from jaxtl.report.search.outcome import Outcome, State, short_names, shown
from jaxtl.report.search.page import HISTORY, PARAMETERS, write_search_page
from jaxtl.runtime.files import write_whole

PAGE, CSV, JSON = "search.html", "trials.csv", "trials.json"


def write(outcome: Outcome, folder: Path) -> None:
    """Write page, table, figures and charts, each whole or not at all.

    Args:
      outcome: what is written.
      folder: of the search.

    Raises:
      OSError: the folder cannot be written.
    """
    charts = {name: picture(figure) for name, figure in draw(outcome).items()}
    for name, chart in charts.items():
        write_whole(folder / f"{name}.png", chart.png)
    write_search_page(folder / PAGE, outcome, charts)
    write_whole(folder / CSV, _table(outcome).encode())
    write_whole(folder / JSON, (json.dumps(_tree(outcome), indent=2, ensure_ascii=False) + "\n").encode())


def draw(outcome: Outcome) -> dict[str, Figure]:
    """The charts, name -> figure; none where no trial has a value."""
    lines = [line for line in outcome.lines if line.value is not None and math.isfinite(line.value)]
    lines = [line for line in lines if line.params.keys() == outcome.space.keys()]
    if not lines:
        return {}
    values, complete = [line.value or 0.0 for line in lines], [line.state == State.COMPLETE for line in lines]
    short = short_names(list(outcome.space))
    space, params = {}, [dict[str, Any]() for _ in lines]
    for name, described in outcome.space.items():
        space[short[name]] = dict(described)
        options = list(described.get("options", ()))
        if options:
            space[short[name]]["options"] = [shown(option) for option in options]
        for line, numbers in zip(lines, params, strict=True):
            value = line.params[name]
            numbers[short[name]] = [repr(option) for option in options].index(repr(value)) if options else value
    return {
        HISTORY: plots.search_history(
            [line.number for line in lines], values, complete, outcome.measure, maximise=outcome.maximise
        ),
        PARAMETERS: plots.search_parameters(
            space, params, values, complete, outcome.measure, maximise=outcome.maximise
        ),
    }


def _table(outcome: Outcome) -> str:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["number", "state", outcome.measure, "epochs", "seconds", *outcome.space, "reason"])
    for line in outcome.lines:
        params = (line.params.get(name, "") for name in outcome.space)
        writer.writerow([line.number, line.state, line.value, line.epochs, line.seconds, *params, line.reason])
    return text.getvalue()


def _tree(outcome: Outcome) -> dict[str, Any]:
    best = outcome.best
    return {
        "name": outcome.name,
        "measure": outcome.measure,
        **outcome.method,
        "best": best.number if best else None,
        "space": outcome.space,
        "final": outcome.final,
        "test": outcome.summary["test"] if outcome.summary else None,
        "trials": [line._asdict() for line in outcome.lines],
    }

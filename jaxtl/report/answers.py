"""What runs take images for, as a table on the screen, as CSV and as JSON."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from jaxtl.report.text import NOT_MEASURED, percent
from jaxtl.runs.finished import Predictions


def as_text(files: Sequence[str], runs: Mapping[str, Predictions], width: int) -> str:
    """A table: of one run, a column for each of the most probable classes; of several, one for each run's first.

    Args:
      files: N names, one a line.
      runs: the answers of each run, by its name.
      width: of the screen, in letters; long file names are broken to fit, classes and figures never.
    """
    table = Table(box=SIMPLE_HEAD, collapse_padding=True)
    table.add_column("image", min_width=12, overflow="fold")
    rows: list[list[str]]
    if len(runs) == 1:
        (run,) = runs.values()
        k = run.classes.shape[1]
        headings = [str(rank) for rank in range(1, k + 1)]
        rows = [[_cell(*pair) for pair in run[i]] or [NOT_MEASURED] * k for i in range(len(files))]
    else:
        headings = [*runs]
        rows = [[_cell(*run[i][0]) if run[i] else NOT_MEASURED for run in runs.values()] for i in range(len(files))]
    for j, heading in enumerate(headings):
        longest = max(len(text) for text in (*(row[j] for row in rows), *(heading.split() or [""])))
        table.add_column(Text(heading), justify="right", min_width=longest)
    for file, row in zip(files, rows, strict=True):
        table.add_row(Text(file), *(Text(cell) for cell in row))
    console = Console(width=width, file=io.StringIO(), color_system=None)
    least = Measurement.get(console, console.options.update(max_width=10_000), table).minimum
    with console.capture() as captured:
        console.print(table, width=max(width, least), crop=False)
    return "\n".join(line.rstrip() for line in captured.get().splitlines()).strip("\n") + "\n"


def as_csv(files: Sequence[str], runs: Mapping[str, Predictions]) -> str:
    """A line an image: ``file, class_1, probability_1, class_2, …``; of several runs, each one's class and probability.

    Cells are empty where there is no answer.
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    if len(runs) == 1:
        (run,) = runs.values()
        ranks = range(1, run.classes.shape[1] + 1)
        heading = [f"{what}_{rank}" for rank in ranks for what in ("class", "probability")]
    else:
        heading = [cell for name in runs for cell in (name, f"{name} probability")]
    writer.writerow(["file", *heading])
    for i, file in enumerate(files):
        cells = []
        for run in runs.values():
            pairs = run[i] if len(runs) == 1 else run[i][:1]
            cells += [cell for name, p in pairs for cell in (name, f"{p:.6f}")] or [""] * (len(heading) // len(runs))
        writer.writerow([file, *cells])
    return text.getvalue()


def as_json(files: Sequence[str], runs: Mapping[str, Predictions], unread: Sequence[tuple[str, str]]) -> str:
    """``{"runs": […], "images": [{"file", "predictions": {run: [{"class", "probability"}, …]}}], "unread": […]}``.

    Args:
      files: N names.
      runs: the answers of each run, by its name; the list of an image is empty where a run has none.
      unread: (file, reason) of what could not be read.
    """
    tree: dict[str, Any] = {
        "runs": [{"name": name, "classes": list(run.class_names)} for name, run in runs.items()],
        "images": [
            {
                "file": file,
                "predictions": {
                    name: [{"class": of, "probability": p} for of, p in run[i]] for name, run in runs.items()
                },
            }
            for i, file in enumerate(files)
        ],
        "unread": [{"file": file, "reason": reason} for file, reason in unread],
    }
    return json.dumps(tree, indent=2, ensure_ascii=False) + "\n"


def _cell(name: str, probability: float) -> str:
    return f"{name} {percent(probability, 1)}"

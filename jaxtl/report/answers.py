"""What runs predict for images, as a table on the screen, as CSV and as JSON."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console

from jaxtl.report.tables import Table, print_table
from jaxtl.report.text import NOT_MEASURED, percent
from jaxtl.runs.finished import Predictions
from jaxtl.runtime.files import csv_text, json_text


def as_text(files: Sequence[str], runs: Mapping[str, Predictions], width: int) -> str:
    """A table: of one run, a column for each of the most probable classes; of several, one for each run's first.

    Args:
      files: N names, one a line.
      runs: the answers of each run, by its name.
      width: of the screen, in letters; long file names are broken to fit, classes and figures never.
    """
    ranks = _ranks(runs)
    headings = [*runs] if len(runs) > 1 else [str(rank) for rank in range(1, ranks + 1)]
    rows = []
    for i, file in enumerate(files):
        answers = [
            [f"{name} {percent(p, 1)}" for name, p in run[i][:ranks]] or [NOT_MEASURED] * ranks for run in runs.values()
        ]
        rows.append([file, *(cell for of_run in answers for cell in of_run)])
    screen = io.StringIO()
    print_table(Table("", ["image", *headings], rows), Console(width=width, file=screen, color_system=None))
    return "\n".join(line.rstrip() for line in screen.getvalue().splitlines()).strip("\n") + "\n"


def as_csv(files: Sequence[str], runs: Mapping[str, Predictions]) -> str:
    """A line an image: ``file, class_1, probability_1, class_2, …``; of several runs, each one's class and probability.

    Cells are empty where there is no answer.
    """
    ranks = _ranks(runs)
    of_one = (f"{what}_{rank}" for rank in range(1, ranks + 1) for what in ("class", "probability"))
    of_several = (cell for name in runs for cell in (name, f"{name} probability"))
    rows = [["file", *(of_several if len(runs) > 1 else of_one)]]
    for i, file in enumerate(files):
        answers = ([cell for name, p in run[i][:ranks] for cell in (name, f"{p:.6f}")] for run in runs.values())
        rows.append([file, *(cell for cells in answers for cell in cells or [""] * (2 * ranks))])
    return csv_text(rows)


def as_json(files: Sequence[str], runs: Mapping[str, Predictions], unread: Sequence[tuple[str, str]]) -> str:
    """``{"runs": […], "images": [{"file", "predictions": {run: [{"class", "probability"}, …]}}], "unread": […]}``.

    Args:
      files: N names.
      runs: the answers of each run, by its name; the list of an image is empty where a run has none.
      unread: (file, reason) of what could not be read.
    """

    def answers(i: int) -> dict[str, Any]:
        return {name: [{"class": of, "probability": p} for of, p in run[i]] for name, run in runs.items()}

    tree = {
        "runs": [{"name": name, "classes": list(run.class_names)} for name, run in runs.items()],
        "images": [{"file": file, "predictions": answers(i)} for i, file in enumerate(files)],
        "unread": [{"file": file, "reason": reason} for file, reason in unread],
    }
    return json_text(tree)


def _ranks(runs: Mapping[str, Predictions]) -> int:
    """How many classes are shown of each run: all answers of one, the first of each of several."""
    return next(run.classes.shape[1] for run in runs.values()) if len(runs) == 1 else 1

"""What runs take images for, as a table on the screen, as CSV and as JSON."""

import csv
import io
import json
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from jaxtl.report.text import NOT_MEASURED, percent


class Answers(NamedTuple):
    """What one run takes N images for.

    Attributes:
      name: of the run; no two in a table are the same.
      class_names: K names.
      classes: int ``[N, k]``, indices into ``class_names``, the most probable first; -1 where there is no answer.
      probability: float ``[N, k]``, in [0, 1]; NaN where there is no answer.
    """

    name: str
    class_names: Sequence[str]
    classes: np.ndarray
    probability: np.ndarray

    def top(self, i: int) -> list[tuple[str, float]]:
        """(class, probability) of image ``i``, the most probable first; empty where there is no answer."""
        pairs = zip(self.classes[i], self.probability[i], strict=True)
        return [(self.class_names[k], float(p)) for k, p in pairs if k >= 0]


def as_text(files: Sequence[str], runs: Sequence[Answers], width: int) -> str:
    """A table: of one run, a column for each of the most probable classes; of several, one for each run's first.

    Args:
      files: N names, one a line.
      runs: their answers.
      width: of the screen, in letters; long file names are broken to fit, classes and figures never.
    """
    table = Table(box=SIMPLE_HEAD, collapse_padding=True)
    table.add_column("image", min_width=12, overflow="fold")
    rows: list[list[str]]
    if len(runs) == 1:
        k = runs[0].classes.shape[1]
        headings = [str(rank) for rank in range(1, k + 1)]
        rows = [[_cell(*pair) for pair in runs[0].top(i)] or [NOT_MEASURED] * k for i in range(len(files))]
    else:
        headings = [run.name for run in runs]
        rows = [[_cell(*run.top(i)[0]) if run.top(i) else NOT_MEASURED for run in runs] for i in range(len(files))]
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


def as_csv(files: Sequence[str], runs: Sequence[Answers]) -> str:
    """A line an image: ``file, class_1, probability_1, class_2, …``; of several runs, each one's class and probability.

    Cells are empty where there is no answer.
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    if len(runs) == 1:
        ranks = range(1, runs[0].classes.shape[1] + 1)
        heading = [f"{what}_{rank}" for rank in ranks for what in ("class", "probability")]
    else:
        heading = [cell for run in runs for cell in (run.name, f"{run.name} probability")]
    writer.writerow(["file", *heading])
    for i, file in enumerate(files):
        cells = []
        for run in runs:
            pairs = run.top(i) if len(runs) == 1 else run.top(i)[:1]
            cells += [cell for name, p in pairs for cell in (name, f"{p:.6f}")] or [""] * (len(heading) // len(runs))
        writer.writerow([file, *cells])
    return text.getvalue()


def as_json(files: Sequence[str], runs: Sequence[Answers], unread: Sequence[tuple[str, str]]) -> str:
    """``{"runs": […], "images": [{"file", "predictions": {run: [{"class", "probability"}, …]}}], "unread": […]}``.

    Args:
      files: N names.
      runs: their answers; the list of an image is empty where a run has none.
      unread: (file, reason) of what could not be read.
    """
    tree: dict[str, Any] = {
        "runs": [{"name": run.name, "classes": list(run.class_names)} for run in runs],
        "images": [
            {
                "file": file,
                "predictions": {
                    run.name: [{"class": name, "probability": p} for name, p in run.top(i)] for run in runs
                },
            }
            for i, file in enumerate(files)
        ],
        "unread": [{"file": file, "reason": reason} for file, reason in unread],
    }
    return json.dumps(tree, indent=2, ensure_ascii=False) + "\n"


def _cell(name: str, probability: float) -> str:
    return f"{name} {percent(probability, 1)}"

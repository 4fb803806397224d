"""What a comparison leaves in its folder."""

import csv
import io
import json
from pathlib import Path
from typing import Any

from jaxtl.report.comparison.charts import ACCURACIES, CONFUSIONS, CURVES, TIME_ACCURACY, draw
from jaxtl.report.comparison.overview import Comparison, record
from jaxtl.report.comparison.page import write_comparison_page
from jaxtl.report.page import picture
from jaxtl.runtime.files import write_whole

PAGE, CSV, JSON = "comparison.html", "comparison.csv", "comparison.json"


def write(comparison: Comparison, folder: Path) -> None:
    """Write page, table, figures and charts, each whole or not at all.

    Charts of an earlier comparison in the same folder that this one lacks are removed: they would pass for its own.

    Args:
      comparison: what is written.
      folder: made if absent.

    Raises:
      OSError: the folder cannot be made or written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    charts = {name: picture(figure) for name, figure in draw(comparison).items()}
    if (folder / JSON).exists():
        for name in (ACCURACIES, TIME_ACCURACY, CURVES, CONFUSIONS, f"{CONFUSIONS}_[0-9]*"):
            for path in folder.glob(f"{name}.png"):
                if path.stem not in charts:
                    path.unlink()
    for name, chart in charts.items():
        write_whole(folder / f"{name}.png", chart.png)
    write_comparison_page(folder / PAGE, comparison, charts)
    write_whole(folder / CSV, _table(comparison).encode())
    write_whole(folder / JSON, (json.dumps(_tree(comparison), indent=2, ensure_ascii=False) + "\n").encode())


def _table(comparison: Comparison) -> str:
    lines = [record(run, interval) for run, interval in zip(comparison.runs, comparison.intervals, strict=True)]
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, lines[0].keys(), lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return text.getvalue()


def _tree(comparison: Comparison) -> dict[str, Any]:
    names = [run.name for run in comparison.runs]
    return {
        "runs": [record(run, interval) for run, interval in zip(comparison.runs, comparison.intervals, strict=True)],
        "pairs": [
            {"run": names[pair.better], "other": names[pair.other], **pair.found._asdict()} for pair in comparison.pairs
        ],
        "test_sets": [[names[i] for i in group] for group in comparison.test_sets],
        "notes": comparison.notes,
    }

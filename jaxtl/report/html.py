"""The page of a run."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from jaxtl.config.tree import leaves, plain
from jaxtl.report.comparison import (
    Comparison,
    correction,
    difference_tables,
    runs_table,
    settings_table,
    verdicts,
)
from jaxtl.report.comparison_page import origin_table
from jaxtl.report.figures import CAPTIONS, Gallery
from jaxtl.report.page import Picture, write_page
from jaxtl.report.statistics import accuracy_interval
from jaxtl.report.tables import Table
from jaxtl.report.text import integer

# What the page names, and a summary may lack: it is shown as a dash.
TEST = dict.fromkeys(("accuracy", "top5", "majority", "loss", "precision", "recall", "f1", "n"))


def write_report(
    path: Path,
    *,
    title: str,
    summary: Mapping[str, Any],
    config: Mapping[str, Any],
    history: Sequence[Mapping[str, Any]],
    class_names: Sequence[str],
    figures: Mapping[str, Figure | Gallery],
    comparison: Comparison | None,
    environment: Mapping[str, Any],
    notes: Sequence[str] = (),
) -> None:
    """Write the report of a run. The file appears complete or not at all.

    Args:
      path: the HTML file; folders above it are made.
      title: heading of the page.
      summary: content of ``summary.json``: ``test`` {accuracy, loss, precision, recall, f1, n, confusion_matrix,
        per_class}, ``time`` {train_s, inference_s, …}, ``params`` {total, trainable}, ``best_epoch``, ``epochs_run``,
        ``data`` (see ``data_tables``). Whatever is absent or None is shown as a dash.
      config: the resolved configuration; nested values are shown as ``field.subfield = value``.
      history: one mapping an epoch (see ``plots.curves``); may be empty.
      class_names: K names, in class order.
      figures: caption -> figure or cards with images; see the captions in ``figures``.
      comparison: the run beside its baselines, if there are any.
      environment: name -> value: versions, device, commit, seed, wall time.
      notes: sentences for the reader, shown under the headline.
    """
    test = {**TEST, **(summary.get("test") or {})}
    write_page(
        path,
        "run.html",
        {caption: figure if isinstance(figure, list) else Picture(figure) for caption, figure in figures.items()},
        title=title,
        test=test,
        interval=accuracy_interval(test),
        time={"train_s": None, "inference_s": None, **(summary.get("time") or {})},
        params={"total": None, "trainable": None, **(summary.get("params") or {})},
        best_epoch=summary.get("best_epoch"),
        epochs_run=summary.get("epochs_run"),
        per_class=test.get("per_class") or [],
        data=data_tables(summary["data"]) if summary.get("data") else [],
        confusions=frequent_confusions(test.get("confusion_matrix"), class_names),
        history=history,
        tables=[runs_table(comparison), *difference_tables(comparison)] if comparison else [],
        origins=[origin_table(comparison), settings_table(comparison)] if comparison else [],
        correction=correction(comparison) if comparison else "",
        verdicts=verdicts(comparison) if comparison else [],
        other_figures=[caption for caption in figures if caption not in CAPTIONS],
        # JSON tells "1" from 1, which matters in a configuration only.
        config={name: json.dumps(value, ensure_ascii=False, default=str) for name, value in leaves(plain(config))},
        environment=environment,
        notes=[
            *test.get("remarks", ()),
            *summary.get("data", {}).get("warnings", ()),
            *notes,
            *(comparison.notes if comparison else []),
        ],
    )


def data_tables(data: Mapping[str, Any]) -> list[Table]:
    """What was read: images of each class in each part, what was left out, and images that stand twice.

    Args:
      data: of the summary: ``class_names``, ``parts`` {part: images of each class}, ``passed_over`` [{problem,
        consequence, n, example}], ``repeated`` [[{part, image, class}, …], …].
    """
    parts = data["parts"]
    rows = [[name, *(integer(counts[k]) for counts in parts.values())] for k, name in enumerate(data["class_names"])]
    rows.append(["in all", *(integer(sum(counts)) for counts in parts.values())])
    passed_over = [
        [f"{found['problem']}: {found['consequence']}", integer(found["n"]), found["example"]]
        for found in data.get("passed_over", ())
    ]
    twice = [
        [f"{copy['part']} image {copy['image']}" for copy in group[:2]] + [", ".join({c["class"]: 0 for c in group})]
        for group in data.get("repeated", ())
    ]
    tables = [Table("Images of each class", ["Class", *(part.capitalize() for part in parts)], rows)]
    tables += [Table("Left out", ["Why", "How many", "For example"], passed_over)] * bool(passed_over)
    return tables + [Table("Equal images", ["Image", "Is equal to", "Class"], twice)] * bool(twice)


def frequent_confusions(
    matrix: Sequence[Sequence[int]] | None, class_names: Sequence[str], most: int = 10
) -> list[dict[str, Any]]:
    """The largest cells off the diagonal: {"true", "predicted", "count", "share" of the true class, "back"}.

    "back" counts the other direction: images of the predicted class that were taken for the true one. Of equal counts
    the larger share comes first.
    """
    if matrix is None:
        return []
    cells: list[dict[str, Any]] = [
        {
            "true": class_names[i],
            "predicted": class_names[j],
            "count": int(cell),
            "share": cell / sum(row),
            "back": int(matrix[j][i]),
        }
        for i, row in enumerate(matrix)
        for j, cell in enumerate(row)
        if i != j and cell > 0
    ]
    return sorted(cells, key=lambda cell: (-cell["count"], -cell["share"]))[:most]

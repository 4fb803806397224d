"""The report of a run: one page, and event files for TensorBoard."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from jaxtl.config.tree import leaves
from jaxtl.report import comparison_tables as compared
from jaxtl.report import figures as run_figures
from jaxtl.report.comparison import Comparison
from jaxtl.report.figures import Gallery
from jaxtl.report.page import write_page
from jaxtl.report.remarks import on_start, on_training
from jaxtl.report.run import Summary, Trained
from jaxtl.report.statistics import accuracy_interval
from jaxtl.report.tables import Table
from jaxtl.report.tensorboard import write_events
from jaxtl.report.text import duration, integer
from jaxtl.runs.folder import RunFolder
from jaxtl.runtime.environment import describe, invocation
from jaxtl.train.evaluate import Evaluation


def write_report(
    config: Mapping[str, Any],
    folder: RunFolder,
    trained: Trained,
    found: Evaluation,
    summary: Summary,
    comparison: Comparison | None,
) -> None:
    """Pictures, page and event files; where there is a comparison, it is added to the summary."""
    if comparison:
        summary["comparison"] = comparison.record()
    figures = run_figures.draw(config=config, trained=trained, found=found, comparison=comparison)
    took = duration(summary["time"]["total_s"])
    environment = {**invocation(), **describe(), "seed": config["seed"], "wall time": took}
    history = trained.fitted.history
    write_run_page(folder.report, config, summary, history, figures, comparison, environment)
    last = {f"test/{name}": summary["test"][name] for name in ("accuracy", "loss", "precision", "recall", "f1")}
    write_events(folder.tensorboard, history, figures, last)


def write_run_page(
    path: Path,
    config: Mapping[str, Any],
    summary: Mapping[str, Any],
    history: Sequence[Mapping[str, Any]],
    figures: Mapping[str, Figure | Gallery],
    comparison: Comparison | None,
    environment: Mapping[str, Any],
) -> None:
    """Write the page of a run, from the resolved config, the content of ``summary.json``, and all figures.

    The history has one mapping an epoch, see ``plots.curves``; the environment is versions, device, commit, time.
    """
    test, data = summary["test"], summary["data"]
    write_page(
        path,
        "run.html",
        figures,
        title=config["name"],
        summary=summary,
        test=test,
        interval=accuracy_interval(test),
        data=data_tables(data),
        repeated=len(data["repeated"]),
        confusions=frequent_confusions(test),
        history=history,
        tables=[compared.runs_table(comparison), *compared.difference_tables(comparison)] if comparison else [],
        origins=[compared.origin_table(comparison), compared.settings_table(comparison)] if comparison else [],
        correction=compared.correction(comparison) if comparison else "",
        verdicts=compared.verdicts(comparison) if comparison else [],
        # JSON tells "1" from 1, which matters in a configuration only.
        config={name: json.dumps(value, ensure_ascii=False, default=str) for name, value in leaves(config)},
        environment=environment,
        notes=[
            *test["remarks"],
            *on_start(config.get("model", {})),
            *data["warnings"],
            *on_training(config["phases"]),
            *(comparison.notes if comparison else ()),
        ],
    )


def data_tables(data: Mapping[str, Any]) -> list[Table]:
    """What was read: images of each class in each part, original sizes, what was left out, and equal images.

    Args:
      data: of the summary, see ``jaxtl.data.overview.overview``.
    """
    parts = data["parts"]
    rows = [[name, *(integer(counts[k]) for counts in parts.values())] for k, name in enumerate(data["class_names"])]
    rows.append(["in all", *(integer(sum(counts)) for counts in parts.values())])
    sizes = [[name, f"{H} x {W}"] for name, (H, W) in (data["original_sizes"] or {}).items()]
    passed_over = [
        [f"{found['problem']}: {found['consequence']}", integer(found["n"]), found["example"]]
        for found in data["passed_over"]
    ]
    twice = [
        [f"{copy['part']} image {copy['image']}" for copy in group[:2]] + [", ".join({c["class"]: 0 for c in group})]
        for group in data["repeated"]
    ]
    tables = [
        Table("Images of each class", ["Class", *(part.capitalize() for part in parts)], rows),
        Table("Original sizes", ["Image", "Height x width, pixels"], sizes),
        Table("Left out", ["Why", "How many", "For example"], passed_over),
        Table("Equal images", ["Image", "Is equal to", "Class"], twice),
    ]
    return [table for table in tables if table.rows]


def frequent_confusions(test: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The ten largest cells off the diagonal: {"true", "predicted", "count", "share" of the true class, "back"}.

    "back" counts the other direction: images of the predicted class that were taken for the true one. Of equal counts
    the larger share comes first.
    """
    counts, names = np.array(test["confusion_matrix"]), [line["class"] for line in test["per_class"]]
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    off = counts * ~np.eye(len(counts), dtype=bool)
    cells = sorted(np.argwhere(off > 0).tolist(), key=lambda cell: (-counts[*cell], -shares[*cell]))[:10]
    return [
        {"true": names[i], "predicted": names[j], "count": counts[i, j], "share": shares[i, j], "back": counts[j, i]}
        for i, j in cells
    ]

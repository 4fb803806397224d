"""The report of a run: one page, and event files for TensorBoard."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from jaxtl.config.tree import leaves
from jaxtl.report import comparison_tables
from jaxtl.report import figures as run_figures
from jaxtl.report.comparison import Comparison
from jaxtl.report.figures import Gallery
from jaxtl.report.page import write_page
from jaxtl.report.run import Summary, Trained
from jaxtl.report.statistics import accuracy_interval
from jaxtl.report.tables import Table
from jaxtl.report.tensorboard import write_events
from jaxtl.report.text import duration, integer, loss, number, percent
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
        kicker="jaxtl run report",
        title=config["name"],
        summary=summary,
        test=test,
        interval=accuracy_interval(test),
        comparison=comparison,
        compared=comparison_tables,
        confusions=confusions_table(test),
        classes=classes_table(test),
        answered=answered_table(summary["calibration"]),
        data=data_tables(data),
        repeated=len(data["repeated"]),
        epochs=epochs_table(history, summary["best_epoch"]),
        tested=next((i for i, line in enumerate(history) if line["epoch"] == summary["best_epoch"]), None),
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


def on_start(model: Mapping[str, Any]) -> list[str]:
    """A sentence where a run started from ``model.fallback``; the fields are those of ``model``."""
    fell_back = model.get("fallback") and model.get("weights") == model["fallback"]
    return [f"It started from its fallback, the weights {model['fallback']}."] if fell_back else []


def on_training(phases: Sequence[Mapping[str, Any]]) -> list[str]:
    """Sentences on what the phases of a config did about rare classes, and which weights they validated."""
    found = []
    for i, phase in enumerate(phases):
        if phase.get("balanced_sampling"):
            found.append(f"Phase {i} drew every class equally often (balanced_sampling): its training curves do, too.")
        weights = phase.get("class_weights", "none")
        if weights != "none":
            by_class = weights if weights == "balanced" else ", ".join(f"{name} {w:g}" for name, w in weights.items())
            found.append(f"Phase {i} weighted its loss by class (class_weights: {by_class}), but not its curves.")
        if phase.get("ema"):
            found.append(f"Phase {i} validated and kept the moving average of its weights (ema={phase['ema']:g}).")
    return found


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


def confusions_table(test: Mapping[str, Any]) -> Table:
    """The ten largest cells off the diagonal; of equal counts the larger share of the true class comes first."""
    counts, names = np.array(test["confusion_matrix"]), [line["class"] for line in test["per_class"]]
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    off = counts * ~np.eye(len(counts), dtype=bool)
    cells = sorted(np.argwhere(off > 0).tolist(), key=lambda cell: (-counts[*cell], -shares[*cell]))[:10]
    rows = [
        [names[i], names[j], integer(counts[i, j]), percent(shares[i, j], 1), integer(counts[j, i])] for i, j in cells
    ]
    headings = ["True class", "Taken for", "Images", "Share of the true class", "The other way round"]
    return Table("Most confused pairs", headings, rows)


def classes_table(test: Mapping[str, Any]) -> Table:
    """Precision, recall and F1 of each class, and their means."""
    lines = [*test["per_class"], {**test, "class": "Macro mean", "support": test["n"]}]
    rows = [
        [of["class"], *(percent(of[score], 1) for score in ("precision", "recall", "f1")), integer(of["support"])]
        for of in lines
    ]
    return Table("Classification report", ["Class", "Precision", "Recall", "F1", "Images"], rows)


def answered_table(calibration: Mapping[str, Any]) -> Table:
    """What would be answered at each error rate."""
    rows = [
        [percent(line["max_error"], 0), *(percent(line[what]) for what in ("confidence", "answered", "error"))]
        for line in calibration["answered"]
    ]
    headings = ["Wrong on validation images, at most", "Confidence, at least", "Test images answered", "Of them wrong"]
    return Table("Answered", headings, rows)


def epochs_table(history: Sequence[Mapping[str, Any]], best_epoch: int | None) -> Table:
    """A line an epoch; the one whose weights were tested says so."""
    rows = [
        [
            line["phase"],
            f"{line['epoch']}{' (tested)' if line['epoch'] == best_epoch else ''}",
            *(loss(line.get(which)) for which in ("train_loss", "val_loss")),
            *(percent(line.get(which)) for which in ("train_accuracy", "val_accuracy")),
            number(line.get("learning_rate"), 3),
            integer(line.get("images_per_s")),
            duration(line.get("seconds")),
        ]
        for line in history
    ]
    headings = ["Phase", "Epoch", "Train loss", "Validation loss", "Train accuracy", "Validation accuracy"]
    return Table("Epochs", [*headings, "Learning rate", "Images/s", "Time"], rows)

"""The figures of an evaluation, on the screen and as a tree for JSON."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from jaxtl.report.remarks import majority, remarks
from jaxtl.report.statistics import classification_scores, wilson_interval
from jaxtl.report.text import duration, integer, loss, percent


def scores(
    confusion: np.ndarray, mean_loss: float, class_names: Sequence[str], present: Sequence[int]
) -> dict[str, Any]:
    """The keys of ``test`` in ``summary.json``, and ``interval``, the 95 % Wilson interval of the accuracy.

    Args:
      confusion: int ``[K, K]``, at least one image; rows are true classes.
      mean_loss: mean cross-entropy; what is not finite becomes ``None``.
      class_names: K names.
      present: the classes that the data set has. The macro means are over these, and ``per_class`` lists them.
    """
    found = classification_scores(confusion)
    lines = [{"class": class_names[k], **found["per_class"][k]} for k in present]
    n = int(confusion.sum())
    return {
        "accuracy": found["accuracy"],
        "interval": list(wilson_interval(int(np.trace(confusion)), n)),
        "loss": mean_loss if math.isfinite(mean_loss) else None,
        **{score: float(np.mean([line[score] for line in lines])) for score in ("precision", "recall", "f1")},
        "n": n,
        "majority": majority(confusion, class_names),
        "remarks": remarks(confusion, class_names),
        "class_names": list(class_names),
        "confusion_matrix": confusion.tolist(),
        "per_class": lines,
    }


def show(title: str, test: Mapping[str, Any], seconds: float, console: Console) -> None:
    """Print what ``scores`` gave: the figures, then a line a class."""
    table = Table(title=Text(title, "bold"), show_header=False, title_justify="left")
    table.add_column(style="bold")
    table.add_column()
    low, high = test["interval"]
    table.add_row("accuracy", f"{percent(test['accuracy'])} (95 % interval {percent(low)} to {percent(high)})")
    table.add_row(Text(f"always naming {test['majority']['class']}"), percent(test["majority"]["accuracy"]))
    table.add_row("loss", loss(test["loss"]))
    table.add_row("macro precision, recall, F1", ", ".join(percent(test[key]) for key in ("precision", "recall", "f1")))
    table.add_row("images", integer(test["n"]))
    table.add_row("time", duration(seconds))
    console.print(table)
    for remark in test["remarks"]:
        console.print(remark, highlight=False, markup=False, soft_wrap=True)
    classes = Table(box=SIMPLE_HEAD, collapse_padding=True)
    classes.add_column("class", overflow="fold")
    for heading in ("precision", "recall", "F1", "images"):
        classes.add_column(heading, justify="right", no_wrap=True)
    for line in test["per_class"]:
        shares = (percent(line[key]) for key in ("precision", "recall", "f1"))
        classes.add_row(Text(line["class"]), *shares, integer(line["support"]))
    console.print(classes)

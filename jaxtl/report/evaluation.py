"""The figures of a test or an evaluation, on the screen and as a tree for JSON."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from rich.console import Console

from jaxtl.report.remarks import majority, remarks
from jaxtl.report.statistics import accuracy_interval, calibration
from jaxtl.report.tables import Table, print_facts, print_table
from jaxtl.report.text import duration, integer, loss, percent
from jaxtl.train.evaluate import Evaluation
from jaxtl.train.scores import classification_scores


def scores(
    confusion: np.ndarray, mean_loss: float, class_names: Sequence[str], present: Sequence[int]
) -> dict[str, Any]:
    """The keys of ``test`` in ``summary.json``.

    Args:
      confusion: int ``[K, K]``, at least one image; rows are true classes.
      mean_loss: mean cross-entropy; what is not finite becomes ``None``.
      class_names: K names.
      present: the classes that ``per_class`` lists. The macro means are over those that have images.
    """
    found = classification_scores(confusion)
    return {
        "accuracy": found["accuracy"],
        "loss": mean_loss if math.isfinite(mean_loss) else None,
        **{score: found[score] for score in ("precision", "recall", "f1")},
        "n": int(confusion.sum()),
        "majority": majority(confusion, class_names),
        "remarks": remarks(confusion, class_names),
        "confusion_matrix": confusion.tolist(),
        "per_class": [{"class": class_names[k], **found["per_class"][k]} for k in present],
    }


def calibration_errors(found: Evaluation) -> dict[str, float]:
    """The expected calibration error at the temperature of an evaluation, and at temperature 1."""
    parts = {"calibration_error": found, "calibration_error_before": dataclasses.replace(found, temperature=1)}
    return {name: calibration(part.probability, found.predicted == found.labels)[1] for name, part in parts.items()}


def facts(test: Mapping[str, Any], kind: str = "") -> dict[str, str]:
    """The figures of ``test``, name -> value; names begin with the ``kind`` of images: ``"test "``."""
    low, high = accuracy_interval(test)
    found = {f"{kind}accuracy": f"{percent(test['accuracy'])} (95 % interval {percent(low)} to {percent(high)})"}
    if test.get("top5") is not None:
        found["true class among the top 5"] = percent(test["top5"])
    if test.get("majority"):
        found[f"always naming {test['majority']['class']}"] = percent(test["majority"]["accuracy"])
    found[f"{kind}loss"] = loss(test["loss"])
    found["macro precision, recall, F1"] = ", ".join(percent(test[score]) for score in ("precision", "recall", "f1"))
    if test.get("calibration_error_before") is not None:
        after, before = percent(test["calibration_error"]), percent(test["calibration_error_before"])
        note = "" if after == before else f" ({before} before temperature scaling)"
        found["calibration error (ECE)"] = after + note
    return {**found, f"{kind}images": integer(test["n"])}


def show(title: str, test: Mapping[str, Any], seconds: float, console: Console) -> None:
    """Print what ``scores`` gave: the figures, then a line a class."""
    print_facts(title, {**facts(test), "time": duration(seconds)}, console)
    for remark in test["remarks"]:
        console.print(remark, highlight=False, markup=False, soft_wrap=True)
    rows = [
        [line["class"], *(percent(line[score]) for score in ("precision", "recall", "f1")), integer(line["support"])]
        for line in test["per_class"]
    ]
    print_table(Table("", ["class", "precision", "recall", "F1", "images"], rows), console)

"""The figures of a test or an evaluation, on the screen and as a tree for JSON."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console

from jaxtl.report.remarks import majority, remarks_on
from jaxtl.report.statistics import accuracy_interval, calibration
from jaxtl.report.tables import Table, print_facts, print_table
from jaxtl.report.text import duration, integer, loss, percent
from jaxtl.train.evaluate import Evaluation
from jaxtl.train.scores import classification_scores


def scores(found: Evaluation, class_names: Sequence[str], present: Sequence[int]) -> dict[str, Any]:
    """The keys of ``test`` in ``summary.json``.

    Args:
      found: of at least one image; a loss that is not finite becomes ``None``.
      class_names: K names.
      present: the classes that ``per_class`` lists. The macro means are over those that have images.
    """
    scored, right = classification_scores(found.confusion), found.predicted == found.labels
    return {
        "accuracy": scored["accuracy"],
        "loss": found.loss if math.isfinite(found.loss) else None,
        **{score: scored[score] for score in ("precision", "recall", "f1")},
        "n": int(found.confusion.sum()),
        "majority": majority(found.confusion, class_names),
        "remarks": remarks_on(found.confusion, class_names),
        "confusion_matrix": found.confusion.tolist(),
        "per_class": [{"class": class_names[k], **scored["per_class"][k]} for k in present],
        **({"top5": float((found.ranks < 5).mean())} if len(class_names) > 10 else {}),
        "calibration_error": calibration(found.probability, right)[1],
        "calibration_error_before": calibration(dataclasses.replace(found, temperature=1).probability, right)[1],
    }


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


def show(title: str, test: Mapping[str, Any], seconds: float, remarks: Sequence[str], console: Console) -> None:
    """Print what ``scores`` gave: the figures, a line a class, and what else to know."""
    print_facts(title, {**facts(test), "time": duration(seconds)}, console)
    rows = [
        [line["class"], *(percent(line[score]) for score in ("precision", "recall", "f1")), integer(line["support"])]
        for line in test["per_class"]
    ]
    print_table(Table("", ["class", "precision", "recall", "F1", "images"], rows), console)
    for remark in (*test["remarks"], *remarks):
        console.print(remark, highlight=False, markup=False, soft_wrap=True)

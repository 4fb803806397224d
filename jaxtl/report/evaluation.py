"""The figures of a test or an evaluation, on the screen and as a tree for JSON, and what to know of them."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from rich.console import Console

from jaxtl.errors import listed
from jaxtl.report.statistics import accuracy_interval, calibration, wilson_interval
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


def majority(confusion: np.ndarray, class_names: Sequence[str]) -> dict[str, Any]:
    """What naming the largest class of the test images every time would get: {"class", "accuracy"}."""
    support = np.asarray(confusion).sum(axis=1)
    return {"class": class_names[int(support.argmax())], "accuracy": float(support.max() / support.sum())}


def remarks_on(confusion: np.ndarray, class_names: Sequence[str]) -> list[str]:
    """Sentences on a model that has learned nothing, that never names a class, and on classes without test images.

    Args:
      confusion: int [K, K], at least one image; rows are true classes, columns predicted ones.
      class_names: K names.
    """
    confusion = np.asarray(confusion)
    support, predicted = confusion.sum(axis=1), confusion.sum(axis=0)
    right, n = int(np.trace(confusion)), int(confusion.sum())
    found, always = [], majority(confusion, class_names)
    same = f"always naming “{always['class']}”, which gets {percent(always['accuracy'])} of the test images right"
    if (support > 0).sum() > 1:
        if right / n <= always["accuracy"]:
            found.append(
                f"The model is no better than {same}: it may not have learned at all. Try a lower learning rate, more "
                "epochs, or other weights to start from."
            )
        elif wilson_interval(right, n)[0] <= always["accuracy"]:
            found.append(f"The test cannot tell the model from {same}.")
    if unnamed := [class_names[k] for k in np.flatnonzero((predicted == 0) & (support > 0)).tolist()]:
        named = int((predicted > 0).sum())
        found.append(f"The model names {named} of {len(class_names)} classes; it never names {_listed(unnamed)}.")
    if untested := [class_names[k] for k in np.flatnonzero(support == 0).tolist()]:
        found.append(f"Without test images, and so left out of the macro means: {_listed(untested)}.")
    return found


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


def _listed(names: Sequence[str]) -> str:
    return listed([f"“{name}”" for name in names], 5)

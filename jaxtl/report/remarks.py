"""What to know of the figures of a test before one believes them, in sentences."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxtl.errors import listed
from jaxtl.report.statistics import wilson_interval
from jaxtl.report.text import percent


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


def _listed(names: Sequence[str]) -> str:
    return listed([f"“{name}”" for name in names], 5)

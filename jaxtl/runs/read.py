"""Read a finished run for comparisons."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jaxtl.config import SOURCE
from jaxtl.config.tree import leaves
from jaxtl.report.comparison import FinishedRun
from jaxtl.runs.files import RunFiles
from jaxtl.runs.folder import identity
from jaxtl.runtime.files import read_object


def read_run(folder: Path, summary: Mapping[str, Any] | None = None) -> FinishedRun:
    """Read a finished run, and check that its files agree.

    Args:
      folder: of the run.
      summary: the content of ``summary.json``, where that file is not written yet.

    Raises:
      UserError: a file is missing, damaged, or does not agree with another.
    """
    files = RunFiles(folder)
    config, history, predictions = files.config(), files.history(), files.predictions()
    with files.explained(files.CONFIG):
        settings, environment = config["config"], config.get("environment", {})
        of_config: dict[str, Any] = {
            "description": _in_words(settings),
            "model": str(settings.get("model", {}).get("name", "")),
            "device": str(environment.get("device", "")),
            "reported": str(settings.get("reported") or ""),
            "settings": dict(leaves(identity(settings))),
            "per_class": count if isinstance(count := settings.get("data", {}).get("per_class"), int) else 0,
        }
    with files.explained(files.SUMMARY):
        summary = summary or read_object(folder / files.SUMMARY)
        test, times, params = summary["test"], summary["time"], summary["params"]
        scores: dict[str, Any] = {score: _share(test[score]) for score in ("accuracy", "precision", "recall", "f1")}
        seconds: dict[str, Any] = {what: _amount(times[what]) for what in ("train_s", "inference_s")}
        total, trained = int(_amount(params["total"])), int(_amount(params["trainable"]))
        class_names = tuple(str(line["class"]) for line in test["per_class"])
        confusion = np.array(test["confusion_matrix"], np.int64)
        n, correct = int(confusion.sum()), int(np.trace(confusion))
        if confusion.shape != (len(class_names), len(class_names)) or n != test["n"] or n == 0:
            raise ValueError("confusion_matrix does not fit per_class and n")
        if round(scores["accuracy"] * n) != correct:
            raise ValueError(f"accuracy is {scores['accuracy']}, but confusion_matrix has {correct} of {n} right")
    with files.explained(files.HISTORY):
        tested = [line for line in history if line["epoch"] == summary.get("best_epoch")]
        val_accuracy = tested[-1].get("val_accuracy") if tested else None
        val_accuracy = None if val_accuracy is None else _share(val_accuracy)
    with files.explained(files.PREDICTIONS):
        lines = [(next(iter(line.values())), line["true"], line["predicted"]) for line in predictions]  # index or path
        right = np.array([true == predicted for _, true, predicted in lines], bool)
        if (len(lines), right.sum()) != (n, correct):
            raise ValueError(f"{right.sum()} of {len(lines)} are right, but {files.SUMMARY} counts {correct} of {n}")
    return FinishedRun(
        name=str(summary.get("name") or folder.name),
        folder=str(folder),
        params_total=total,
        params_trained=trained,
        class_names=class_names,
        confusion=confusion,
        history=history,
        val_accuracy=val_accuracy,
        test_images=tuple((index, true) for index, true, _ in lines),
        right=right,
        **of_config,
        **scores,
        **seconds,
    )


def _in_words(settings: Mapping[str, Any]) -> str:
    """How a run was trained, in one line."""
    weights = settings.get("model", {}).get("weights", "")
    start = {"": "random weights", SOURCE: "weights of the source"}.get(weights, weights)
    steps = [f"{phase['epochs']} epochs of {'+'.join(phase['train'])}" for phase in settings.get("phases", ())]
    return f"from {start}: {', then '.join(steps) or 'as they are'}"


def _share(value: float) -> float:
    if not 0 <= value <= 1:
        raise ValueError(f"{value!r} is not a share between 0 and 1")
    return float(value)


def _amount(value: float) -> float:
    if not 0 <= value < float("inf"):
        raise ValueError(f"{value!r} is not an amount")
    return float(value)

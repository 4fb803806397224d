"""A finished run, read back from its folder."""

import csv
import json
from pathlib import Path

import numpy as np

from jaxtl.report.comparison.finished import FinishedRun
from jaxtl.runs.read_json import damage_explained, read_object

CONFIG, SUMMARY, HISTORY, PREDICTIONS = "config.json", "summary.json", "metrics.jsonl", "predictions.csv"


def read_run(folder: Path) -> FinishedRun:
    """Read a finished run, and check that its files agree.

    Raises:
      UserError: a file is missing, damaged, or at odds with another.
    """
    with damage_explained(folder / CONFIG):
        config = read_object(folder / CONFIG)
        settings, environment = config["config"], config.get("environment", {})
        model, device = settings.get("model", {}).get("name", ""), environment.get("device", "")
        reported = settings.get("reported") or ""
    with damage_explained(folder / SUMMARY):
        summary = read_object(folder / SUMMARY)
        test, times, params = summary["test"], summary["time"], summary["params"]
        accuracy, precision, recall, f1 = (_share(test[score]) for score in ("accuracy", "precision", "recall", "f1"))
        train_s, inference_s = _amount(times["train_s"]), _amount(times["inference_s"])
        total, trained = int(_amount(params["total"])), int(_amount(params["trainable"]))
        class_names = tuple(str(line["class"]) for line in test["per_class"])
        confusion = np.array(test["confusion_matrix"], np.int64)
        n, correct = int(confusion.sum()), int(np.trace(confusion))
        if confusion.shape != (len(class_names), len(class_names)) or n != test["n"] or n == 0:
            raise ValueError("confusion_matrix does not fit per_class and n")
        if round(accuracy * n) != correct:
            raise ValueError(f"accuracy is {accuracy}, but confusion_matrix has {correct} of {n} right")
    with damage_explained(folder / HISTORY):
        history = [json.loads(line) for line in (folder / HISTORY).read_text().splitlines()]
        if not all(isinstance(line, dict) and isinstance(line["epoch"], int) for line in history):
            raise ValueError("a line is not one of an epoch")
    with damage_explained(folder / PREDICTIONS), (folder / PREDICTIONS).open(newline="", encoding="utf-8") as file:
        table = csv.DictReader(file)
        name_of = (table.fieldnames or ["index"])[0]  # index or path
        lines = [(line[name_of], line["true"], line["predicted"]) for line in table]
        right = np.array([true == predicted for _, true, predicted in lines], bool)
        if (len(lines), right.sum()) != (n, correct):
            raise ValueError(f"{right.sum()} of {len(lines)} are right, but {SUMMARY} counts {correct} of {n}")
    return FinishedRun(
        name=str(summary.get("name") or folder.name),
        folder=str(folder),
        model=str(model),
        device=str(device),
        reported=str(reported),
        accuracy=accuracy,
        precision=precision,
        recall=recall,
        f1=f1,
        train_s=train_s,
        inference_s=inference_s,
        params_total=total,
        params_trained=trained,
        class_names=class_names,
        confusion=confusion,
        history=history,
        test_images=tuple((index, true) for index, true, _ in lines),
        right=right,
    )


def _share(value: float) -> float:
    if not 0 <= value <= 1:
        raise ValueError(f"{value!r} is no share between 0 and 1")
    return float(value)


def _amount(value: float) -> float:
    if not 0 <= value < float("inf"):
        raise ValueError(f"{value!r} is no amount")
    return float(value)

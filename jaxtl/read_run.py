"""A finished run, read back from its folder."""

import contextlib
import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from jaxtl.errors import UserError
from jaxtl.report.comparison.finished import FinishedRun

CONFIG, SUMMARY, HISTORY, PREDICTIONS = "config.json", "summary.json", "metrics.jsonl", "predictions.csv"


def read_run(folder: Path) -> FinishedRun:
    """Read a finished run, and check that its files agree.

    Raises:
      UserError: a file is missing, damaged, or at odds with another.
    """
    with _damage_explained(folder / CONFIG):
        config = _object(folder / CONFIG)
        settings, environment = config["config"], config.get("environment", {})
        model, device = settings.get("model", {}).get("name", ""), environment.get("device", "")
        reported = settings.get("reported") or ""
    with _damage_explained(folder / SUMMARY):
        summary = _object(folder / SUMMARY)
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
    with _damage_explained(folder / HISTORY):
        history = [json.loads(line) for line in (folder / HISTORY).read_text().splitlines()]
        if not all(isinstance(line, dict) and isinstance(line["epoch"], int) for line in history):
            raise ValueError("a line is not one of an epoch")
    with _damage_explained(folder / PREDICTIONS), (folder / PREDICTIONS).open(newline="") as file:
        lines = [(line["index"], line["true"], line["predicted"]) for line in csv.DictReader(file)]
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


@contextlib.contextmanager
def _damage_explained(path: Path) -> Iterator[None]:
    """Turn what goes wrong while a file is read into a sentence."""
    try:
        yield
    except KeyError as error:
        raise _damaged(path, f"it has no {error}") from error
    except OSError as error:
        raise _damaged(path, error.strerror or str(error)) from error
    except (ValueError, TypeError, AttributeError, csv.Error) as error:
        raise _damaged(path, str(error)) from error


def _damaged(path: Path, what: str) -> UserError:
    return UserError(
        f"{path} cannot be used ({what}): it is damaged or of another version; restore it, run the experiment again in "
        "a new folder, or leave this run out."
    )


def _object(path: Path) -> dict[str, Any]:
    content = json.loads(path.read_text())
    if not isinstance(content, dict):
        raise ValueError("it is no JSON object")
    return content


def _share(value: float) -> float:
    if not 0 <= value <= 1:
        raise ValueError(f"{value!r} is no share between 0 and 1")
    return float(value)


def _amount(value: float) -> float:
    if not 0 <= value < float("inf"):
        raise ValueError(f"{value!r} is no amount")
    return float(value)

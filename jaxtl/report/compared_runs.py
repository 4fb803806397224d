"""Finished runs as they are compared: find them among folders, and read them."""

import dataclasses
import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxtl.config import SOURCE, kept_config
from jaxtl.config.tree import leaves
from jaxtl.data.image_files import shown
from jaxtl.errors import UserError
from jaxtl.report.statistics import wilson_interval
from jaxtl.runs.folder import identity
from jaxtl.runtime.files import read_object
from jaxtl.runtime.run_files import RunFiles


@dataclasses.dataclass(frozen=True)
class FinishedRun:
    """A finished run, as it is compared with others of any kind."""

    name: str  # in tables and charts; no other run of the comparison has it
    folder: str  # for the reader
    description: str  # how it was trained, in one line
    model: str  # its network
    device: str  # what it was trained on
    reported: str  # the figure that the study reports for it; may be empty
    accuracy: float  # on the test images, in [0, 1], as the macro means that follow
    precision: float
    recall: float
    f1: float
    train_s: float
    inference_s: float  # seconds for all its test images
    params_total: int
    params_trained: int  # those that any phase trained
    per_class: int  # training images of each class, 0 where all were taken
    class_names: tuple[str, ...]  # K names
    confusion: np.ndarray  # int [K, K], counts; rows are true classes, columns predicted ones
    history: Sequence[dict[str, Any]]  # lines of metrics.jsonl
    test_images: tuple[tuple[str, str], ...]  # (index, true class) of N test images
    right: np.ndarray  # bool [N], which of them it got right
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)  # path -> value of what figures depend on
    val_accuracy: float | None = None  # on validation images, after the epoch that was tested
    train_images: int = 0  # of all classes; 0 where the run does not say

    @property
    def interval(self) -> tuple[float, float]:
        """95 % Wilson interval of the accuracy."""
        return wilson_interval(int(self.right.sum()), len(self.right))

    @property
    def draw(self) -> tuple[int, int, int]:
        """Seed, split seed and fold."""
        seed, split_seed, fold = (self.settings.get(path, 0) for path in ("seed", "data.split_seed", "data.fold"))
        return seed, split_seed, fold

    @property
    def reported_point(self) -> tuple[float | None, float | None]:
        """The accuracy, in [0, 1], and the seconds of training that the study reports, where ``reported`` says so."""
        accuracy = re.match(r"~?(\d+(?:\.\d+)?) ?%", self.reported)
        time = re.search(r"(?:(\d+) min )?(\d+) s of training", self.reported)
        return accuracy and float(accuracy[1]) / 100, time and 60.0 * int(time[1] or 0) + int(time[2])

    def record(self) -> dict[str, Any]:
        """The figures, flat: a line of ``comparison.csv``. Times in seconds, shares in [0, 1]."""
        low, high = self.interval
        first = {"name": self.name, "accuracy": self.accuracy, "accuracy_low": low, "accuracy_high": high}
        others = (
            *("precision", "recall", "f1", "train_s", "inference_s", "params_total", "params_trained"),
            *("reported", "model", "device", "folder", "description"),
        )
        return {**first, "test_images": len(self.right), **{name: getattr(self, name) for name in others}}


def find_runs(
    folders: Sequence[Path], *, with_baselines: bool, ignored: Path, say: Callable[[str], None]
) -> list[FinishedRun]:
    """Read the finished runs among the folders.

    A folder of the seeds and folds of a config stands for these. A shell pattern like ``runs/*`` also names other
    things: what is not a run, or not finished yet, is skipped with a message.

    Args:
      folders: what to look at, in the order of the result.
      with_baselines: whether the baselines inside a run folder are taken too, after it.
      ignored: a folder that is skipped without a message: that of the comparison itself.
      say: gets a line for everything else that is skipped.

    Raises:
      UserError: a folder does not exist, a file of a run is damaged, or no finished run is left.
    """
    found: dict[Path, Path] = {}
    named: list[Path] = []
    for folder in folders:
        if not folder.exists():
            raise UserError(f"The run folder {folder} does not exist; correct the path, or leave it out.")
        for place in RunFiles(folder).repeats() or [folder]:
            named += [place, *(RunFiles(place).baselines() if with_baselines else [])]
    for folder in named:
        place = folder.resolve()
        if place in found:
            say(f"{folder} is named more than once: it is taken once.")
        elif reason := RunFiles(folder).unfinished():
            if place != ignored.resolve():
                say(f"Skipped {folder}: {reason}.")
        else:
            found[place] = folder
    if not found:
        raise UserError(
            f"No finished run is among the folders named; give work folders that hold {RunFiles.SUMMARY}, which "
            "python -m jaxtl.main writes last."
        )
    runs = [read_run(folder) for folder in found.values()]
    names = distinct_names([run.name for run in runs], [*found])
    return [dataclasses.replace(run, name=name) for run, name in zip(runs, names, strict=True)]


def distinct_names(names: Sequence[str], folders: Sequence[Path]) -> list[str]:
    """The names, made distinct: equal ones get their folder, relative to the common parent.

    >>> distinct_names(["cnn", "cnn", "vgg"], [Path("a/x"), Path("a/y"), Path("b")])
    ['cnn (x)', 'cnn (y)', 'vgg']
    """
    distinct = list(names)
    for i, name in enumerate(names):
        alike = [folder.absolute() for folder, other in zip(folders, names, strict=True) if other == name]
        if len(alike) > 1:
            common = os.path.commonpath([folder.parent for folder in alike])
            distinct[i] = f"{name} ({shown(os.path.relpath(folders[i].absolute(), common))})"
    return distinct


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
        settings, environment = kept_config(config["config"]), config.get("environment", {})
        of_config: dict[str, Any] = {
            "description": _in_words(settings),
            "model": str(settings.get("model", {}).get("name", "")),
            "device": str(environment.get("device", "")),
            "reported": _text(settings.get("reported") or ""),
            "settings": dict(leaves(identity(settings))),
            "per_class": count if isinstance(count := settings.get("data", {}).get("per_class"), int) else 0,
        }
    with files.explained(files.SUMMARY):
        summary = summary or read_object(folder / files.SUMMARY)
        test, times, params = summary["test"], summary["time"], summary["params"]
        scores: dict[str, Any] = {score: _share(test[score]) for score in ("accuracy", "precision", "recall", "f1")}
        seconds: dict[str, Any] = {what: _amount(times[what]) for what in ("train_s", "inference_s")}
        train_images = sum(summary.get("data", {}).get("parts", {}).get("training", []))
        total, trained = int(_amount(params["total"])), int(_amount(params["trainable"]))
        class_names, confusion = _checked_confusion(test)
        n, correct = int(confusion.sum()), int(np.trace(confusion))
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
        name=_text(summary.get("name") or folder.name),
        folder=str(folder),
        params_total=total,
        params_trained=trained,
        class_names=class_names,
        confusion=confusion,
        history=history,
        val_accuracy=val_accuracy,
        train_images=int(train_images),
        test_images=tuple((index, true) for index, true, _ in lines),
        right=right,
        **of_config,
        **scores,
        **seconds,
    )


def _checked_confusion(test: Mapping[str, Any]) -> tuple[tuple[str, ...], np.ndarray]:
    """Names of the classes and confusion matrix of a test, which agree with its other figures."""
    class_names = tuple(_text(line["class"]) for line in test["per_class"])
    confusion = np.array(test["confusion_matrix"], np.int64)
    n, correct = int(confusion.sum()), int(np.trace(confusion))
    if confusion.shape != (len(class_names), len(class_names)) or n != test["n"] or n == 0:
        raise ValueError("confusion_matrix does not fit per_class and n")
    if round(test["accuracy"] * n) != correct:
        raise ValueError(f"accuracy is {test['accuracy']}, but confusion_matrix has {correct} of {n} right")
    return class_names, confusion


def _in_words(settings: Mapping[str, Any]) -> str:
    """How a run was trained, in one line."""
    weights = settings.get("model", {}).get("weights", "")
    start = {"": "random weights", SOURCE: "weights of the source"}.get(weights, weights)
    steps = [f"{phase['epochs']} epochs of {'+'.join(phase['train'])}" for phase in settings.get("phases", ())]
    return f"from {start}: {', then '.join(steps) or 'as they are'}"


def _amount(value: float, most: float = np.finfo(float).max, kind: str = "an amount") -> float:
    if not 0 <= value <= most:
        raise ValueError(f"{value!r} is not {kind}")
    return float(value)


def _text(value: Any) -> str:
    """A text that can be drawn: JSON may hold halves of letters, and a name bytes of another encoding."""
    return str(value).encode(errors="backslashreplace").decode()


def _share(value: float) -> float:
    return _amount(value, 1, "a share between 0 and 1")

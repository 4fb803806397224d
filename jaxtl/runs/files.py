"""The files of a run: their names, and how each is read back."""

import contextlib
import csv
import io
import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from jaxtl.runtime.files import damage_explained, read_object


class RunFiles:
    """The files of a run by their names, read back with care.

    Attributes:
      path: the folder.
    """

    CONFIG, SUMMARY, HISTORY = "config.json", "summary.json", "metrics.jsonl"
    SPLIT, REMARKS, PREDICTIONS = "split.npz", "remarks.csv", "predictions.csv"
    CHECKPOINTS, TENSORBOARD, REPORT = "checkpoints", "tensorboard", "report"

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)

    @property
    def checkpoints(self) -> Path:
        """Folder of the checkpoints."""
        return self.path / self.CHECKPOINTS

    @property
    def tensorboard(self) -> Path:
        """Folder of the event files."""
        return self.path / self.TENSORBOARD

    @property
    def report(self) -> Path:
        """The report's page."""
        return self.path / self.REPORT / "index.html"

    @property
    def remarks(self) -> Path:
        """The table of what was noticed about the images."""
        return self.path / self.REMARKS

    def unfinished(self) -> str:
        """Why the folder does not hold a finished run; empty if it does."""
        if not self.path.is_dir():
            return "it is a file" if self.path.exists() else "it does not exist"
        if not (self.path / self.CONFIG).is_file():
            return f"it is not a run folder (it has no {self.CONFIG})"
        if not (self.path / self.SUMMARY).is_file():
            return f"its run is not finished (it has no {self.SUMMARY}); the same command goes on with it"
        return ""

    def explained(self, name: str) -> contextlib.AbstractContextManager[None]:
        """A context in which what is wrong with a file becomes a sentence about it."""
        return damage_explained(self.path / name)

    def config(self) -> dict[str, Any]:
        """``config.json``: ``config``, ``data`` and ``environment``.

        Raises:
          UserError: it is missing or damaged.
        """
        with self.explained(self.CONFIG):
            return read_object(self.path / self.CONFIG)

    def summary(self) -> dict[str, Any] | None:
        """``summary.json``, or ``None`` while the run is not finished.

        Raises:
          UserError: it is damaged.
        """
        if not (self.path / self.SUMMARY).exists():
            return None
        with self.explained(self.SUMMARY):
            return read_object(self.path / self.SUMMARY)

    def history(self) -> list[dict[str, Any]]:
        """The lines of ``metrics.jsonl``.

        Raises:
          UserError: it is missing or damaged.
        """
        with self.explained(self.HISTORY):
            content = (self.path / self.HISTORY).read_text(encoding="utf-8")
            lines = [json.loads(line) for line in content.splitlines()]
            if not all(isinstance(line, dict) and isinstance(line["epoch"], int) for line in lines):
                raise ValueError("a line is not one of an epoch")
            return lines

    def predictions(self) -> list[dict[str, str]]:
        """The lines of ``predictions.csv``.

        Raises:
          UserError: it is missing or damaged.
        """
        path = self.path / self.PREDICTIONS
        with self.explained(self.PREDICTIONS), path.open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))

    def split(self) -> dict[str, np.ndarray]:
        """``split.npz``: the ids of the images that train, validate and test.

        Raises:
          UserError: it is missing or damaged.
        """
        with self.explained(self.SPLIT):
            content = io.BytesIO((self.path / self.SPLIT).read_bytes())
            try:
                with np.load(content) as kept:
                    parts = dict(kept)
            except Exception as error:  # a damaged archive raises all kinds
                raise ValueError("it is not a file of arrays") from error
            for name in ("train", "validation"):
                if parts[name].ndim != 1:
                    raise ValueError(f"{name} is not a list of images")
            return parts

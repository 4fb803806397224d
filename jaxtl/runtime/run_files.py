"""Names of the files of a run, and their readers."""

import contextlib
import csv
import io
import json
import os
import re
from pathlib import Path
from typing import Any

import numpy as np

from jaxtl.errors import UserError
from jaxtl.runtime.files import damage_explained, read_object


class RunFiles:
    """The files of a run: their names, and readers that report a damaged file as a ``UserError``.

    Attributes:
      path: the folder.
      checkpoints: folder of the checkpoints.
      tensorboard: folder of the event files.
      report: the report's page.
      remarks: the table of what was noticed about the images.
    """

    CONFIG, SUMMARY, HISTORY = "config.json", "summary.json", "metrics.jsonl"
    SPLIT, REMARKS = "split.npz", "remarks.csv"
    PREDICTIONS, VALIDATION = "predictions.csv", "validation_predictions.csv"
    CHECKPOINTS, TENSORBOARD, REPORT = "checkpoints", "tensorboard", "report"
    SEARCH, BEST = "search.db", "best"  # of the folder of a search
    PRODUCTS = (HISTORY, SUMMARY, PREDICTIONS, VALIDATION, REMARKS, SPLIT, CHECKPOINTS, TENSORBOARD, REPORT)

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = path = Path(path)
        self.checkpoints, self.tensorboard = path / self.CHECKPOINTS, path / self.TENSORBOARD
        self.report, self.remarks = path / self.REPORT / "index.html", path / self.REMARKS

    def part(self, where: str) -> Path:
        """Run folder of the source, ``"source"``, or of a baseline, ``"baselines.NAME"``."""
        return self.path.joinpath(*where.split(".", 1))

    def baselines(self) -> list[Path]:
        """Run folders of the baselines, by name."""
        return sorted(path for path in (self.path / "baselines").glob("*") if path.is_dir())

    def repeats(self) -> list[Path]:
        """Run folders of the seeds and folds of a config, see ``jaxtl.config.repeats``; empty for a single run."""
        if (self.path / self.CONFIG).exists():
            return []
        parts = [file.parent for file in self.path.glob(f"*/{self.CONFIG}")]
        found = [path for path in parts if re.fullmatch(r"seed\d+(_fold\d+)?|fold\d+", path.name)]
        return sorted(found, key=lambda path: [int(number) for number in re.findall(r"\d+", path.name)])

    def unfinished(self) -> str:
        """Why the folder does not hold a finished run; empty if it does."""
        if not self.path.is_dir():
            return "it is a file" if self.path.exists() else "it does not exist"
        if repeats := self.repeats():
            return f"it holds several runs, for example {repeats[0]}"
        if not (self.path / self.CONFIG).is_file():
            if (self.path / self.SEARCH).exists():
                return f"it holds a search, whose best run is in {self.path / self.BEST} once it has ended"
            return f"it is not a run folder (it has no {self.CONFIG})"
        if not (self.path / self.SUMMARY).is_file():
            return f"its run is not finished (it has no {self.SUMMARY}); the same command continues it"
        return ""

    @classmethod
    def refuse_to_replace(cls, path: Path | None) -> None:
        """Refuse a place for a result where it would replace a file of a run.

        Raises:
          UserError: it would.
        """
        if not path:
            return
        for folder in path.parents:
            if (folder / cls.CONFIG).is_file() and path.relative_to(folder).parts[0] in (cls.CONFIG, *cls.PRODUCTS):
                raise UserError(f"{path} is a file of the run, which would be lost; choose another name with --out.")

    def explained(self, name: str) -> contextlib.AbstractContextManager[None]:
        """A context that turns errors while a file is read into a sentence about it."""
        return damage_explained(self.path / name)

    def config(self) -> dict[str, Any]:
        """``config.json``: ``config``, ``data`` and ``environment``."""
        with self.explained(self.CONFIG):
            content = read_object(self.path / self.CONFIG)
            if not isinstance(content["config"], dict):
                raise ValueError("its config is not a JSON object")
            return content

    def summary(self) -> dict[str, Any] | None:
        """``summary.json``, or ``None`` while the run is not finished."""
        if not (self.path / self.SUMMARY).exists():
            return None
        with self.explained(self.SUMMARY):
            return read_object(self.path / self.SUMMARY)

    def tested(self) -> str:
        """The digest of the weights that the run tested; "": it is not finished, or of an older version."""
        return str((self.summary() or {}).get("weights_sha256", ""))

    def history(self) -> list[dict[str, Any]]:
        """The lines of ``metrics.jsonl``."""
        with self.explained(self.HISTORY):
            content = (self.path / self.HISTORY).read_text(encoding="utf-8")
            lines = [json.loads(line) for line in content.splitlines()]
            if not all(map(_is_epoch, lines)):
                raise ValueError("a line is not one of an epoch")
            return lines

    def predictions(self, name: str = PREDICTIONS) -> list[dict[str, str]]:
        """The lines of ``predictions.csv``, or of ``validation_predictions.csv``."""
        with self.explained(name), (self.path / name).open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))

    def split(self) -> dict[str, np.ndarray]:
        """``split.npz``: the ids of the images that train, validate and test."""
        with self.explained(self.SPLIT):
            content = io.BytesIO((self.path / self.SPLIT).read_bytes())
            try:
                with np.load(content) as kept:
                    parts = dict(kept)
            except Exception as error:  # a damaged archive raises all kinds
                raise ValueError("it is not a file of arrays") from error
            for name in ("train", "validation", "test"):
                if parts[name].ndim != 1:
                    raise ValueError(f"{name} is not a list of images")
            return parts


def _is_epoch(line: Any) -> bool:
    """Whether a line of ``metrics.jsonl`` has an epoch, and numbers but for the name of the phase."""
    is_line = isinstance(line, dict) and isinstance(line["epoch"], int)
    return is_line and all(isinstance(value, int | float | None) for name, value in line.items() if name != "phase")

"""The folder of one run: what is written where, and whose folder it is."""

import csv
import json
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxtl.config import differences
from jaxtl.errors import UserError


class RunFolder:
    """The files of a run, under the names that DESIGN gives them.

    Opening a folder that holds the same config continues its run; the differences to another config are named.

    Attributes:
      path: the folder.
    """

    def __init__(self, path: pathlib.Path, config: Mapping[str, Any], environment: Mapping[str, str]) -> None:
        self.path = path
        try:
            path.mkdir(parents=True, exist_ok=True)
            self._claim(config, environment)
        except OSError as error:
            raise UserError(
                f"The work folder {path} cannot be written ({error.strerror}); choose another with --workdir."
            ) from error

    def _claim(self, config: Mapping[str, Any], environment: Mapping[str, str]) -> None:
        claimed = self.path / "config.json"
        if claimed.exists():
            try:
                before = json.loads(claimed.read_text())["config"]
            except (ValueError, KeyError) as error:
                raise UserError(
                    f"{claimed} is not the config of a run ({error}); choose another folder with --workdir."
                ) from error
            if changed := differences(before, config):
                raise UserError(
                    f"The work folder {self.path} holds another run, which differs in "
                    f"{'; '.join(changed)}: choose another with --workdir, or remove it to start over."
                )
        # Written again when a run continues: the environment is that of the process that ends it.
        self._write("config.json", json.dumps({"config": config, "environment": environment}, indent=2) + "\n")

    @property
    def checkpoints(self) -> pathlib.Path:
        """Folder of the checkpoints."""
        return self.path / "checkpoints"

    @property
    def tensorboard(self) -> pathlib.Path:
        """Folder of the event files."""
        return self.path / "tensorboard"

    @property
    def report(self) -> pathlib.Path:
        """The report's page."""
        return self.path / "report" / "index.html"

    def summary(self) -> dict[str, Any] | None:
        """``summary.json``, or ``None`` while the run is not finished."""
        path = self.path / "summary.json"
        return json.loads(path.read_text()) if path.exists() else None

    def write_summary(self, summary: Mapping[str, Any]) -> None:
        """Write ``summary.json``: the mark of a finished run."""
        self._write("summary.json", json.dumps(summary, indent=2) + "\n")

    def write_history(self, history: Sequence[Mapping[str, Any]]) -> None:
        """Write ``metrics.jsonl`` anew, one line an epoch."""
        self._write("metrics.jsonl", "".join(json.dumps(line) + "\n" for line in history))

    def append_line(self, line: Mapping[str, Any]) -> None:
        """Append one epoch to ``metrics.jsonl``."""
        with (self.path / "metrics.jsonl").open("a") as file:
            file.write(json.dumps(line) + "\n")

    def history(self) -> list[dict[str, Any]]:
        """The lines of ``metrics.jsonl``."""
        return [json.loads(line) for line in (self.path / "metrics.jsonl").read_text().splitlines()]

    def write_split(self, train: np.ndarray, validation: np.ndarray) -> None:
        """Write ``split.npz``: which images of the official training split train, and which validate."""
        draft = self.path / ".split.npz"
        np.savez_compressed(draft, train=train, validation=validation)
        draft.replace(self.path / "split.npz")

    def write_predictions(
        self,
        indices: np.ndarray,
        labels: np.ndarray,
        predicted: np.ndarray,
        probability: np.ndarray,
        class_names: Sequence[str],
    ) -> None:
        """Write ``predictions.csv``.

        Args:
          indices: int ``[N]``, positions in the official test split.
          labels: int ``[N]``.
          predicted: int ``[N]``.
          probability: float ``[N]``, of the predicted class.
          class_names: K names.
        """
        draft = self.path / ".predictions.csv"
        with draft.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(("index", "true", "predicted", "probability"))
            for index, label, guess, p in zip(indices, labels, predicted, probability, strict=True):
                writer.writerow((index, class_names[label], class_names[guess], f"{p:.6f}"))
        draft.replace(self.path / "predictions.csv")

    def predictions(self) -> list[dict[str, str]]:
        """The lines of ``predictions.csv``."""
        with (self.path / "predictions.csv").open(newline="") as file:
            return list(csv.DictReader(file))

    def _write(self, name: str, text: str) -> None:
        """Write a file whole or not at all, also on a disk that fills up in the middle."""
        draft = self.path / f".{name}.{os.getpid()}"
        try:
            draft.write_text(text)
            draft.replace(self.path / name)
        finally:
            draft.unlink(missing_ok=True)

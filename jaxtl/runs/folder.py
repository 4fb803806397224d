"""The folder of one run: what is written where, and whose folder it is."""

import contextlib
import csv
import json
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from jaxtl.config.tree import differences, leaves, plain, without
from jaxtl.errors import UserError
from jaxtl.runtime.files import file_lock
from jaxtl.runtime.processes import is_main_process

# What a run leaves beside config.json.
_PRODUCTS = (
    "metrics.jsonl",
    "summary.json",
    "predictions.csv",
    "remarks.csv",
    "split.npz",
    "checkpoints",
    "tensorboard",
    "report",
)


# Fields that no figure depends on. Which images a folder holds is seen by their names, in split.npz.
_INCIDENTAL = ("data.dir", "data.download", "data.stream", "data.workers", "checkpoint_every_s", "reported")


class RunFolder:
    """The files of a run, under the names that README lists; a context that no other process can enter.

    Opening a folder that holds the same config continues its run; another config is refused, and the fields in which
    it differs are named.

    Attributes:
      path: the folder.

    Raises:
      UserError: if the folder holds something else, is in use, or cannot be made.
    """

    def __init__(self, path: pathlib.Path, config: Mapping[str, Any]) -> None:
        self.path, self._config = path, config
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(
                f"The work folder {path} cannot be made ({error.strerror}); choose another with --workdir."
            ) from error
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(file_lock(path / ".lock", wait=False))
            except BlockingIOError as error:
                raise UserError(
                    f"Another process is running in the work folder {path}; wait for it, or choose another with "
                    "--workdir."
                ) from error
            except OSError:
                pass  # a folder that can only be read, or a network file system without locks: then without
            self._refuse_another()
            self._lock = stack.pop_all()

    def __enter__(self) -> "RunFolder":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Let other processes in."""
        self._lock.close()

    def begin(self, environment: Mapping[str, str], data: Mapping[str, Any]) -> None:
        """Write ``config.json``: from here on the folder belongs to this config.

        Written again when a run continues: the environment is that of the process that ends it.

        Args:
          environment: versions, device, commit.
          data: what others need to know of the images: ``image_shape`` and ``class_names``.
        """
        content = {"config": self._config, "data": data, "environment": environment}
        self._write("config.json", json.dumps(content, indent=2) + "\n")

    def _refuse_another(self) -> None:
        if not (self.path / "config.json").exists():
            if strange := [name for name in _PRODUCTS if (self.path / name).exists()]:
                raise UserError(
                    f"The work folder {self.path} has no config.json, but holds {', '.join(strange)}, which a run "
                    "would overwrite; choose another with --workdir."
                )
            return
        before = self._read("config.json").get("config")
        if not isinstance(before, dict):
            raise UserError(
                f"{self.path / 'config.json'} is not the config of a run; choose another folder with --workdir."
            )
        if changed := differences(*(identity(config) for config in (before, self._config))):
            raise UserError(
                f"The work folder {self.path} holds another run, which differs in {'; '.join(changed)}: "
                "choose another with --workdir, or remove it to start over."
            )

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

    @property
    def remarks(self) -> pathlib.Path:
        """The table of what was noticed about the images."""
        return self.path / "remarks.csv"

    def summary(self) -> dict[str, Any] | None:
        """``summary.json``, or ``None`` while the run is not finished."""
        return self._read("summary.json") if (self.path / "summary.json").exists() else None

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

    def write_split(self, train: np.ndarray, validation: np.ndarray, test: np.ndarray) -> None:
        """Write ``split.npz``: which images train, validate and test, by their ids.

        Raises:
          UserError: the run was begun with other images.
        """
        parts = {"train": train, "validation": validation, "test": test}
        if (self.path / "split.npz").exists():
            with np.load(self.path / "split.npz") as before:
                same = all(name not in before or np.array_equal(before[name], ids) for name, ids in parts.items())
            if not same:
                raise UserError(
                    f"The run in {self.path} was begun with other images: files have come or gone since; restore them, "
                    "or start over in another work folder with --workdir."
                )
            return
        draft = self.path / ".split.npz"
        np.savez_compressed(draft, **parts)  # type: ignore[arg-type]  # arrays by their names
        draft.replace(self.path / "split.npz")

    def write_remarks(self, remarks: Sequence[tuple[str, str, str]]) -> None:
        """Write ``remarks.csv``, what was noticed about the images: (place, problem, consequence); none: no file."""
        if remarks:
            self._write_table(self.remarks, (("place", "problem", "consequence"), *remarks))
        else:
            self.remarks.unlink(missing_ok=True)

    def write_predictions(
        self,
        ids: np.ndarray,
        labels: np.ndarray,
        predicted: np.ndarray,
        probability: np.ndarray,
        class_names: Sequence[str],
    ) -> None:
        """Write ``predictions.csv``.

        Args:
          ids: ``[N]``, positions in the official test split, or paths.
          labels: int ``[N]``.
          predicted: int ``[N]``.
          probability: float ``[N]``, of the predicted class.
          class_names: K names.
        """
        what = "path" if ids.dtype.kind == "U" else "index"
        rows = (
            (name, class_names[label], class_names[guess], f"{p:.6f}")
            for name, label, guess, p in zip(ids, labels, predicted, probability, strict=True)
        )
        self._write_table(self.path / "predictions.csv", ((what, "true", "predicted", "probability"), *rows))

    def predictions(self) -> list[dict[str, str]]:
        """The lines of ``predictions.csv``."""
        with (self.path / "predictions.csv").open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))

    def _read(self, name: str) -> dict[str, Any]:
        path = self.path / name
        try:
            content = json.loads(path.read_text())
        except (ValueError, OSError) as error:
            raise UserError(f"{path} cannot be read ({error}); choose another folder with --workdir.") from error
        if not isinstance(content, dict):
            raise UserError(f"{path} is not a file of a run; choose another folder with --workdir.")
        return content

    def _write_table(self, path: pathlib.Path, rows: Iterable[Sequence[Any]]) -> None:
        draft = path.with_name(f".{path.name}")
        with draft.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows(rows)
        draft.replace(path)

    def _write(self, name: str, text: str) -> None:
        """Write a file whole or not at all, also on a disk that fills up in the middle."""
        draft = self.path / f".{name}"
        try:
            draft.write_text(text)
            draft.replace(self.path / name)
        finally:
            draft.unlink(missing_ok=True)


class NullRunFolder(RunFolder):
    """The run folder of a process that is not the main one: nothing is read, nothing is written."""

    def __init__(self, path: pathlib.Path) -> None:
        self.path, self._lock = path, contextlib.ExitStack()

    def begin(self, environment: Mapping[str, str], data: Mapping[str, Any]) -> None:
        """Nothing."""

    def summary(self) -> dict[str, Any] | None:
        """``None``, finished or not."""
        return None

    def write_history(self, history: Sequence[Mapping[str, Any]]) -> None:
        """Nothing."""

    def append_line(self, line: Mapping[str, Any]) -> None:
        """Nothing."""

    def write_split(self, train: np.ndarray, validation: np.ndarray, test: np.ndarray) -> None:
        """Nothing."""

    def write_remarks(self, remarks: Sequence[tuple[str, str, str]]) -> None:
        """Nothing."""


def open_folder(path: pathlib.Path, config: Mapping[str, Any]) -> RunFolder:
    """The folder of a run that this process computes, alone or with others; the main process keeps it.

    Raises:
      UserError: see `RunFolder`.
    """
    return RunFolder(path, config) if is_main_process() else NullRunFolder(path)


def identity(config: Mapping[str, Any]) -> Any:
    """The config without the fields that no figure depends on: these may change while a run is going on."""
    tree = plain(config)
    return without(tree, {path for path, _ in leaves(tree) if path.endswith(_INCIDENTAL)})

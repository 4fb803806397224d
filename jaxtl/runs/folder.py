"""The folder of a run while it is computed: its lock, and the files that are written."""

import contextlib
import io
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxtl.config.build import kept_config
from jaxtl.config.tree import differences, leaves, plain, without
from jaxtl.data.dataset import Dataset
from jaxtl.data.image_files import shown
from jaxtl.data.prepare import Splits
from jaxtl.errors import UserError
from jaxtl.runtime.files import csv_text, file_lock, write_errors_explained, write_whole
from jaxtl.runtime.processes import broadcast, is_main_process
from jaxtl.runtime.run_files import RunFiles

# Fields that no result depends on. Which images a folder holds is seen by their names, in split.npz.
_INCIDENTAL = (
    *("data.dir", "data.download", "data.stream", "data.workers"),
    *("checkpoint_every_s", "keep_features_gb", "reported", "model.fallback"),
)


class RunFolder(RunFiles):
    """The folder of a run that this process computes: a context manager that no other process can enter.

    A folder that holds the same config continues its run; another config is refused, and the fields in which it differs
    are named. Where several processes compute a run, the main one alone opens, reads and writes it.

    Attributes:
      path: the folder.

    Raises:
      UserError: if the folder holds something else, is in use, or cannot be created.
    """

    def __init__(self, path: pathlib.Path, config: Mapping[str, Any]) -> None:
        super().__init__(path)
        self._config, self._lock = config, contextlib.ExitStack()
        if not is_main_process():
            return
        make_work_folder(path)
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
        self._lock.close()

    def _refuse_another(self) -> None:
        if several := self.repeats():
            raise UserError(
                f"The work folder {self.path} holds the runs of several seeds or folds ({several[0].name}, …); choose "
                "another with --workdir."
            )
        if not (self.path / self.CONFIG).exists():
            if strange := [name for name in (*self.PRODUCTS, self.SEARCH) if (self.path / name).exists()]:
                raise UserError(
                    f"The work folder {self.path} has no {self.CONFIG}, but holds {', '.join(strange)}, which a run "
                    "would overwrite; choose another with --workdir."
                )
            return
        with self.explained(self.CONFIG):
            before = kept_config(self.config()["config"])
            changed = differences(identity(before), identity(kept_config(self._config)))
        if changed:
            raise UserError(
                f"The work folder {self.path} holds another run, which differs in {'; '.join(changed)}: "
                "choose another with --workdir, or remove it to start over."
            )

    def finished(self) -> dict[str, Any] | None:
        """``summary.json``, in all processes; ``None`` while the run is not finished."""
        found: dict[str, Any] | None = broadcast(self.summary() if is_main_process() else None)
        return found

    def begin(self, environment: Mapping[str, str], splits: Splits) -> None:
        """Write what is known before training: from here on the folder belongs to this config and these images.

        ``config.json`` is written again when a run continues: its environment is that of the process that ends the run.

        Args:
          environment: versions, device, commit.
          splits: the images.

        Raises:
          UserError: the run was begun with other images.
        """
        seen = {"image_shape": splits.train.image_shape, "class_names": splits.train.class_names}
        held_out = splits.validation.ids if splits.validation else splits.train.ids[:0]
        self.write_config(environment, seen)
        self.write_split(splits.train.ids, held_out, splits.test.ids)
        self.write_remarks(splits.remarks)

    def write_config(self, environment: Mapping[str, str], data: Mapping[str, Any]) -> None:
        """Write ``config.json``; ``data`` has the ``image_shape`` and the ``class_names`` of the images."""
        content = {"config": self._config, "data": data, "environment": environment}
        write_whole(self.path / self.CONFIG, json.dumps(content, indent=2) + "\n")

    def write_split(self, train: np.ndarray, validation: np.ndarray, test: np.ndarray) -> None:
        """Write ``split.npz``: which images train, validate and test, by their ids.

        Raises:
          UserError: the run was begun with other images.
        """
        parts = {"train": train, "validation": validation, "test": test}
        if (self.path / self.SPLIT).exists():
            before = self.split()
            if not all(np.array_equal(before[name], ids) for name, ids in parts.items()):
                raise UserError(
                    f"The run in {self.path} was begun with other images: files were added or removed since; restore "
                    "them, or start over in another work folder with --workdir."
                )
            return
        content = io.BytesIO()
        np.savez_compressed(content, **parts)  # type: ignore[arg-type]  # arrays by their names
        write_whole(self.path / self.SPLIT, content.getvalue())

    def write_remarks(self, remarks: Sequence[tuple[str, str, str]]) -> None:
        """Write ``remarks.csv``, what was noticed about the images: (place, problem, consequence); none: no file."""
        if remarks:
            write_whole(self.remarks, csv_text((("place", "problem", "consequence"), *remarks)))
        else:
            self.remarks.unlink(missing_ok=True)

    def write_history(self, history: Sequence[Mapping[str, Any]]) -> None:
        """Write ``metrics.jsonl`` from its start, one line an epoch, as the checkpoints have them.

        Raises:
          UserError: the file has other epochs.
        """
        before: list[str] = []
        with contextlib.suppress(UserError):  # there is none yet, or it is damaged and written again
            before = [json.dumps(line) for line in self.history()]
        lines = [json.dumps(line) for line in history]
        if any(old != new for old, new in zip(before, lines, strict=False)):
            raise UserError(
                f"The checkpoints in {self.checkpoints} are of another run: their epochs are not those of "
                f"{self.HISTORY}; restore the folder from a copy, or start over in another work folder with --workdir."
            )
        write_whole(self.path / self.HISTORY, "".join(f"{line}\n" for line in lines))

    def append_line(self, line: Mapping[str, Any]) -> None:
        """Append one epoch to ``metrics.jsonl``."""
        with (self.path / self.HISTORY).open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def write_predictions(
        self, images: Dataset, predicted: np.ndarray, probability: np.ndarray, name: str = RunFiles.PREDICTIONS
    ) -> None:
        """Write ``predictions.csv``, or ``validation_predictions.csv``.

        Args:
          images: N of them; their ids are positions in the official split, or paths.
          predicted: int ``[N]``.
          probability: float ``[N]``, of the predicted class.
          name: of the file.
        """
        what, class_names = "path" if images.ids.dtype.kind == "U" else "index", images.class_names
        rows = (
            (image, class_names[label], class_names[guess], f"{p:.6f}")
            for image, label, guess, p in zip(images.ids, images.labels, predicted, probability, strict=True)
        )
        write_whole(self.path / name, csv_text(((what, "true", "predicted", "probability"), *rows)))

    def write_summary(self, summary: Mapping[str, Any]) -> None:
        """Write ``summary.json``: the mark of a finished run."""
        write_whole(self.path / self.SUMMARY, json.dumps(summary, indent=2) + "\n")


def make_work_folder(path: pathlib.Path) -> None:
    """Create a work folder where there is none.

    Raises:
      UserError: it cannot be created, or its path is not in UTF-8, which checkpoints need.
    """
    try:
        str(path.absolute()).encode()
    except UnicodeEncodeError as error:
        raise UserError(f"The work folder {shown(path)} has a name that is not in UTF-8; choose another.") from error
    with write_errors_explained(f"The work folder {path}", "choose another with --workdir", done="created"):
        path.mkdir(parents=True, exist_ok=True)


def disk_errors_explained(workdir: pathlib.Path) -> contextlib.AbstractContextManager[None]:
    """A context that turns a full or failing disk into a sentence, wherever it shows."""
    way_out = (
        "free some space or repair the folder and run the same command again: it continues from the last checkpoint"
    )
    return write_errors_explained(f"The work folder {workdir}", way_out, done="written or read", folder=workdir)


def identity(config: Mapping[str, Any]) -> Any:
    """The config without the fields that no result depends on, which may change when a run continues."""
    tree = plain(config)
    return without(tree, {path for path, _ in leaves(tree) if path.endswith(_INCIDENTAL)})

"""TensorBoard event files of a run, written without TensorFlow."""

import contextlib
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tensorboardX import summary
from tensorboardX.proto.event_pb2 import Event
from tensorboardX.record_writer import RecordWriter

from jaxtl.report.pictures import wall
from jaxtl.report.plots import png

# Field of the history -> tag. Train and validation share a group, so TensorBoard shows them side by side.
TAGS = {
    "train_loss": "loss/train",
    "val_loss": "loss/validation",
    "train_accuracy": "accuracy/train",
    "val_accuracy": "accuracy/validation",
    "val_f1": "macro_f1/validation",
    "val_balanced_accuracy": "balanced_accuracy/validation",
    "learning_rate": "learning_rate",
    "images_per_s": "images_per_s",
    "seconds": "seconds_per_epoch",
}


def write_events(
    folder: Path,
    history: Sequence[Mapping[str, Any]],
    figures: Mapping[str, Any],
    scalars_at_end: Mapping[str, float],
) -> None:
    """Write everything TensorBoard shows of a run, in place of what was there.

    A run that was resumed has no point twice. The new file is complete before an old one goes; other files are left
    alone. No thread writes: an error, such as a full disk, is raised here and leaves nothing behind that waits.

    Args:
      folder: the log folder; made if absent.
      history: one mapping an epoch (see ``plots.curves``); fields that are absent or None give no point.
      figures: caption -> figure or cards, shown as ``figures/<caption>`` at the last epoch.
      scalars_at_end: tag -> value at the last epoch, e.g. ``{"test/accuracy": 0.93}``.

    Raises:
      OSError: the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    now = time.time()
    new = folder / f"events.out.tfevents.{int(now)}.{os.getpid()}"
    draft = folder / ".partial"  # a name that TensorBoard does not read
    try:
        with contextlib.closing(RecordWriter(str(draft))) as writer:
            writer.write(Event(wall_time=now, file_version="brain.Event:2").SerializeToString())
            for step, value in _values(history, figures, scalars_at_end):
                writer.write(Event(wall_time=now, step=step, summary=value).SerializeToString())
            writer.flush()
        draft.replace(new)
    finally:
        with contextlib.suppress(OSError):
            draft.unlink()
    for old in set(folder.glob("events.out.tfevents.*")) - {new}:
        old.unlink()


def _values(
    history: Sequence[Mapping[str, Any]], figures: Mapping[str, Any], scalars_at_end: Mapping[str, float]
) -> Iterator[tuple[int, Any]]:
    """(step, summary) of everything."""
    last = int(history[-1]["epoch"]) if history else 0
    for line in history:
        for field, tag in TAGS.items():
            if line.get(field) is not None:
                yield int(line["epoch"]), summary.scalar(tag, float(line[field]))
    for tag, value in scalars_at_end.items():
        yield last, summary.scalar(tag, float(value))
    for caption, figure in figures.items():
        pixels = wall(figure) if isinstance(figure, list) else np.asarray(Image.open(BytesIO(png(figure, dpi=100))))
        name = caption.strip().lower().replace(" ", "_")
        yield last, summary.image(f"figures/{name}", pixels[..., :3], dataformats="HWC")

"""TensorBoard event files of a run, written without TensorFlow."""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from tensorboardX import SummaryWriter

# Field of the history -> tag. Train and validation share a group, so TensorBoard shows them side by side.
TAGS = {
    "train_loss": "loss/train",
    "val_loss": "loss/validation",
    "train_accuracy": "accuracy/train",
    "val_accuracy": "accuracy/validation",
    "learning_rate": "learning_rate",
    "images_per_s": "images_per_s",
    "seconds": "seconds_per_epoch",
}


def write_events(
    folder: Path,
    history: Sequence[Mapping[str, Any]],
    figures: Mapping[str, Figure],
    scalars_at_end: Mapping[str, float],
) -> None:
    """Write everything TensorBoard shows of a run, in place of what was there.

    The events are a function of the arguments, not a log that grows: a run that was resumed has no point twice.
    The new file is complete before an old one goes. Files other than event files are left alone.

    Args:
      folder: the log folder; made if absent.
      history: one mapping an epoch (see ``plots.curves``); fields that are absent or None give no point.
      figures: caption -> figure, shown as ``figures/<caption>`` at the last epoch.
      scalars_at_end: tag -> value at the last epoch, e.g. ``{"test/accuracy": 0.93}``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    last = int(history[-1]["epoch"]) if history else 0
    draft = folder.with_name(f".{folder.name}")  # TensorBoard must not see it
    shutil.rmtree(draft, ignore_errors=True)  # of a process that was killed
    try:
        with SummaryWriter(str(draft)) as writer:
            for line in history:
                for field, tag in TAGS.items():
                    if line.get(field) is not None:
                        writer.add_scalar(tag, float(line[field]), int(line["epoch"]))
            for tag, value in scalars_at_end.items():
                writer.add_scalar(tag, float(value), last)
            for caption, figure in figures.items():
                name = caption.strip().lower().replace(" ", "_")
                writer.add_image(f"figures/{name}", _pixels(figure), last, dataformats="HWC")
        old = set(folder.glob("events.out.tfevents.*"))
        for new in draft.iterdir():
            new.replace(folder / new.name)
            old.discard(folder / new.name)
        for path in old:
            path.unlink()
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _pixels(figure: Figure, dpi: int = 100) -> np.ndarray:
    """The figure as uint8 [H, W, 3]; its own resolution is left as it was."""
    before = figure.dpi
    canvas = FigureCanvasAgg(figure)
    try:
        figure.dpi = dpi
        canvas.draw()
        return np.asarray(canvas.buffer_rgba())[..., :3].copy()
    finally:
        figure.dpi = before

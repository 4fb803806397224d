"""Which images a finished run is evaluated on: those it names itself, or another data set's."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxtl.config.data import image_options
from jaxtl.data import folder
from jaxtl.data.catalogue import dataset_info, load_dataset
from jaxtl.data.dataset import Dataset, take, unknown_name
from jaxtl.errors import UserError
from jaxtl.runs.files import RunFiles
from jaxtl.runs.finished import LoadedRun
from jaxtl.runtime.files import user_path

ALL = "all"
SPLITS = ("test", "train", "val", ALL)


class Chosen(NamedTuple):
    """Images to evaluate on.

    Attributes:
      dataset: with its own classes.
      source: what the data set is called: its name, or its folder where it is one of images.
      is_own_test: whether they are the test images of the run's own data set.
      remarks: what a person should know of the choice, a sentence each.
    """

    dataset: Dataset
    source: str
    is_own_test: bool
    remarks: tuple[str, ...]


def choose_images(
    run: LoadedRun,
    *,
    name: str | None,
    data_dir: Path | None,
    split: str,
    image_size: tuple[int, int],
    progress: Callable[[int, int], None] | None = None,
) -> Chosen:
    """Load what is asked for.

    Of the run's own data, ``"train"`` is what trained it and ``"val"`` what it held out of that, if the data set has
    no validation split itself. ``"all"`` is every image of the data set, in memory.

    Args:
      run: a finished run.
      name: of the data set; ``None`` for the run's own.
      data_dir: see ``load_dataset``; ``None`` for the run's own where the name is.
      split: one of ``SPLITS``.
      image_size: (height, width) to which photographs of any size are decoded; data sets of one size keep theirs.
      progress: see ``load_dataset``.

    Raises:
      UserError: as ``load_dataset``; the run held out no image; its ``split.npz`` is damaged or of other images.
    """
    data = run.config["data"]
    named = name or data["name"]
    where = data_dir or (Path(data["dir"]) if data["dir"] and named == data["name"] else None)
    if named == folder.NAME and not (where and user_path(where).is_dir()):
        what = f"there is no folder {where}" if where else "no folder was named"
        raise UserError(f"The images cannot be read: {what}; name the folder that holds them with --data-dir.")
    source = str(where) if named == folder.NAME else named
    is_own = named == data["name"] and (named != folder.NAME or _same(where, Path(data["dir"])))
    square = image_size[0] == image_size[1]
    how = image_options({**data, "size": image_size[0] if square else 0})
    # What cannot be read is told with the figures; a run's limit on its share guards a training, not a look at others.
    how = dataclasses.replace(how, channels=run.image_shape[2], undecodable=1.0)
    if split == ALL:  # the parts are joined, which images that are decoded when needed are not
        how = dataclasses.replace(how, stream="never")
    sizes = dataset_info(named, where, how).sizes
    of_the_run = is_own and (split == "train" or (split == "val" and "val" not in sizes))
    if split not in (ALL, *sizes) and not of_the_run:
        raise unknown_name(f"split of {named}", split, (*sizes, ALL))

    def load(split: str) -> Dataset:
        return load_dataset(named, split, where, download=data["download"], options=how, progress=progress)

    if of_the_run:
        part, remark = _held_by(run, load("train"), split)
        return Chosen(part, source, False, (remark,))
    dataset = _joined([load(each) for each in sizes]) if split == ALL else load(split)
    if is_own and split == "test" and named == folder.NAME:
        _refuse_trained_on(run, dataset)
    remark = ""
    if is_own and split == ALL:
        remark = "Among these images are those that trained the run: it may know them by heart."
    elif is_own and split == "test":
        remark = "These are the run's own test images: the figures of the run itself are in its summary.json."
    elif is_own:
        remark = "These are the run's own validation images, which may have chosen its weights."
    elif named == folder.NAME and split != ALL:
        images = sum(sizes.values())
        remark = f"{sizes[split]:,} of the folder's {images:,} images are its {split} split; --split all takes all."
    grey = "The images were turned from RGB to grey." if named == folder.NAME and how.channels == 1 else ""
    return Chosen(dataset, source, is_own and split == "test", tuple(filter(None, (remark, grey))))


def _refuse_trained_on(run: LoadedRun, test: Dataset) -> None:
    """A folder that has gained files since is split again: images that trained the run may test it now."""
    kept = RunFiles(run.folder).split()
    seen = np.isin(test.ids, np.concatenate([kept["train"], kept["validation"]]))
    if seen.any():
        raise UserError(
            f"{seen.sum()} of the {len(test)} test images of the folder trained the run, because files have come or "
            "gone since it was split; restore them, or take --split all to test on everything."
        )


def _same(a: Path | None, b: Path) -> bool:
    return a is not None and user_path(a).resolve() == user_path(b).resolve()


def _joined(parts: Sequence[Dataset]) -> Dataset:
    images, labels, ids = (
        np.concatenate([np.asarray(getattr(part, field)) for part in parts]) for field in ("images", "labels", "ids")
    )
    remarks = dict.fromkeys(remark for part in parts for remark in part.remarks)
    return Dataset(images, labels, parts[0].class_names, ids, tuple(remarks))


def _held_by(run: LoadedRun, dataset: Dataset, split: str) -> tuple[Dataset, str]:
    """Of the training images those that trained the run, or those that it held out of them; and what to know of it."""
    files = RunFiles(run.folder)
    wanted = files.split()["train" if split == "train" else "validation"]
    if not wanted.size:
        raise UserError(f"The run {run.folder} held out no validation images; choose another --split.")
    indices = np.flatnonzero(np.isin(dataset.ids, wanted))
    if len(indices) < len(wanted):
        raise UserError(
            f"{len(wanted) - len(indices)} of the {len(wanted)} images in {files.path / files.SPLIT} are gone from the "
            "run's data; restore them, or choose another --split."
        )
    if split == "train":
        said = "These images trained the run: the figures say how well it fits them, not what it makes of new ones."
    else:
        said = "These images were held out of the training split by the run, and may have chosen its weights."
    return take(dataset, indices), said

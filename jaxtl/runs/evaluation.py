"""Evaluation of a finished run: on its own images, or on those of another data set, size or number of channels."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxtl.config.data import image_folder, image_options
from jaxtl.data import folder
from jaxtl.data.augment import channels, compose, normalise, resize
from jaxtl.data.catalogue import dataset_info, load_dataset
from jaxtl.data.dataset import Dataset, first, take, unknown_name
from jaxtl.data.match_classes import match_classes
from jaxtl.errors import UserError
from jaxtl.runs.finished import LoadedRun
from jaxtl.runtime.files import user_path
from jaxtl.runtime.mesh import data_mesh
from jaxtl.runtime.run_files import RunFiles
from jaxtl.train.evaluate import Evaluation, folded, make_evaluator
from jaxtl.train.examples import place

ALL = "all"
SPLITS = ("test", "train", "val", ALL)


class Chosen(NamedTuple):
    """Images to evaluate on."""

    dataset: Dataset  # labelled by the run's classes
    source: str  # what the data set is called: its name, or its folder where it is one of images
    present: tuple[int, ...]  # which of the run's classes the data set has
    read: int  # how many images there were before any was left out
    remarks: tuple[str, ...]  # what a person should know of the choice, a sentence each


def choose_images(
    run: LoadedRun,
    *,
    name: str | None,
    data_dir: Path | None,
    split: str,
    image_size: tuple[int, int],
    classes: Sequence[str] = (),
    subset: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Chosen:
    """Load images and label them by the run's classes.

    Of the run's own data, ``"train"`` is what trained it and ``"val"`` what it held out of that, if the data set has
    no validation split itself. ``"all"`` is every image of the data set, in memory.

    Args:
      run: a finished run.
      name: of the data set; ``None`` for the run's own.
      data_dir: see ``load_dataset``; ``None`` for the run's own where the name is.
      split: one of ``SPLITS``.
      image_size: (height, width) to which photographs of any size are decoded; data sets of one size keep theirs.
      classes: see ``match_classes``.
      subset: the first N images, of those whose classes the run has; 0: all; ``None``: as many as the run tested on
        where they are its own test images, else all.
      progress: see ``load_dataset``.

    Raises:
      UserError: as ``load_dataset`` and ``match_classes``; the run held out no image, or none is left; its
        ``split.npz`` is damaged or of other images.
    """
    data = run.config["data"]
    named, is_folder = name or data["name"], (name or data["name"]) == folder.NAME
    own = image_folder(data) if named == data["name"] else None
    where = data_dir or own
    if is_folder and not (where and user_path(where).is_dir()):
        what = f"there is no folder {where}" if where else "no folder was named"
        raise UserError(f"The images cannot be read: {what}; name the folder that holds them with --data-dir.")
    elsewhere = is_folder and where and own and user_path(where).resolve() != own.resolve()
    is_own = named == data["name"] and not elsewhere
    source = str(where) if is_folder else named
    dataset, remark = _load(run, named, where, split, is_own, image_size, progress)
    remarks = [remark] if remark else []
    if is_folder and dataset.image_shape[2] == 1:
        remarks.append("The images were converted from RGB to grey.")
    matched = match_classes(dataset, run.class_names, classes)
    remarks += matched.remarks
    chosen = matched.dataset
    if subset is None and is_own and split == "test" and (subset := data["test_subset"]):
        remarks.append(f"The first {subset} of {len(chosen)} images are taken, as by the run; --subset 0 takes all.")
    chosen = first(chosen, subset) if subset else chosen
    if not len(chosen):
        raise UserError(f"The {split} split of {source} has no image of the run's classes; choose another --split.")
    return Chosen(chosen, source, matched.present, len(dataset), tuple(remarks))


def _load(
    run: LoadedRun,
    named: str,
    where: Path | None,
    split: str,
    is_own: bool,
    image_size: tuple[int, int],
    progress: Callable[[int, int], None] | None,
) -> tuple[Dataset, str]:
    """The images with their own classes, and a remark on them."""
    data, (height, width) = run.config["data"], image_size
    how = dataclasses.replace(
        image_options({**data, "size": height if height == width else 0, "labels": data["labels"] * is_own}),
        channels=run.image_shape[2],
        undecodable=1.0,  # what cannot be read is told with the figures; the run's limit guards its training alone
    )
    if split == ALL:  # the parts are joined, which images that are decoded when needed are not
        how = dataclasses.replace(how, stream="never")
    sizes = dataset_info(named, where, how).sizes

    def load(split: str) -> Dataset:
        return load_dataset(named, split, where, download=data["download"], options=how, progress=progress)

    if is_own and (split == "train" or (split == "val" and "val" not in sizes)):
        return _held_by(run, load("train"), split)
    if split == ALL:
        remark = "Among these images are those that trained the run: it may know them by heart." if is_own else ""
        return _joined([load(each) for each in sizes]), remark
    if split not in sizes:
        raise unknown_name(f"split of {named}", split, (*sizes, ALL))
    dataset, remark = load(split), ""
    if is_own and split == "test":
        if named == folder.NAME:
            _refuse_trained_on(run, dataset)
        remark = "These are the run's own test images: the figures of the run itself are in its summary.json."
    elif is_own:
        remark = "These are the run's own validation images, which may have chosen its weights."
    elif named == folder.NAME:
        images = sum(sizes.values())
        remark = f"{sizes[split]:,} of the folder's {images:,} images are its {split} split; --split all takes all."
    return dataset, remark


def _joined(parts: Sequence[Dataset]) -> Dataset:
    images, labels, ids = (
        np.concatenate([np.asarray(getattr(part, field)) for part in parts]) for field in ("images", "labels", "ids")
    )
    remarks = dict.fromkeys(remark for part in parts for remark in part.remarks)
    return Dataset(images, labels, parts[0].class_names, ids, tuple(remarks))


def _refuse_trained_on(run: LoadedRun, test: Dataset) -> None:
    """Refuse test images that trained the run: a folder whose files have changed is split differently."""
    kept = RunFiles(run.folder).split()
    seen = np.isin(test.ids, np.concatenate([kept["train"], kept["validation"]]))
    if seen.any():
        raise UserError(
            f"{seen.sum()} of the {len(test)} test images of the folder trained the run, because files were added or "
            "removed since it was split; restore them, or take --split all to test on everything."
        )


def _held_by(run: LoadedRun, dataset: Dataset, split: str) -> tuple[Dataset, str]:
    """The training images that trained the run, or those that it held out, and a remark on them."""
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
        said = "These images trained the run: the figures say how well it fits them, not how well it predicts new ones."
    else:
        said = "These images were held out of the training split by the run, and may have chosen its weights."
    return take(dataset, indices), said


def make_evaluation(run: LoadedRun, image_size: tuple[int, int], *, batch_size: int) -> Callable[[Dataset], Evaluation]:
    """Create a function ``dataset -> Evaluation`` for an image size, which is checked first.

    Images of another size are resized on the device, as the run resizes its own: bilinearly, both sides to the size,
    whatever the proportions. Then they are normalised by the run's mean and standard deviation.

    Args:
      run: a finished run.
      image_size: (height, width) that the network sees.
      batch_size: images a step.

    Raises:
      UserError: the network cannot take images of that size.
    """
    name, (height, width), least = run.config["model"]["name"], image_size, run.model.least_size
    cannot = f"The network {name} of {run.folder} cannot run at {height} x {width} pixels"
    if min(image_size) < least:
        raise UserError(f"{cannot}: it needs at least {least} x {least}; choose a larger --size.")
    H, W, C = run.input_shape
    images = jax.ShapeDtypeStruct((1, height, width, C), jnp.float32)
    run.check_fit(compose(), images, f"{cannot}, because its weights are made for {H} x {W}; leave out --size.")
    data = run.config["data"]
    steps = channels(C), resize(*image_size), normalise(data["mean"], data["std"])

    def evaluate(dataset: Dataset) -> Evaluation:
        mesh = data_mesh(batch_size)
        model, variables = folded(run.model, run.variables, channels=C, mesh=mesh)
        examples = place(dataset, mesh)
        return make_evaluator(model, examples, compose(*steps), batch_size=batch_size, mesh=mesh)(variables)

    return evaluate

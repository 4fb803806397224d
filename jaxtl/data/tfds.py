"""Image classification data sets of tensorflow-datasets, read without TensorFlow.

Source: https://www.tensorflow.org/datasets. A data set that lies prepared as array_record needs no TensorFlow; to
prepare one takes TensorFlow. The library itself is imported where it is needed and not before: that is slow.
"""

import contextlib
import difflib
import functools
import importlib.util
import io
import logging
import os
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from jaxtl.data.dataset import Dataset, Remark
from jaxtl.data.decode import Undecodable, read_image
from jaxtl.data.decode_all import Progress, decode_all
from jaxtl.data.options import ImageOptions
from jaxtl.data.records import Records, RecordSource, Shard
from jaxtl.data.split import stratified_split
from jaxtl.data.stored import ImageReader
from jaxtl.errors import UserError
from jaxtl.runtime.files import user_path

PREFIX = "tfds:"
FORM = "tfds:NAME"

_NAME = re.compile(r"tfds:(?P<name>[A-Za-z]\w*)(/[\w.+-]+)?(:[\w.*]+)?")
_ARRAY_RECORD = "array_record"
_VALIDATION = ("validation", "val", "valid")
_PASSED_OVER = "passed over"


class Part(NamedTuple):
    """A split of ours: some of the records of a split of theirs.

    Attributes:
      split: the name of theirs.
      positions: int64 [N], which of its records.
    """

    split: str
    positions: np.ndarray


class Prepared(NamedTuple):
    """A data set as it lies on the disk.

    Attributes:
      name: its full name, with configuration and version.
      folder: where it lies.
      builder: the object of tensorflow-datasets that describes it.
      image: the name of the feature that is the image.
      label: the name of the feature that is its class.
      image_shape: (H, W, C) of an image as the features tell it; H and W are 0 where they do not.
      class_names: K names.
      parts: by the name of our split, ``train``, ``test`` and sometimes ``val``.
      remarks: what was passed over.
    """

    name: str
    folder: Path
    builder: Any
    image: str
    label: str
    image_shape: tuple[int, int, int]
    class_names: tuple[str, ...]
    parts: dict[str, Part]
    remarks: tuple[Remark, ...]


def name_fault(name: str) -> str | None:
    """What is wrong with the form of a name that begins with ``tfds:``; ``None`` where nothing is."""
    if _NAME.fullmatch(name):
        return None
    return (
        f"is {name!r}, which names no data set of tensorflow-datasets; write tfds:NAME, tfds:NAME:VERSION or "
        "tfds:NAME/CONFIG:VERSION."
    )


def find(name: str, data_dir: Path | None, options: ImageOptions, *, download: bool) -> Prepared:
    """Find a prepared data set, or prepare it.

    Args:
      name: ``tfds:NAME``, ``tfds:NAME:VERSION``, ``tfds:NAME/CONFIG`` or ``tfds:NAME/CONFIG:VERSION``.
      data_dir: the folder of prepared data sets; by default tensorflow-datasets' own.
      options: how a test is split off where the data set has none.
      download: whether to prepare it where it is not.

    Raises:
      UserError: there is no such data set, it is not prepared and cannot be, or it is not one of image classification.
    """
    if fault := name_fault(name):
        raise UserError(f"The name of the data set {fault}")
    with _quiet():
        builder = _prepared(name, data_dir) or _prepare(name, data_dir, download)
        info = builder.info
        image, label = _features(name, info)
        folder = Path(str(builder.data_dir))
        parts, remarks = _parts(name, builder, label, options)
        shape, names = info.features[image].shape, tuple(info.features[label].names)
    H, W, C = shape
    fixed = (H or 0, W or 0) if H and W else (0, 0)
    full_name = f"{PREFIX}{info.full_name}"
    return Prepared(
        full_name, folder, builder, image, label, (*fixed, 1 if C == 1 else 3), names, parts, tuple(remarks)
    )


def image_shape(prepared: Prepared, options: ImageOptions) -> tuple[int, int, int]:
    """(H, W, C) of every image once it is read.

    Images that all have one size keep it. Others come to ``options.size``; without one, the size of the first image
    that can be decoded must be that of all.
    """
    H, W, C = prepared.image_shape
    if H:
        return H, W, C
    if options.size:
        return options.size, options.size, C
    source = _source(prepared, "train")
    for i in range(len(source.positions)):
        with contextlib.suppress(Undecodable):
            height, width, _ = read_image(source.content(i), channels=C).shape
            return height, width, C
    raise UserError(f"None of the images of {prepared.name} in {prepared.folder} can be decoded; prepare it again.")


def load(prepared: Prepared, split: str, options: ImageOptions, progress: Progress | None = None) -> Dataset:
    """Decode a split, into memory or, where that is too small, just to see that every image can be decoded.

    Args:
      prepared: the data set.
      split: one of its parts.
      options: how images of any size are read.
      progress: is told how far it is.

    Returns:
      The images, ids their positions in the split of tensorflow-datasets, int64; what was skipped among the remarks.

    Raises:
      UserError: a file is missing or damaged, too many images are undecodable, or a class has none left to train on.
    """
    part, source, shape = prepared.parts[split], _source(prepared, split), image_shape(prepared, options)
    labels = _labels(prepared.builder, part.split, prepared.label)[part.positions]
    sizes: Literal["any", "same", "fixed"] = "fixed" if prepared.image_shape[0] else "any" if options.size else "same"
    images, kept, original, skipped = decode_all(
        ImageReader(source, shape, options.fit, sizes, prepared.name),
        len(part.positions),
        prepared.folder,
        options,
        what=f"images of {prepared.name} in {prepared.folder}",
        in_all=sum(len(each.positions) for each in prepared.parts.values()),
        progress=progress,
    )
    if split == "train" and (lost := sorted({*labels.tolist()} - {*labels[kept].tolist()})):
        raise UserError(
            f"None of the training images of the class {prepared.class_names[lost[0]]!r} of {prepared.name} can be "
            f"decoded; prepare it again in {prepared.folder}."
        )
    remarks = (*(prepared.remarks if split == "train" else ()), *skipped)
    return Dataset(images, labels[kept], prepared.class_names, part.positions[kept], remarks, original)


def _prepared(name: str, data_dir: Path | None) -> Any:
    """The builder of a data set that lies on the disk, or ``None``."""
    from tensorflow_datasets.core.read_only_builder import builder_from_files
    from tensorflow_datasets.core.registered import DatasetNotFoundError

    where = {"data_dir": str(data_dir)} if data_dir else {}
    try:
        builder = builder_from_files(name.removeprefix(PREFIX), **where)
        info = builder.info
        formats = [info.file_format, *(info.alternative_file_formats or ())]
        formats = [getattr(each, "value", each) for each in formats]
        if formats[0] != _ARRAY_RECORD and _ARRAY_RECORD in formats:
            return builder_from_files(name.removeprefix(PREFIX), file_format=_ARRAY_RECORD, **where)
    except DatasetNotFoundError:
        return None
    except Exception as error:  # damaged descriptions raise all kinds
        raise UserError(
            f"{name} cannot be read in {data_dir or 'the folder of tensorflow-datasets'} ({_why(error)}); correct the "
            "name or data.dir, or delete its folder and prepare it again."
        ) from error
    if _ARRAY_RECORD not in formats:
        raise UserError(
            f"{name} in {builder.data_dir} was prepared as {formats[0]}, but only array_record can be read without "
            f"TensorFlow; prepare it into another folder by tfds.builder({name.removeprefix(PREFIX)!r}, data_dir=DIR, "
            "file_format='array_record').download_and_prepare() and set data.dir to that."
        )
    return builder


def _prepare(name: str, data_dir: Path | None, download: bool) -> Any:
    """The builder of a data set that was not on the disk and now is."""
    import tensorflow_datasets as tfds
    from tensorflow_datasets.core.constants import DATA_DIR

    match = _NAME.fullmatch(name)
    assert match  # its form was checked
    known = tfds.list_builders(with_community_datasets=False)  # the others are asked of the network
    where, theirs = data_dir or user_path(str(DATA_DIR)), name.removeprefix(PREFIX)
    if match["name"] not in known:
        near = difflib.get_close_matches(match["name"], known, n=1)
        hint = f"did you mean 'tfds:{near[0]}'?" if near else "https://www.tensorflow.org/datasets/catalog lists them."
        raise UserError(f"{name} is not prepared in {where} and tensorflow-datasets knows no such name; {hint}")
    elsewhere = (
        f"prepare it elsewhere by tfds.builder({theirs!r}, data_dir=DIR, file_format='array_record')"
        ".download_and_prepare() and set data.dir to a copy of DIR"
    )
    if not download:
        raise UserError(f"{name} is not prepared in {where}; {elsewhere}, or allow downloads.")
    if importlib.util.find_spec("tensorflow") is None:
        raise UserError(
            f"{name} is not prepared in {where}, and to prepare it takes TensorFlow, which is not installed; "
            f"{elsewhere}, or pip install 'jaxtl[tfds]'."
        )
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # TensorFlow's own lines are not for our screen
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # its progress goes to standard error and stays
            builder = tfds.builder(theirs, data_dir=str(where), file_format=_ARRAY_RECORD)
            options = tfds.download.DownloadConfig(try_download_gcs=False)  # what lies there is not array_record
            builder.download_and_prepare(download_config=options)
    except Exception as error:  # the code of a thousand data sets raises all kinds
        raise UserError(f"{name} cannot be prepared in {where} ({_why(error)}); {elsewhere}.") from error
    return _prepared(name, where) or builder


def _features(name: str, info: Any) -> tuple[str, str]:
    """The names of the features that are the image and its class."""
    import tensorflow_datasets as tfds

    features = info.features
    by_name = dict(features.items()) if isinstance(features, tfds.features.FeaturesDict) else {}
    images = [
        key
        for key, feature in by_name.items()
        if isinstance(feature, tfds.features.Image) and not isinstance(feature, tfds.features.LabeledImage)
    ]
    labels = [key for key, feature in by_name.items() if isinstance(feature, tfds.features.ClassLabel)]
    keys = list(info.supervised_keys or ())
    if len(keys) >= 2 and keys[0] in images and keys[1] in labels:
        images, labels = [keys[0]], [keys[1]]
    if len(images) != 1 or len(labels) != 1:
        kinds = sorted(f"{key} ({type(feature).__name__})" for key, feature in by_name.items())
        found = ", ".join(kinds) or str(features)
        raise UserError(
            f"{name} is no data set of image classification, which has one Image and one ClassLabel; it has {found}: "
            "choose another one."
        )
    image = features[images[0]]
    if len(image.shape) != 3 or np.dtype(image.np_dtype) not in (np.uint8, np.uint16):
        raise UserError(
            f"The images of {name} are {np.dtype(image.np_dtype)} of shape {image.shape}, but only still pictures of "
            "8 or 16 bits a channel can be read; choose another data set."
        )
    return images[0], labels[0]


def _parts(name: str, builder: Any, label: str, options: ImageOptions) -> tuple[dict[str, Part], list[Remark]]:
    """Our splits, and what was noticed about theirs."""
    remarks: list[Remark] = []
    sizes = {str(split): info.num_examples for split, info in builder.info.splits.items() if info.num_examples}
    if "train" not in sizes:
        raise UserError(
            f"{name} has no split 'train' to train on, but only {', '.join(sizes) or 'empty ones'}; choose another one."
        )
    # Competitions publish their test images with the label -1.
    for split in [split for split in sizes if next(_records(builder, split).labels(label, 1)) < 0]:
        if split == "train":
            raise UserError(f"The training images of {name} have no labels; choose another data set.")
        remarks.append(Remark(split, "the images of this split have no labels", _PASSED_OVER))
        del sizes[split]
    whole = {split: Part(split, np.arange(size, dtype=np.int64)) for split, size in sizes.items()}
    val = next((split for split in _VALIDATION if split in whole), None)
    parts = {"train": whole["train"]}
    if "test" in whole:
        parts |= {"test": whole["test"], **({"val": whole[val]} if val else {})}
    elif val:
        parts["test"] = whole[val]
        remarks.append(Remark(val, "there is no labelled split 'test'", "used as the test"))
    else:
        rest, held = stratified_split(_labels(builder, "train", label), options.test, options.split_seed)
        if not held.size:
            raise UserError(
                f"data.test={options.test} holds out none of the {sizes['train']} images of {name}; hold out more."
            )
        parts |= {"train": Part("train", rest), "test": Part("train", held)}
    used = {part.split for part in parts.values()}
    remarks += [
        Remark(split, "the split is none of train, validation and test", _PASSED_OVER)
        for split in whole
        if split not in used
    ]
    return parts, remarks


def _source(prepared: Prepared, split: str) -> RecordSource:
    part = prepared.parts[split]
    return RecordSource(_records(prepared.builder, part.split), part.split, part.positions, prepared.image)


def _records(builder: Any, split: str) -> Records:
    files = builder.info.splits[split].file_instructions
    shards = [Shard(str(each.filename), each.skip, each.skip + each.take) for each in files]
    return Records(shards, str(builder.data_dir))


def _labels(builder: Any, split: str, feature: str) -> np.ndarray:
    """int32 [N], the labels of a split of theirs."""
    records = _records(builder, split)
    try:
        stamps = tuple(Path(shard.path).stat().st_mtime_ns for shard in records.shards)
    except OSError:  # reading tells more of it
        stamps = ()
    return _read_labels(records.shards, str(builder.data_dir), feature, stamps)


# A start asks for the labels several times, and the records around them are large.
@functools.lru_cache(maxsize=8)
def _read_labels(shards: tuple[Shard, ...], place: str, feature: str, stamps: tuple[int, ...]) -> np.ndarray:
    records = Records(shards, place)
    labels = np.fromiter(records.labels(feature, len(records)), np.int32, len(records))
    labels.flags.writeable = False
    return labels


def _why(error: Exception) -> str:
    """The first line of an error."""
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__).rstrip(".: ")


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the log lines and warnings of tensorflow-datasets and its companions off the screen."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)

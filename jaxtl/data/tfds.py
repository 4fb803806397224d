"""Image classification data sets of tensorflow-datasets, read without TensorFlow.

Source: https://www.tensorflow.org/datasets. A data set that lies prepared as array_record needs no TensorFlow; to
prepare one needs TensorFlow. The library itself is imported where it is needed and not before: that is slow.
"""

import contextlib
import dataclasses
import functools
import importlib.util
import io
import itertools
import logging
import os
import re
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxtl.data.collection import PASSED_OVER, Collection, with_test
from jaxtl.data.dataset import Remark
from jaxtl.data.options import ImageOptions
from jaxtl.data.stored import Source
from jaxtl.errors import UserError, closest
from jaxtl.runtime.files import user_path

PREFIX = "tfds:"
_NAME = re.compile(r"tfds:[A-Za-z]\w*(/[\w.+-]+)?(:[\w.*]+)?")
_ARRAY_RECORD = "array_record"
_VALIDATION = ("validation", "val", "valid")


def name_fault(name: str) -> str | None:
    """What is wrong with the form of a name that begins with ``tfds:``; ``None`` where nothing is."""
    if _NAME.fullmatch(name):
        return None
    return (
        f"is {name!r}, which is not the name of a data set of tensorflow-datasets; write tfds:NAME, tfds:NAME:VERSION "
        "or tfds:NAME/CONFIG:VERSION."
    )


@dataclasses.dataclass(frozen=True, eq=False)
class RecordSource:
    """Some examples of a split, as a ``jaxtl.data.stored.Source``.

    Attributes:
      examples: all of the split, as mappings by the name of the feature, images still encoded.
      split: its name.
      ids: int64 [N], which of the examples.
      image: the name of the feature that is the image.
      label: the name of the feature that is its class.
      files: the files that hold the examples.
      ends: for each file, the number of examples up to its end.
      place: the folder of the data set, for error messages.
    """

    examples: Sequence[Any]
    split: str
    ids: np.ndarray
    image: str
    label: str
    files: tuple[str, ...]
    ends: tuple[int, ...]
    place: str

    def __len__(self) -> int:
        return len(self.ids)

    @functools.cached_property
    def labels(self) -> np.ndarray:
        """int32 [N]; all examples are read for them, which takes its time."""
        return np.fromiter(map(self.label_at, range(len(self))), np.int32, len(self))

    def label_at(self, position: int) -> int:
        """The label of one, which reads that example alone."""
        return int(self._feature(position, self.label))

    def chosen(self, indices: np.ndarray) -> "RecordSource":
        """Those at some positions."""
        part = dataclasses.replace(self, ids=self.ids[indices])
        part.__dict__["labels"] = self.labels[indices]
        return part

    def name(self, position: int) -> str:
        """The split and the place in it: ``train[17]``."""
        return f"{self.split}[{self.ids[position]}]"

    def file(self, position: int) -> str:
        """The file that holds the example, relative to the folder of the data set."""
        return self.files[int(np.searchsorted(self.ends, self.ids[position], "right"))]

    def content(self, position: int) -> bytes:
        """The encoded image."""
        return self._feature(position, self.image)

    def _feature(self, position: int, name: str) -> Any:
        try:
            return self.examples[self.ids[position]][name]
        except Exception as error:  # the reader promises no narrower type
            raise _damaged(self.place, error) from error


def find(name: str, data_dir: Path | None, options: ImageOptions, *, download: bool) -> Collection:
    """Find a prepared data set, or prepare it where ``download`` allows that.

    The name is ``tfds:NAME``, ``tfds:NAME:VERSION``, ``tfds:NAME/CONFIG`` or ``tfds:NAME/CONFIG:VERSION``; the options
    say how a test is split off where the data set has none.

    Raises:
      UserError: there is no such data set, it is not prepared and cannot be, or it is not one of image classification.
    """
    if fault := name_fault(name):
        raise UserError(f"The name of the data set {fault}")
    with _quiet():
        builder = _prepared(name, data_dir) or _prepare(name, data_dir, download)
        info, folder = builder.info, Path(str(builder.data_dir))
        image, label = _features(name, info)
        place = f"{PREFIX}{info.full_name} in {folder}"
        sources = {
            str(split): _source(builder, str(split), image, label)
            for split, about in info.splits.items()
            if about.num_examples
        }
        splits, remarks = _splits(place, sources, options)
    height, width, channels = info.features[image].shape
    size = (height, width) if height and width else None
    names = tuple(info.features[label].names)
    return Collection(place, folder, names, splits, tuple(remarks), 1 if channels == 1 else 3, size)


def _prepared(name: str, data_dir: Path | None) -> Any:
    """The builder of a data set that lies on the disk, or ``None``."""
    from tensorflow_datasets.core.read_only_builder import builder_from_files
    from tensorflow_datasets.core.registered import DatasetNotFoundError

    where = {"data_dir": str(data_dir)} if data_dir else {}
    try:
        builder = builder_from_files(name.removeprefix(PREFIX), **where)
        formats = sorted(each.value for each in builder.info.available_file_formats())
    except DatasetNotFoundError:
        return None
    except Exception as error:  # damaged descriptions raise all kinds
        raise UserError(
            f"{name} cannot be read in {data_dir or 'the folder of tensorflow-datasets'} ({_why(error)}); correct the "
            "name or data.dir, or delete its folder and prepare it again."
        ) from error
    if _ARRAY_RECORD not in formats:
        raise UserError(
            f"{name} in {builder.data_dir} was prepared as {', '.join(formats)}, but only array_record can be read "
            f"without TensorFlow; {_prepare_elsewhere(name)}."
        )
    return builder


def _prepare(name: str, data_dir: Path | None, download: bool) -> Any:
    """The builder of a data set that was not on the disk and now is."""
    import tensorflow_datasets as tfds
    from tensorflow_datasets.core.constants import DATA_DIR

    base = re.split("[/:]", name.removeprefix(PREFIX))[0]
    known = tfds.list_builders(with_community_datasets=False)  # the others are asked of the network
    where = data_dir or user_path(str(DATA_DIR))
    if base not in known:
        near = closest(base, known)
        hint = f"did you mean 'tfds:{near}'?" if near else "https://www.tensorflow.org/datasets/catalog lists them."
        raise UserError(f"{name} is not prepared in {where} and tensorflow-datasets knows no such name; {hint}")
    elsewhere = _prepare_elsewhere(name)
    if not download:
        raise UserError(f"{name} is not prepared in {where}; {elsewhere}, or allow downloads.")
    if importlib.util.find_spec("tensorflow") is None:
        raise UserError(
            f"{name} is not prepared in {where}, and preparing it needs TensorFlow, which is not installed; "
            f"{elsewhere}, or pip install 'jaxtl[tfds]'."
        )
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # TensorFlow's own lines are not for our screen
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # its progress goes to standard error and stays
            builder = tfds.builder(name.removeprefix(PREFIX), data_dir=str(where), file_format=_ARRAY_RECORD)
            options = tfds.download.DownloadConfig(try_download_gcs=False)  # what lies there is not array_record
            builder.download_and_prepare(download_config=options)
    except Exception as error:  # the code of a thousand data sets raises all kinds
        raise UserError(f"{name} cannot be prepared in {where} ({_why(error)}); {elsewhere}.") from error
    return _prepared(name, where) or builder


def _prepare_elsewhere(name: str) -> str:
    return (
        f"prepare it elsewhere by tfds.builder({name.removeprefix(PREFIX)!r}, data_dir=DIR, "
        f"file_format={_ARRAY_RECORD!r}).download_and_prepare() and set data.dir to DIR or a copy of it"
    )


def _features(name: str, info: Any) -> tuple[str, str]:
    """The names of the features that are the image and its class."""
    import tensorflow_datasets as tfds

    features = info.features
    by_name = dict(features.items()) if isinstance(features, tfds.features.FeaturesDict) else {}
    # A LabeledImage is a map of labels, one for each pixel.
    images = [
        key
        for key, each in by_name.items()
        if isinstance(each, tfds.features.Image) and not isinstance(each, tfds.features.LabeledImage)
    ]
    labels = [key for key, each in by_name.items() if isinstance(each, tfds.features.ClassLabel)]
    keys = list(info.supervised_keys or ())
    if len(keys) >= 2 and keys[0] in images and keys[1] in labels:
        images, labels = [keys[0]], [keys[1]]
    if len(images) != 1 or len(labels) != 1:
        kinds = sorted(f"{key} ({type(feature).__name__})" for key, feature in by_name.items())
        found = ", ".join(kinds) or str(features)
        raise UserError(
            f"{name} is not a data set of image classification, which has one Image and one ClassLabel; it has "
            f"{found}: choose another one."
        )
    image = features[images[0]]
    if len(image.shape) != 3 or np.dtype(image.np_dtype) not in (np.uint8, np.uint16):
        raise UserError(
            f"The images of {name} are {np.dtype(image.np_dtype)} of shape {image.shape}, but only still pictures of "
            "8 or 16 bits a channel can be read; choose another data set."
        )
    return images[0], labels[0]


def _source(builder: Any, split: str, image: str, label: str) -> RecordSource:
    """All examples of a split of theirs; what need not be decoded is not."""
    import tensorflow_datasets as tfds

    skip, nested = tfds.decode.SkipDecoding(), (tfds.features.FeaturesDict, tfds.features.Sequence)
    decoders = {key: skip for key, feature in builder.info.features.items() if not isinstance(feature, nested)}
    about, place = builder.info.splits[split], str(builder.data_dir)
    try:
        examples = builder.as_data_source(split, decoders=decoders, file_format=_ARRAY_RECORD)
    except Exception as error:  # the reader promises no narrower type
        raise _damaged(place, error) from error
    files = tuple(Path(str(path)).name for path in about.filepaths)
    ends = tuple(itertools.accumulate(about.shard_lengths))
    return RecordSource(examples, split, np.arange(about.num_examples), image, label, files, ends, place)


def _splits(
    name: str, sources: dict[str, RecordSource], options: ImageOptions
) -> tuple[dict[str, Source], list[Remark]]:
    """Our splits, and what was noticed about theirs."""
    if "train" not in sources:
        raise UserError(
            f"{name} has no split 'train' to train on, but only {', '.join(sources) or 'empty ones'}; choose another "
            "one."
        )
    remarks: list[Remark] = []
    # Competitions publish their test images with the label -1.
    for split in [split for split, source in sources.items() if source.label_at(0) < 0]:
        if split == "train":
            raise UserError(f"The training images of {name} have no labels; choose another data set.")
        remarks.append(Remark(split, "the images of this split have no labels", PASSED_OVER))
        del sources[split]
    known = {"train": "train", "test": "test", **dict.fromkeys(_VALIDATION, "val")}
    ours: dict[str, Source] = {known[split]: source for split, source in sources.items() if split in known}
    problem = "the split is none of train, validation and test"
    remarks += [Remark(split, problem, PASSED_OVER) for split in sources if split not in known]
    splits, noticed = with_test(ours, name, options)
    return splits, remarks + noticed


def _damaged(place: str, error: Exception) -> UserError:
    return UserError(
        f"The data set in {place} cannot be read ({_why(error)}): a file is missing or damaged; delete that folder and "
        "prepare it again."
    )


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

"""CIFAR-10 and CIFAR-100, in the Python and the binary edition, as a folder or as the official archive.

Source: A. Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009,
https://www.cs.toronto.edu/~kriz/cifar.html.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from jaxtl.data.dataset import Dataset
from jaxtl.data.official_files import OfficialFiles, damaged, find, find_or_fetch, read_files
from jaxtl.data.pickles import read_pickled_dict
from jaxtl.errors import UserError

HOME_PAGE = "https://www.cs.toronto.edu/~kriz/cifar.html"
IMAGE_SHAPE = (32, 32, 3)
PIXEL_BYTES = 3 * 32 * 32


@dataclasses.dataclass(frozen=True)
class Edition(OfficialFiles):
    """One form in which a CIFAR set is published, as batch files.

    Attributes:
      decode: turns the content of a batch file, with its place for error messages, into uint8 images [N, 32, 32, 3]
        and a sequence of N labels.
    """

    decode: Callable[[bytes, str], tuple[np.ndarray, Sequence[int]]]


@dataclasses.dataclass(frozen=True)
class Cifar:
    """A CIFAR set: its name, its K classes, and its editions; the first edition is the one to download."""

    name: str
    class_names: tuple[str, ...]
    editions: tuple[Edition, ...]


def load_cifar(
    cifar: Cifar,
    split: str,
    data_dir: Path,
    *,
    download: bool,
    progress: object = None,
    md5: Mapping[str, str] | None,
) -> Dataset:
    """Find the set in or under ``data_dir``, or download it to there, and read one split.

    Args:
      cifar: ``CIFAR10`` or ``CIFAR100``.
      split: ``"train"`` or ``"test"``.
      data_dir: the folder of batch files, or the folder that holds it or the archive.
      download: whether to fetch the archive when nothing is found.
      progress: not needed, reading takes a second.
      md5: see ``read_cifar``.

    Raises:
      UserError: nothing is found, the download fails, or a file is missing, truncated or altered.
    """
    archive = cifar.editions[0].archive
    found = find_or_fetch(
        cifar.name,
        cifar.editions,
        data_dir,
        archive_url=f"{HOME_PAGE.rpartition('/')[0]}/{archive}",
        download=download,
        archive_md5=None if md5 is None else md5.get(archive),
    )
    return read_cifar(cifar, split, *found, md5=md5)


def find_cifar(cifar: Cifar, data_dir: Path) -> tuple[Edition, Path] | None:
    """Look for a folder of batch files, then for an archive: the edition and its place, or ``None``."""
    return find(cifar.editions, data_dir)


def read_cifar(cifar: Cifar, split: str, edition: Edition, place: Path, *, md5: Mapping[str, str] | None) -> Dataset:
    """Read one split from the folder or archive at ``place``; the files of the other split are left alone.

    Args:
      cifar: the set.
      split: ``"train"`` or ``"test"``.
      edition: the edition that lies at ``place``.
      place: a folder of batch files or an archive.
      md5: the hash of every batch file and archive by file name, checked before anything is decoded; ``None`` checks
        the structure alone.

    Returns:
      uint8 images [N, 32, 32, 3] in the order of the official files.

    Raises:
      UserError: a file is missing, truncated or altered.
    """
    names = edition.files[split]
    parts = {}
    for name, source, raw in read_files(edition, split, place, home_page=HOME_PAGE, md5=md5):
        images, labels = edition.decode(raw, source)
        for index, label in enumerate(labels):
            if not 0 <= label < len(cifar.class_names):
                raise _damaged(source, f"label {label} of image {index} is outside 0..{len(cifar.class_names) - 1}")
        parts[name] = images, np.asarray(labels, np.int32)
    return Dataset(
        np.concatenate([parts[name][0] for name in names]),
        np.concatenate([parts[name][1] for name in names]),
        cifar.class_names,
    )


def decode_python(raw: bytes, source: str, *, label_key: str) -> tuple[np.ndarray, list[int]]:
    """Decode a batch file of the Python edition: a pickled dictionary with the arrays of pixels and of labels."""
    batch = read_pickled_dict(raw, source, ("data", label_key))
    pixels, labels = batch["data"], batch[label_key]
    if not isinstance(labels, list) or not all(type(label) is int for label in labels):
        raise _damaged(source, f"its {label_key!r} are not a list of integers")
    if not isinstance(pixels, np.ndarray) or pixels.shape != (len(labels), PIXEL_BYTES):
        shape = list(getattr(pixels, "shape", ()))
        raise _damaged(source, f"its 'data' have the shape {shape} instead of [{len(labels)}, {PIXEL_BYTES}]")
    return _images(pixels), labels


def decode_binary(raw: bytes, source: str, *, label_bytes: int) -> tuple[np.ndarray, Sequence[int]]:
    """Decode a batch file of the binary edition: records of ``label_bytes`` labels, the finest last, and the pixels."""
    record_bytes = label_bytes + PIXEL_BYTES
    if not raw or len(raw) % record_bytes:
        raise _damaged(source, f"its {len(raw):,} bytes are no whole number of records of {record_bytes:,} bytes")
    records = np.frombuffer(raw, np.uint8).reshape(-1, record_bytes)
    return _images(records[:, label_bytes:]), records[:, label_bytes - 1].tolist()


def _images(pixels: np.ndarray) -> np.ndarray:
    """uint8 [N, 3072], the red, the green and the blue plane one after the other, as images [N, 32, 32, 3]."""
    height, width, channels = IMAGE_SHAPE
    return np.ascontiguousarray(pixels.reshape(-1, channels, height, width).transpose(0, 2, 3, 1))


def _damaged(source: str, reason: str) -> UserError:
    return damaged(source, reason, HOME_PAGE)


_CIFAR10_TRAIN = tuple(f"data_batch_{number}" for number in range(1, 6))

CIFAR10 = Cifar(
    name="CIFAR-10",
    class_names=("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
    editions=(
        Edition(
            folder="cifar-10-batches-py",
            archive="cifar-10-python.tar.gz",
            files={"train": _CIFAR10_TRAIN, "test": ("test_batch",)},
            decode=functools.partial(decode_python, label_key="labels"),
        ),
        Edition(
            folder="cifar-10-batches-bin",
            archive="cifar-10-binary.tar.gz",
            files={"train": tuple(f"{name}.bin" for name in _CIFAR10_TRAIN), "test": ("test_batch.bin",)},
            decode=functools.partial(decode_binary, label_bytes=1),
        ),
    ),
)

CIFAR100 = Cifar(
    name="CIFAR-100",
    class_names=tuple(
        """
        apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can
        castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin
        elephant flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster
        man maple_tree motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck
        pine_tree plain plate poppy porcupine possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk
        skyscraper snail snake spider squirrel streetcar sunflower sweet_pepper table tank telephone television tiger
        tractor train trout tulip turtle wardrobe whale willow_tree wolf woman worm
        """.split()  # noqa: SIM905 -- a list literal would take a hundred lines
    ),
    editions=(
        Edition(
            folder="cifar-100-python",
            archive="cifar-100-python.tar.gz",
            files={"train": ("train",), "test": ("test",)},
            decode=functools.partial(decode_python, label_key="fine_labels"),
        ),
        Edition(
            folder="cifar-100-binary",
            archive="cifar-100-binary.tar.gz",
            files={"train": ("train.bin",), "test": ("test.bin",)},
            decode=functools.partial(decode_binary, label_bytes=2),  # coarse, then fine
        ),
    ),
)

# Published on the home page (archives) or in common use by readers of the files (batches).
OFFICIAL_MD5 = {
    "cifar-10-python.tar.gz": "c58f30108f718f92721af3b95e74349a",
    "data_batch_1": "c99cafc152244af753f735de768cd75f",
    "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
    "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
    "data_batch_4": "634d18415352ddfa80567beed471001a",
    "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
    "test_batch": "40351d587109b95175f43aff81a1287e",
    "cifar-10-binary.tar.gz": "c32a1d4ab5d03f1284b67883e8d87530",
    "data_batch_1.bin": "5dd7e06a14cb22eb9f671a540d1b7c25",
    "data_batch_2.bin": "5ea93a67294ea407fff1d09f752e9692",
    "data_batch_3.bin": "942cd6a4bcdd0dd3c604fbe906cb4421",
    "data_batch_4.bin": "ae636b3ba5c66a11e91e8cb52e771fcb",
    "data_batch_5.bin": "53f37980c15c3d472c316c40844f3f0d",
    "test_batch.bin": "803d5f7f4d78ea53de84dbe85f74fb6d",
    "cifar-100-python.tar.gz": "eb9058c3a382ffc7106e4002c42a8d85",
    "train": "16019d7e3df5f24257cddd939b257f8d",
    "test": "f0ef6b0ae62326f3e7ffdfab6717acfc",
    "cifar-100-binary.tar.gz": "03b5dce01913d631647c71ecec9e9cb8",
    "train.bin": "6172c7755cfe09b2fe270c85cebc1b15",
    "test.bin": "4499cfba6c016c1be1438163640a0898",
}

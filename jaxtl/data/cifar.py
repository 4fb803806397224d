"""CIFAR-10 and CIFAR-100, in the Python and the binary edition.

Source: A. Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009,
https://www.cs.toronto.edu/~kriz/cifar.html.
"""

import io
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from jaxtl.data.official_files import Edition, Published
from jaxtl.runtime.unpickle import unpickle

HOME_PAGE = "https://www.cs.toronto.edu/~kriz/cifar.html"
IMAGE_SHAPE = (32, 32, 3)
PIXEL_BYTES = 3 * 32 * 32


# What decodes a file into pixels, uint8 [N, 3072], and N labels.
DecodeFile = Callable[[bytes], tuple[np.ndarray, Any]]


def _decode(decode_file: DecodeFile, files: Sequence[bytes]) -> tuple[np.ndarray, np.ndarray]:
    """All batch files of a split as images and labels."""
    pixels, labels = zip(*map(decode_file, files), strict=True)
    H, W, C = IMAGE_SHAPE  # the red, the green and the blue plane lie one after the other
    images = np.concatenate(pixels).reshape(-1, C, H, W).transpose(0, 2, 3, 1)
    return np.ascontiguousarray(images), np.concatenate(labels).astype(np.int32)


def _python(label_key: str, raw: bytes) -> tuple[np.ndarray, Sequence[int]]:
    """A batch file of the Python edition: a dictionary with the arrays of pixels and of labels, pickled by Python 2."""
    batch = unpickle(io.BytesIO(raw), STAND_INS)
    return batch["data"].array, batch[label_key]


def _binary(label_bytes: int, raw: bytes) -> tuple[np.ndarray, np.ndarray]:
    """A batch file of the binary edition: records of ``label_bytes`` labels, the finest last, and pixels."""
    records = np.frombuffer(raw, np.uint8).reshape(-1, label_bytes + PIXEL_BYTES)
    return records[:, label_bytes:], records[:, label_bytes - 1]


class _Array:
    """Stands for an array of uint8."""

    array: np.ndarray

    def __init__(self, *_: Any) -> None: ...

    def set_state(self, state: tuple) -> None:
        _version, shape, _dtype, is_fortran, items = state
        raw = items.encode("latin-1") if isinstance(items, str) else items  # a string of Python 2
        self.array = np.frombuffer(raw, np.uint8).reshape(shape, order="F" if is_fortran else "C")


class _Dtype:
    """Stands for the dtype uint8; its state is the byte order, which means nothing for single bytes."""

    def __init__(self, *_: Any) -> None: ...

    def set_state(self, state: tuple) -> None: ...


STAND_INS = {
    ("numpy.core.multiarray", "_reconstruct"): _Array,
    ("numpy._core.multiarray", "_reconstruct"): _Array,  # its address since NumPy 2
    ("numpy", "ndarray"): _Array,  # only ever handed to _reconstruct
    ("numpy", "dtype"): _Dtype,
}


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


def _published(name: str, class_names: tuple[str, ...], python: Edition, binary: Edition) -> Published:
    url = f"{HOME_PAGE.rpartition('/')[0]}/{python.archive}"
    sizes = {"train": 50_000, "test": 10_000}
    return Published(name, HOME_PAGE, url, IMAGE_SHAPE, sizes, class_names, (python, binary), OFFICIAL_MD5)


_TRAIN = tuple(f"data_batch_{number}" for number in range(1, 6))

CIFAR10 = _published(
    "CIFAR-10",
    ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
    Edition(
        "cifar-10-batches-py",
        "cifar-10-python.tar.gz",
        {"train": _TRAIN, "test": ("test_batch",)},
        partial(_decode, partial(_python, "labels")),
    ),
    Edition(
        "cifar-10-batches-bin",
        "cifar-10-binary.tar.gz",
        {"train": tuple(f"{name}.bin" for name in _TRAIN), "test": ("test_batch.bin",)},
        partial(_decode, partial(_binary, 1)),
    ),
)

CIFAR100 = _published(
    "CIFAR-100",
    tuple(
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
    Edition(
        "cifar-100-python",
        "cifar-100-python.tar.gz",
        {"train": ("train",), "test": ("test",)},
        partial(_decode, partial(_python, "fine_labels")),
    ),
    Edition(
        "cifar-100-binary",
        "cifar-100-binary.tar.gz",
        {"train": ("train.bin",), "test": ("test.bin",)},
        partial(_decode, partial(_binary, 2)),  # coarse, then fine
    ),
)

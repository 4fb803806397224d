"""STL-10, its labelled images, from the official binary files, as a folder or as the official archive.

Source: A. Coates, H. Lee, A. Ng, "An Analysis of Single Layer Networks in Unsupervised Feature Learning", AISTATS 2011,
http://ai.stanford.edu/~acoates/stl10/. The 100,000 unlabelled images of the archive are not used.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from jaxtl.data.dataset import Dataset
from jaxtl.data.official_files import OfficialFiles, damaged, find_or_fetch, read_files

HOME_PAGE = "https://cs.stanford.edu/~acoates/stl10/"
ARCHIVE_URL = "http://ai.stanford.edu/~acoates/stl10/stl10_binary.tar.gz"
IMAGE_SHAPE = (96, 96, 3)
IMAGE_BYTES = 3 * 96 * 96
CLASS_NAMES = ("airplane", "bird", "car", "cat", "deer", "dog", "horse", "monkey", "ship", "truck")

BINARY = OfficialFiles(
    folder="stl10_binary",
    archive="stl10_binary.tar.gz",
    files={"train": ("train_X.bin", "train_y.bin"), "test": ("test_X.bin", "test_y.bin")},
)

# In common use by readers of the files.
OFFICIAL_MD5 = {
    "train_X.bin": "918c2871b30a85fa023e0c44e0bee87f",
    "train_y.bin": "5a34089d4802c674881badbb80307741",
    "test_X.bin": "7f263ba9f9e0b06b93213547f721ac82",
    "test_y.bin": "36f9794fa4beb8a2c72628de14fa638e",
}
ARCHIVE_MD5 = "91f7769df0f17e558f3565bffb0c7dfb"


def load_stl10(
    split: str, data_dir: Path, *, download: bool, progress: object = None, md5: Mapping[str, str] | None
) -> Dataset:
    """Find the set in or under ``data_dir``, or download it to there, and read one split.

    An archive is decompressed no further than the files of the split reach. Its own hash is checked once, when it is
    downloaded, and not again for every split and run: it is that of 2.6 GB, nine tenths of them unlabelled images,
    and the files that are read have hashes of their own.

    Args:
      split: ``"train"``, 5,000 images, or ``"test"``, 8,000.
      data_dir: the folder of official files, or the folder that holds it or the archive.
      download: whether to fetch the archive when nothing is found.
      progress: not needed, reading takes seconds.
      md5: the hash of every file by its name, checked before anything is decoded; ``None`` checks the structure alone.

    Returns:
      uint8 images [N, 96, 96, 3] in the order of the official files; label 0 is the official label 1.

    Raises:
      UserError: nothing is found, the download fails, or a file is missing, truncated or altered.
    """
    form, place = find_or_fetch(
        "STL-10",
        (BINARY,),
        data_dir,
        archive_url=ARCHIVE_URL,
        download=download,
        archive_md5=None if md5 is None else ARCHIVE_MD5,
    )
    files = {name: (source, raw) for name, source, raw in read_files(form, split, place, home_page=HOME_PAGE, md5=md5)}
    (images_source, pixels), (labels_source, labels) = (files[name] for name in form.files[split])
    images = decode_images(pixels, images_source)
    if len(labels) != len(images):
        raise damaged(labels_source, f"it has {len(labels):,} labels for {len(images):,} images", HOME_PAGE)
    return Dataset(images, decode_labels(labels, labels_source), CLASS_NAMES)


def decode_images(raw: bytes, source: str) -> np.ndarray:
    """The content of a file of images as uint8 ``[N, 96, 96, 3]``.

    The file has the red, the green and the blue plane of an image one after the other, and each plane column by
    column.

    Args:
      raw: the content.
      source: its place, for error messages.

    Raises:
      UserError: it is no whole number of images.
    """
    if not raw or len(raw) % IMAGE_BYTES:
        raise damaged(source, f"its {len(raw):,} bytes are no whole number of images of {IMAGE_BYTES:,}", HOME_PAGE)
    height, width, channels = IMAGE_SHAPE
    planes = np.frombuffer(raw, np.uint8).reshape(-1, channels, width, height)
    return np.ascontiguousarray(planes.transpose(0, 3, 2, 1))


def decode_labels(raw: bytes, source: str) -> np.ndarray:
    """The content of a file of labels, a byte of 1..10 for each, as int32 ``[N]`` in 0..9.

    Args:
      raw: the content.
      source: its place, for error messages.

    Raises:
      UserError: a label is outside 1..10.
    """
    labels = np.frombuffer(raw, np.uint8).astype(np.int32)
    outside = np.flatnonzero((labels < 1) | (labels > len(CLASS_NAMES)))
    if outside.size:
        raise damaged(
            source, f"label {labels[outside[0]]} of image {outside[0]} is outside 1..{len(CLASS_NAMES)}", HOME_PAGE
        )
    return labels - 1

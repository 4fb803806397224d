"""STL-10, its labelled images, from the official binary files.

Source: A. Coates, H. Lee, A. Ng, "An Analysis of Single Layer Networks in Unsupervised Feature Learning", AISTATS 2011,
http://ai.stanford.edu/~acoates/stl10/. The 100,000 unlabelled images of the archive are not used; an archive is
decompressed no further than the files of the split reach.
"""

from collections.abc import Sequence

import numpy as np

from jaxtl.data.official_files import Edition, Published

IMAGE_SHAPE = (96, 96, 3)
CLASS_NAMES = ("airplane", "bird", "car", "cat", "deer", "dog", "horse", "monkey", "ship", "truck")


def _decode(files: Sequence[bytes]) -> tuple[np.ndarray, np.ndarray]:
    """A file of images and one of labels.

    The first has the red, the green and the blue plane of an image one after the other, each column by column; the
    second a byte of 1..10 for each image, which becomes 0..9.
    """
    raw, raw_labels = files
    H, W, C = IMAGE_SHAPE
    images = np.frombuffer(raw, np.uint8).reshape(-1, C, W, H).transpose(0, 3, 2, 1)
    return np.ascontiguousarray(images), np.frombuffer(raw_labels, np.uint8).astype(np.int32) - 1


# In common use by readers of the files.
OFFICIAL_MD5 = {
    "train_X.bin": "918c2871b30a85fa023e0c44e0bee87f",
    "train_y.bin": "5a34089d4802c674881badbb80307741",
    "test_X.bin": "7f263ba9f9e0b06b93213547f721ac82",
    "test_y.bin": "36f9794fa4beb8a2c72628de14fa638e",
    "stl10_binary.tar.gz": "91f7769df0f17e558f3565bffb0c7dfb",
}

STL10 = Published(
    "STL-10",
    "https://cs.stanford.edu/~acoates/stl10/",
    "http://ai.stanford.edu/~acoates/stl10/stl10_binary.tar.gz",
    IMAGE_SHAPE,
    {"train": 5_000, "test": 8_000},
    CLASS_NAMES,
    (
        Edition(
            "stl10_binary",
            "stl10_binary.tar.gz",
            {"train": ("train_X.bin", "train_y.bin"), "test": ("test_X.bin", "test_y.bin")},
            _decode,
        ),
    ),
    OFFICIAL_MD5,
)

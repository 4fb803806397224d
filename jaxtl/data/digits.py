"""The handwritten digits that come with scikit-learn: a data set that needs no network.

Source: E. Alpaydin, C. Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine Learning Repository, 1998,
https://archive.ics.uci.edu/dataset/80/optical+recognition+of+handwritten+digits; licence: CC BY 4.0.
"""

import numpy as np

from jaxtl.data.dataset import Dataset
from jaxtl.data.split import stratified_split

CLASS_NAMES = tuple("0123456789")


def load_digits(split: str) -> Dataset:
    """1,797 digits as uint8 images [N, 8, 8, 1]: 899 for ``split="train"``, 898 for ``split="test"``.

    scikit-learn ships the digits as one set. The two halves are jaxtl's own, stratified with a fixed seed: figures on
    them compare with each other, but not with published ones.
    """
    # Imported here because scikit-learn takes a second that other data sets need not wait for.
    import sklearn.datasets

    digits = sklearn.datasets.load_digits()
    images = np.round(digits.images * 255 / 16).astype(np.uint8)[..., np.newaxis]  # values 0..16 become 0..255
    labels = digits.target.astype(np.int32)
    train, test = stratified_split(labels, 0.5, seed=0)
    half = {"train": train, "test": test}[split]
    return Dataset(images[half], labels[half], CLASS_NAMES)

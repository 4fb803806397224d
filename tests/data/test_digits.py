import numpy as np
import pytest
import sklearn.datasets

from jaxtl.data.digits import load_digits


@pytest.mark.parametrize(("split", "size"), [("train", 899), ("test", 898)])
def test_each_half_is_stratified(split, size):
    digits = load_digits(split)
    assert digits.images.shape == (size, 8, 8, 1)
    assert digits.class_names == tuple("0123456789")
    whole = np.bincount(sklearn.datasets.load_digits().target)
    assert np.all(np.abs(np.bincount(digits.labels) - whole / 2) <= 0.5)


def test_the_halves_are_scikit_learns_digits_each_once():
    source = sklearn.datasets.load_digits()
    expected = sorted((*pixels, label) for pixels, label in zip(source.data.astype(int), source.target, strict=True))
    halves = [load_digits(split) for split in ("train", "test")]
    found = sorted(
        (*np.round(image.ravel() / 255 * 16).astype(int), label)
        for half in halves
        for image, label in zip(half.images, half.labels, strict=True)
    )
    assert np.array_equal(found, expected)


def test_the_darkest_value_becomes_255():
    images = load_digits("train").images
    assert images.dtype == np.uint8
    assert np.array_equal(np.unique(images), np.round(np.arange(17) * 255 / 16))


def test_loading_twice_gives_the_same_split():
    assert np.array_equal(load_digits("test").images, load_digits("test").images)

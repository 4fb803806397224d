"""The fields of a phase that change its training images: each does something, and only what it says."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxtl.data.augment import normalise
from jaxtl.transfer import Phase
from jaxtl.transfer.augmentation import Augmentation

IMAGES = np.random.default_rng(0).integers(1, 256, (30, 12, 12, 3), np.uint8)
TARGETS = jnp.eye(30)
PREPROCESS = normalise([0.0], [1.0])
KEY = jax.random.key(3)

# A value of every field, and the fields without which it means nothing.
VALUES = [
    ({"flip": True}, {}),
    ({"crop": 2}, {}),
    ({"crop_border": "reflect"}, {"crop": 4}),
    ({"vertical_flip": True}, {}),
    ({"quarter_turns": True}, {}),
    ({"resized_crop": 0.3}, {}),
    ({"resized_crop_ratio": 3.0}, {"resized_crop": 0.3}),
    ({"brightness": 0.3}, {}),
    ({"contrast": 0.3}, {}),
    ({"saturation": 0.3}, {}),
    ({"hue": 0.2}, {}),
    ({"auto_augment": "randaugment"}, {}),
    ({"auto_augment": "trivialaugment"}, {}),
    ({"randaugment_operations": 1}, {"auto_augment": "randaugment"}),
    ({"randaugment_magnitude": 29}, {"auto_augment": "randaugment"}),
    ({"erasing": 1.0}, {}),
    ({"mixup": 0.4}, {}),
    ({"cutmix": 1.0}, {}),
]


@functools.cache
def drawing(phase):
    """What draws the images of a phase, compiled once."""
    transform, mix = phase.transform(PREPROCESS), phase.mix()

    @jax.jit
    def draw(key):
        images = transform(key, IMAGES)
        return mix(key, images, TARGETS) if mix else (images, TARGETS)

    return draw


def drawn(key=KEY, **recipe):
    images, targets = drawing(Augmentation(**recipe))(key)
    np.testing.assert_allclose(targets.sum(1), 1, rtol=1e-6)
    assert images.shape == IMAGES.shape and images.dtype == jnp.float32
    assert images.min() >= -1e-6 and images.max() <= 1 + 1e-6
    return np.asarray(images)


@pytest.mark.parametrize(("fields", "needed"), VALUES, ids=str)
def test_every_field_does_something(fields, needed):
    with_it, without = drawn(**needed, **fields), drawn(**needed)
    assert (with_it != without).any((1, 2, 3)).mean() > 0.3
    assert Phase(**needed, **fields).augments
    assert Phase(**fields).augments == (not needed), "fields that mean nothing alone do nothing alone"
    np.testing.assert_array_equal(with_it, drawn(**needed, **fields))
    assert (with_it != drawn(jax.random.key(4), **needed, **fields)).any()


def test_every_field_is_tested():
    assert {name for fields, _ in VALUES for name in fields} == {each.name for each in dataclasses.fields(Augmentation)}


def test_without_augmentation_images_are_only_prepared():
    assert not Phase().augments and Phase().mix() is None
    np.testing.assert_array_equal(drawn(), jax.jit(PREPROCESS)(KEY, IMAGES))


def test_erased_pixels_have_the_mean_of_the_data():
    transform = Phase(erasing=1.0).transform(normalise([0.5], [0.25]))
    found = np.asarray(transform(KEY, IMAGES))
    assert (found == 0).mean() > 0.02
    assert ((found == 0) | np.isclose(found, (IMAGES / 255 - 0.5) / 0.25, atol=1e-5)).all()


def test_a_phase_gives_its_augmentation_alone():
    phase = Phase(epochs=3, flip=True, crop=2, crop_border="reflect", cached_views=2)
    assert phase.alone() == Augmentation(flip=True, crop=2, crop_border="reflect")

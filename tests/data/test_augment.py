import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from jaxtl.data.augment import compose, horizontal_flip, normalise, pad_and_crop, resize

KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (16, 6, 5, 3), dtype=np.uint8)


def smooth_image(height: int, width: int) -> np.ndarray:
    """A soft gradient with a wave: what a photograph is like far from edges."""
    y, x = np.mgrid[:height, :width] / max(height, width)
    channels = [y, x, (np.sin(9 * x + 5 * y) + 1) / 2]
    return np.round(255 * np.stack(channels, -1)).astype(np.uint8)


def noise_image(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_flip_mirrors_about_half_of_the_images_and_leaves_the_rest(dtype):
    images = RNG.integers(0, 256, (2000, 2, 3, 1)).astype(dtype)
    images[:, 0, 0], images[:, 0, 2] = 0, 1  # no image is its own mirror image
    flipped = np.asarray(horizontal_flip()(KEY, images))
    assert flipped.dtype == dtype
    kept, mirrored = (np.all(flipped == other, axis=(1, 2, 3)) for other in (images, images[:, :, ::-1]))
    assert np.all(kept ^ mirrored)
    assert mirrored.mean() == pytest.approx(0.5, abs=0.04)


@pytest.mark.parametrize(("probability", "expected"), [(0.0, IMAGES), (1.0, IMAGES[:, :, ::-1])])
def test_flip_never_and_always(probability, expected):
    np.testing.assert_array_equal(horizontal_flip(probability)(KEY, IMAGES), expected)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_crop_takes_every_place_of_the_padded_image_equally_often(dtype):
    padding, copies = 2, 5000
    # All pixels differ and none is 0, so that a crop tells its place.
    image = np.arange(1, 37, dtype=dtype).reshape(4, 9, 1)
    padded = np.pad(image, ((padding, padding), (padding, padding), (0, 0)))
    places = {
        padded[y : y + 4, x : x + 9].tobytes(): (y, x) for y in range(2 * padding + 1) for x in range(2 * padding + 1)
    }
    crops = np.asarray(pad_and_crop(padding)(KEY, np.repeat(image[None], copies, axis=0)))
    assert crops.dtype == dtype
    found = [places[crop.tobytes()] for crop in crops]
    counts = np.zeros((2 * padding + 1,) * 2, int)
    np.add.at(counts, tuple(np.transpose(found)), 1)
    # Expected 200 each; the standard deviation is 14.
    assert counts.min() > 140
    assert counts.max() < 260


def test_a_crop_may_see_the_border_reflected():
    image = np.arange(1, 21, dtype=np.uint8).reshape(1, 4, 5, 1)
    padded = np.pad(image[0], ((2, 2), (2, 2), (0, 0)), mode="reflect")
    places = {padded[y : y + 4, x : x + 5].tobytes() for y in range(5) for x in range(5)}
    crops = np.asarray(pad_and_crop(2, "reflect")(KEY, np.repeat(image, 500, axis=0)))
    assert {crop.tobytes() for crop in crops} == places


def test_compose_applies_in_order():
    def double(key, images):
        return images * 2

    def increase(key, images):
        return images + 1

    assert compose(double, increase)(KEY, 5) == 11
    assert compose(increase, double)(KEY, 5) == 12
    assert compose()(KEY, 5) == 5


def test_compose_gives_every_transform_a_key_of_its_own():
    keys = []

    def remember(key, images):
        keys.append(jax.random.key_data(key).tolist())
        return images

    compose(remember, remember, remember)(KEY, IMAGES)
    assert len({tuple(key) for key in [*keys, jax.random.key_data(KEY).tolist()]}) == 4


@pytest.mark.parametrize("make", [smooth_image, noise_image])
@pytest.mark.parametrize(
    ("before", "after"),
    [
        ((32, 32), (224, 224)),  # study E
        ((32, 32), (48, 40)),
        ((96, 96), (32, 32)),
        ((97, 61), (32, 45)),  # odd, and not the same factor both ways
        ((40, 90), (80, 30)),  # enlarging one way, shrinking the other
    ],
)
def test_resize_agrees_with_pillow_within_one_grey_level(make, before, after):
    image = make(*before)
    expected = np.asarray(Image.fromarray(image).resize(after[::-1], Image.Resampling.BILINEAR), np.float32)
    found = resize(*after)(KEY, image[None])
    assert found.shape == (1, *after, 3)
    assert found.dtype == jnp.float32
    error = np.abs(found[0] - expected)
    assert error.mean() < 1
    assert error.max() <= 2  # not one pixel is far off, at the edges neither


def test_resize_to_the_same_size_changes_the_dtype_alone():
    same = resize(6, 5)(KEY, IMAGES)
    assert same.dtype == jnp.float32
    np.testing.assert_array_equal(same, IMAGES)


def test_normalise_is_its_formula_channel_by_channel():
    mean, std = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)
    normalised = normalise(mean, std)(KEY, IMAGES)
    assert normalised.dtype == jnp.float32
    np.testing.assert_allclose(normalised, (IMAGES / 255 - mean) / std, atol=2e-6)


def test_one_mean_serves_all_channels():
    normalised = normalise([0.5], [0.5])(KEY, np.array([0, 255], np.uint8).reshape(1, 1, 2, 1).repeat(3, -1))
    np.testing.assert_allclose(normalised[0, 0], [[-1] * 3, [1] * 3], atol=1e-6)


@pytest.mark.parametrize(
    ("transform", "draws"),
    [
        (horizontal_flip(), True),
        (pad_and_crop(2), True),
        (resize(4, 4), False),
        (normalise([0.5], [0.25]), False),
        (compose(horizontal_flip(), pad_and_crop(1), resize(8, 8), normalise([0.5], [0.5])), True),
    ],
    ids=["flip", "crop", "resize", "normalise", "all"],
)
def test_transforms_are_pure_functions_of_key_and_images(transform, draws):
    jitted = jax.jit(transform)
    first, again, other = jitted(KEY, IMAGES), jitted(KEY, IMAGES), jitted(jax.random.key(1), IMAGES)
    np.testing.assert_array_equal(first, again)
    assert np.array_equal(first, other) != draws
    np.testing.assert_allclose(first, transform(KEY, IMAGES), atol=1e-4)


def test_images_of_a_batch_are_drawn_independently():
    batch = np.repeat(IMAGES[:1], 64, axis=0)
    for transform, outcomes in ((horizontal_flip(), 2), (pad_and_crop(1), 9)):
        assert len({image.tobytes() for image in np.asarray(transform(KEY, batch))}) == outcomes

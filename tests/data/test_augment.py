import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from jaxtl.data.augment import (
    compose,
    denormalise,
    horizontal_flip,
    normalise,
    pad_and_crop,
    quarter_turns,
    resize,
    vertical_flip,
)
from jaxtl.data.boxes import random_erasing, random_resized_crop
from jaxtl.data.colour import colour_jitter
from jaxtl.data.mix import mix, random_mix
from jaxtl.data.policies import rand_augment, trivial_augment

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


def test_vertical_flip_exchanges_top_and_bottom():
    np.testing.assert_array_equal(vertical_flip(1.0)(KEY, IMAGES), IMAGES[:, ::-1])
    flipped = np.asarray(vertical_flip()(KEY, np.repeat(IMAGES[:1], 2000, axis=0)))
    assert (flipped == IMAGES[0, ::-1]).all((1, 2, 3)).mean() == pytest.approx(0.5, abs=0.04)


def test_quarter_turns_are_equally_likely():
    image = RNG.integers(0, 256, (5, 5, 2), dtype=np.uint8)
    turned = np.asarray(quarter_turns()(KEY, np.repeat(image[None], 2000, axis=0)))
    assert turned.dtype == np.uint8
    for turns in range(4):
        assert (turned == np.rot90(image, turns)).all((1, 2, 3)).mean() == pytest.approx(0.25, abs=0.04)


def test_denormalise_undoes_normalise():
    mean, std = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)
    np.testing.assert_array_equal(denormalise(normalise(mean, std)(KEY, IMAGES), mean, std), IMAGES)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_erasing_sets_a_rectangle_of_some_images_to_0(dtype):
    images = np.full((2000, 12, 10, 3), 7, dtype)
    erased = np.asarray(random_erasing(0.25)(KEY, images))
    assert erased.dtype == dtype
    assert set(np.unique(erased)) == {0, 7}
    hit = (erased == 0).any((1, 2, 3))
    assert hit.mean() == pytest.approx(0.25, abs=0.04)
    for mask in (erased[hit] == 0)[:50]:
        rows, columns = mask.any((1, 2)), mask.any((0, 2))
        assert mask.sum() == rows.sum() * columns.sum() * 3, "a whole rectangle in all channels"
    np.testing.assert_array_equal(random_erasing(0.0)(KEY, images), images)


# --- mixing ---


def test_mixed_images_and_labels_are_hand_computed():
    images = jnp.asarray(RNG.normal(size=(3, 2, 2, 1)), jnp.float32)
    targets = jnp.eye(3)
    mixed, soft = mix(images, targets, jnp.array([0.25, 1.0, 0.5])[:, None, None])
    np.testing.assert_allclose(mixed[0], 0.25 * images[0] + 0.75 * images[2], rtol=1e-6)
    np.testing.assert_allclose(soft, [[0.25, 0, 0.75], [0, 1, 0], [0, 0.5, 0.5]])
    pasted = jnp.array([[[True, True], [True, False]]] * 3)
    mixed, soft = mix(images, targets, ~pasted)
    np.testing.assert_array_equal(mixed[1], jnp.where(pasted[1][..., None], images[0], images[1]))
    np.testing.assert_allclose(soft[1], [0.75, 0.25, 0])


@pytest.mark.parametrize(("mixup", "cutmix"), [(0.2, 0.0), (0.0, 1.0)])
def test_one_kind_of_mixing_draws_nothing_for_the_other(mixup, cutmix):
    program = jax.jit(random_mix(mixup, cutmix)).lower(KEY, jnp.zeros((4, 6, 5, 1)), jnp.eye(4)).as_text()
    assert ("randint" in program) is (cutmix > 0)


@pytest.mark.parametrize(("mixup", "cutmix"), [(0.2, 0.0), (0.0, 1.0), (0.4, 1.0)])
def test_soft_labels_sum_to_one_and_say_what_is_mixed(mixup, cutmix):
    count = 2000
    images = np.tile(np.array([0, 1], np.float32)[:, None, None, None], (count // 2, 6, 5, 1))  # the class is the value
    mixed, soft = jax.jit(random_mix(mixup, cutmix))(KEY, images, np.eye(2, dtype=np.float32)[np.arange(count) % 2])
    np.testing.assert_allclose(np.sum(soft, axis=1), 1, rtol=1e-6)
    np.testing.assert_allclose(np.mean(mixed, axis=(1, 2, 3)), soft[:, 1], atol=1e-5)
    own = np.asarray(soft)[np.arange(count), np.arange(count) % 2]
    is_cut = np.isin(mixed, (0, 1)).all((1, 2, 3)) & (own > 0.01) & (own < 0.99)
    if not cutmix:
        assert own.mean() == pytest.approx(0.5, abs=0.05)
        assert own.var() == pytest.approx(0.25 / (2 * mixup + 1), rel=0.1), "of Beta(alpha, alpha)"
        assert not is_cut.any()
    elif mixup:
        assert 0.25 < is_cut.mean() < 0.6
    else:
        assert np.isin(mixed, (0, 1)).all()


@pytest.mark.parametrize(
    "transform",
    [
        *(vertical_flip(), random_resized_crop(0.3), random_erasing(1.0), rand_augment(), trivial_augment()),
        *(colour_jitter(brightness=0.5, hue=0.2), quarter_turns()),
    ],
)
def test_the_key_decides_everything(transform):
    images, jitted = np.tile(IMAGES[:, :5], (3, 3, 3, 1)), jax.jit(transform)
    first, again, other = jitted(KEY, images), jitted(KEY, images), jitted(jax.random.key(1), images)
    assert first.shape == images.shape and first.dtype == jnp.uint8
    np.testing.assert_array_equal(first, again)
    assert (np.asarray(first) != other).any((1, 2, 3)).mean() > 0.35

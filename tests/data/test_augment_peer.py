"""Augmentation beside torchvision's, whose answers `make_augment_golden.py` has stored."""

from pathlib import Path

import augment_rule as rule
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxtl.data import boxes, colour, mix, policies

GOLDEN = np.load(Path(__file__).with_name("augment_golden.npz"))
KEY = jax.random.key(0)
H, W = rule.SIZE
# Two samples of 10,000 draws of one distribution differ by more at one time in a million.
KOLMOGOROV = 2.7 * np.sqrt(2 / rule.DRAWS)


def repeated(count, channels=3):
    return jnp.asarray(np.repeat(rule.draw_image(channels)[None], count, axis=0))


@pytest.mark.parametrize("channels", [1, 3])
def test_every_operation_is_torchvisions_at_fixed_magnitudes(channels):
    names, magnitudes = zip(*rule.OPERATIONS, strict=True)
    assert set(names) == set(policies.OPERATIONS)
    numbers = jnp.array([policies.OPERATIONS.index(name) for name in names])
    found = jax.jit(policies.apply_operations)(repeated(len(names), channels), numbers, jnp.array(magnitudes))
    assert found.dtype == jnp.uint8
    for image, name, magnitude in zip(np.asarray(found), names, magnitudes, strict=True):
        expected = GOLDEN[f"{channels}/{name} {magnitude}"]
        apart = np.abs(rule.sample(image).astype(int) - expected)
        if name in policies.ENHANCEMENTS:  # blends of floats, cut to whole numbers
            assert apart.max() <= 1 and apart.mean() < 0.02, (name, magnitude, apart.max(), apart.mean())
        else:
            assert not apart.any(), (name, magnitude, apart.max(), apart.mean())
        changes = name != "identity" and not (name == "saturation" and channels == 1)
        assert (image != rule.draw_image(channels)).any() == changes


def test_hue_is_torchvisions():
    found = colour.adjust(repeated(len(rule.TURNS)), "hue", jnp.array(rule.TURNS))
    for image, turn in zip(np.asarray(found), rule.TURNS, strict=True):
        assert np.abs(rule.sample(image).astype(int) - GOLDEN[f"hue {turn}"]).max() <= 1, turn


def test_a_resized_crop_is_torchvisions():
    chosen = boxes.Boxes(*jnp.array(rule.BOXES).T)
    found = boxes.resized_crop(repeated(len(rule.BOXES)).astype(jnp.float32), chosen)
    whole = boxes.resized_crop(repeated(len(rule.BOXES)), chosen)
    for image, rounded, box in zip(np.asarray(found), np.asarray(whole), rule.BOXES, strict=True):
        np.testing.assert_allclose(rule.sample(image), GOLDEN[f"crop {box}"], atol=1e-3)
        np.testing.assert_array_equal(rounded, np.round(image))
    np.testing.assert_array_equal(whole[0], rule.draw_image())


def assert_same_distribution(values, expected):
    found = rule.frequencies(values, len(expected) - 1)
    assert found.sum() == expected.sum() == rule.DRAWS
    assert np.abs(np.cumsum(found) - np.cumsum(expected)).max() / rule.DRAWS < KOLMOGOROV


@pytest.mark.parametrize("name", ["crops", "erased"])
def test_rectangles_are_distributed_as_torchvisions(name):
    shape = (rule.DRAWS, H, W)
    if name == "crops":
        drawn = boxes.draw_boxes(KEY, shape, rule.CROP["scale"], rule.CROP["ratio"])
    else:
        drawn = boxes.draw_boxes(KEY, shape, boxes.ERASED_AREA, boxes.ERASED_RATIO, smaller=True)
    for side, values in drawn._asdict().items():
        assert_same_distribution(values, GOLDEN[f"{name}/{side}"])
    assert (drawn.top + drawn.height <= H).all() and (drawn.left + drawn.width <= W).all()


@pytest.mark.parametrize(("shape", "expected"), [((4, 41), (0, 18, 4, 5)), ((40, 4), (17, 0, 5, 4))])
def test_where_no_rectangle_fits_it_is_torchvisions_in_the_middle(shape, expected):
    drawn = boxes.draw_boxes(KEY, (3, *shape), (1.0, 1.0), (3 / 4, 4 / 3))
    np.testing.assert_array_equal(jnp.stack(drawn, axis=1), [expected] * 3)


def test_pasted_rectangles_are_distributed_as_torchvisions():
    share = jax.random.uniform(KEY, (rule.DRAWS,))  # Beta(1, 1)
    drawn = mix.cut_boxes(jax.random.key(1), share, (H, W))
    assert_same_distribution(drawn.height * drawn.width, GOLDEN["cutmix"])


@pytest.mark.parametrize(
    ("name", "transform"),
    [
        ("jitter", colour.colour_jitter(**rule.JITTER)),
        ("randaugment", policies.rand_augment(2, 9)),
        ("trivialaugment", policies.trivial_augment()),
    ],
)
def test_images_of_ten_thousand_draws_are_distributed_as_torchvisions(name, transform):
    parts = 100 if name == "jitter" else 4  # of which each has one order
    draw = jax.jit(transform)
    batch = repeated(rule.DRAWS // parts)
    images = np.concatenate([draw(key, batch) for key in jax.random.split(KEY, parts)])
    (mean, std), (their_mean, their_std) = rule.moments(images.astype(np.float32)), GOLDEN[name]
    error = np.hypot(std, their_std) / np.sqrt(rule.DRAWS)
    assert (np.abs(mean - their_mean) < 5 * error + 0.1).all()
    np.testing.assert_allclose(std, their_std, rtol=0.08)


def test_operations_signs_and_levels_are_equally_likely():
    operation, magnitude = policies.draw_operations(KEY, rule.DRAWS, policies.WIDE)
    counts = np.bincount(operation, minlength=14)
    assert np.abs(counts - rule.DRAWS / 14).max() < 5 * np.sqrt(rule.DRAWS / 14)
    turned = np.asarray(magnitude)[np.asarray(operation) == policies.OPERATIONS.index("rotate")]
    assert np.unique(np.abs(turned)).size == 31 and np.abs(turned).max() == 135
    assert abs((turned > 0).mean() - 30 / 62) < 0.1
    fixed = policies.draw_operations(KEY, rule.DRAWS, policies.rand_space(H, W), 9)
    moved = np.asarray(fixed[1])[np.asarray(fixed[0]) == policies.OPERATIONS.index("translate_x")]
    np.testing.assert_allclose(np.unique(moved), np.array([-1, 1]) * W * 150 / 331 * 0.3, rtol=1e-6)

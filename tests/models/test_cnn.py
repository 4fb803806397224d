import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxtl.create import create_model
from jaxtl.errors import UserError
from jaxtl.models import build_model
from jaxtl.models.layers import conv


def init_shapes(model, size=32, channels=3):
    """The variables' shapes without computing one of them."""
    return jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, size, size, channels)))


def count(tree) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def test_cnn_has_the_parameters_of_study_a():
    # conv 3 -> 32, conv 32 -> 64, dense 64 * 8 * 8 -> 256, dense 256 -> 10, each with biases
    by_hand = (9 * 3 * 32 + 32) + (9 * 32 * 64 + 64) + (4096 * 256 + 256) + (256 * 10 + 10)
    assert count(init_shapes(build_model("cnn", 10))["params"]) == by_hand == 1_070_794


def test_logistic_regression_has_one_weight_a_pixel_and_class():
    assert count(init_shapes(build_model("logistic_regression", 10))["params"]) == 3072 * 10 + 10


def test_bn_cnn_is_four_blocks_with_batch_norm():
    shapes = init_shapes(build_model("bn_cnn", 9))
    stages = ["stem", "stage1", "stage2", "stage3"]
    assert sorted(shapes["batch_stats"]) == sorted(stages)
    assert [shapes["params"][stage]["conv1"]["kernel"].shape[-1] for stage in stages] == [32, 64, 128, 256]
    assert shapes["params"]["head"]["linear"]["kernel"].shape == (256, 9)


@pytest.mark.parametrize("name", ["cnn", "bn_cnn"])
def test_every_parameter_has_a_gradient(name, random_variables):
    model = build_model(name, 3, blocks=((3, 3),), hidden=(4, 4))
    images = jnp.asarray(np.random.default_rng(0).normal(size=(8, 4, 4, 3)), jnp.float32)
    variables = random_variables(model, images)

    @jax.jit
    @jax.grad
    def grad(params):
        logits, _ = model.apply(
            {**variables, "params": params},
            images,
            train=True,
            mutable=["batch_stats"],
            rngs={"dropout": jax.random.key(1)},
        )
        # Squares, since a sum of logits has no gradient through a normalisation.
        return (logits * jnp.arange(24).reshape(8, 3)).var()

    for path, leaf in jax.tree.leaves_with_path(grad(variables["params"])):
        assert np.abs(leaf).max() > 0, jax.tree_util.keystr(path)


def test_logistic_regression_is_one_matrix_on_the_flattened_pixels(random_variables):
    model = build_model("logistic_regression", 4)
    images = np.random.default_rng(0).normal(size=(5, 6, 7, 3)).astype(np.float32)
    variables = random_variables(model, images)
    kernel, bias = variables["params"]["head"]["linear"]["kernel"], variables["params"]["head"]["linear"]["bias"]
    expected = images.reshape(5, -1).astype(np.float64) @ np.asarray(kernel) + np.asarray(bias)
    np.testing.assert_allclose(model.apply(variables, images, train=False), expected, atol=1e-5)


@pytest.mark.parametrize("norm", ["none", "after_conv", "after_pool"])
def test_the_forward_pass_is_the_one_written_out(norm, random_variables):
    model = build_model("cnn", 3, blocks=((4, 5),), hidden=(6,), norm=norm)
    images = jnp.asarray(np.random.default_rng(1).normal(size=(4, 6, 6, 2)), jnp.float32)
    variables = random_variables(model, images)
    params, stats = variables["params"], variables.get("batch_stats", {})
    stem = params["stem"]

    def normed(x, name):
        mean, var = stats["stem"][name]["mean"], stats["stem"][name]["var"]
        return (x - mean) / np.sqrt(var + 1e-5) * stem[name]["scale"] + stem[name]["bias"]

    x = images
    for i, width in enumerate([4, 5], start=1):
        x = conv(width, 3).apply({"params": stem[f"conv{i}"]}, x)
        x = normed(x, f"norm{i}") if norm == "after_conv" else x
        x = np.maximum(x, 0)
    x = nn.max_pool(x, (2, 2), (2, 2))
    x = normed(x, "norm") if norm == "after_pool" else x
    x = x.reshape(4, -1)
    x = np.maximum(nn.Dense(6).apply({"params": params["hidden"]["linear1"]}, x), 0)
    x = nn.Dense(3).apply({"params": params["head"]["linear"]}, x)
    found = model.apply(variables, images, train=False)
    np.testing.assert_allclose(found, x, atol=1e-5)


@pytest.mark.parametrize("where", ["dropout", "block_dropout"])
def test_dropout_zeroes_its_share_and_scales_the_rest(where, random_variables):
    model = build_model("cnn", 0, blocks=((4,),), hidden=(500,) if where == "dropout" else (), **{where: 0.25})
    images = jnp.asarray(np.random.default_rng(0).normal(size=(20, 16, 16, 1)), jnp.float32)
    variables = random_variables(model, images)
    kept = np.asarray(model.apply(variables, images, train=False))
    dropped = np.asarray(model.apply(variables, images, train=True, rngs={"dropout": jax.random.key(1)}))
    alive = kept > 0
    assert (dropped[alive] == 0).mean() == pytest.approx(0.25, abs=0.03)
    np.testing.assert_allclose(dropped[dropped > 0], kept[dropped > 0] / 0.75, rtol=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"norm": "before"}, "norm of cnn is 'before'.*after_pool"),
        ({"dropout": 1.0}, r"dropout of cnn is 1\.0.*\[0, 1\)"),
        ({"block_dropout": -0.1}, r"block_dropout of cnn is -0\.1.*\[0, 1\)"),
        ({"hidden": (0,)}, r"hidden of cnn is \(0,\).*1 or more"),
        ({"blocks": ((4, 0),)}, r"blocks of cnn is \(\(4, 0\),\).*1 or more"),
    ],
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(UserError, match=message):
        build_model("cnn", 10, **options)


NARROW = {"blocks": ((4,),) * 4, "hidden": (8,)}


def test_grid_changes_nothing_at_the_size_it_was_made_for_and_takes_any_other():
    images = jax.random.normal(jax.random.key(1), (2, 32, 32, 3))
    plain, variables = create_model("bn_cnn", 10, key=jax.random.key(0), **NARROW)
    gridded = build_model("bn_cnn", 10, grid=2, **NARROW)
    np.testing.assert_array_equal(*(jax.jit(model.apply)(variables, images) for model in (plain, gridded)))
    assert jax.eval_shape(gridded.apply, variables, jnp.zeros((2, 96, 64, 3))).shape == (2, 10)


def test_grid_averages_over_cells():
    model = build_model("logistic_regression", 0, grid=2)
    images = jnp.arange(2 * 4 * 6 * 3, dtype=jnp.float32).reshape(2, 4, 6, 3)
    features = model.apply({}, images)
    by_hand = images.reshape(2, 2, 2, 2, 3, 3).mean((2, 4)).reshape(2, 12)
    assert np.allclose(features, by_hand, rtol=1e-6)


def test_another_image_size_without_grid_is_refused_with_the_grid_to_set():
    model, variables = create_model("bn_cnn", 10, key=jax.random.key(0), **NARROW)
    with pytest.raises(UserError, match=r"grid=2"):
        jax.eval_shape(model.apply, variables, jnp.zeros((1, 96, 96, 3)))
    with pytest.raises(UserError, match="grid of bn_cnn is -1"):
        build_model("bn_cnn", 10, grid=-1)

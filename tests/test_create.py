import contextlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxtl
from jaxtl.errors import UserError
from jaxtl.train.checkpoint import Checkpoints, flatten

pytestmark = pytest.mark.usefixtures("compiled_once")

NET = {"blocks": ((3,),), "hidden": (4,), "norm": "after_conv", "image_shape": (8, 8, 1)}
IMAGES = jnp.asarray(np.random.default_rng(0).normal(size=(2, 8, 8, 1)), jnp.float32)


def create(num_classes=3, seed=0, **options):
    return jaxtl.create_model("cnn", num_classes, **{"key": jax.random.key(seed), **NET, **options})


@pytest.fixture(scope="module")
def trained(compiled_once):
    """Variables with nothing left of their initialisation."""
    _, variables = create(seed=9)
    return jax.tree.map(lambda leaf: leaf + 0.5, variables)


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory, trained):
    folder = tmp_path_factory.mktemp("run")
    with contextlib.closing(Checkpoints(folder / "checkpoints")) as checkpoints:
        checkpoints.save_best(4, trained)
    return folder


def assert_same(found, expected, *, only=lambda path: True):
    found, expected = flatten(found), flatten(expected)
    assert found.keys() == expected.keys()
    for path in filter(only, found):
        np.testing.assert_array_equal(found[path], expected[path], err_msg=path)


def test_a_model_and_its_variables():
    model, variables = create()
    logits = model.apply(variables, IMAGES, train=False)
    assert logits.shape == (2, 3)
    assert logits.dtype == jnp.float32
    assert set(variables) == {"params", "batch_stats"}
    assert set(variables["params"]) == set(model.stage_names) == {"stem", "hidden", "head"}


def test_the_key_decides_the_variables():
    assert_same(create(seed=1)[1], create(seed=1)[1])
    one, other = (create(seed=seed)[1]["params"]["head"]["linear"]["kernel"] for seed in (1, 2))
    assert not np.array_equal(one, other)


def test_bfloat16_leaves_the_variables_float32():
    model, variables = create(dtype=jnp.bfloat16)
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
    assert model.apply(variables, IMAGES, train=False, method="features").dtype == jnp.bfloat16


@pytest.mark.parametrize("as_type", [str, lambda folder: folder])
def test_the_weights_of_a_run_with_their_head(run_folder, trained, as_type):
    _, variables = create(weights=as_type(run_folder), new_head=False)
    assert_same(variables, trained)


def test_the_weights_of_a_run_below_a_new_head(run_folder, trained):
    _, variables = create(num_classes=5, weights=run_folder)
    assert_same(variables, trained, only=lambda path: "head" not in path)
    assert_same(variables["params"]["head"], create(num_classes=5)[1]["params"]["head"])


def test_the_weights_of_a_run_without_any_head(run_folder, trained):
    model, variables = create(num_classes=0, weights=run_folder)
    assert "head" not in variables["params"]
    assert model.apply(variables, IMAGES, train=False).shape == (2, 4)
    assert_same(variables["params"]["stem"], trained["params"]["stem"])


def test_weights_of_another_number_of_classes_need_a_new_head(run_folder):
    with pytest.raises(UserError, match=r"weights have 3 classes and the model 5.*new_head=True"):
        create(num_classes=5, weights=run_folder, new_head=False)


def test_weights_of_another_architecture_are_refused(run_folder):
    with pytest.raises(UserError, match=r"params/stem/conv2/bias is missing"):
        create(blocks=((3, 3),), weights=run_folder)


def test_weights_that_are_not_there_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"no file of weights .*nowhere"):
        create(weights=tmp_path / "nowhere")
    with pytest.raises(UserError, match="holds no best checkpoint"):
        create(weights=tmp_path)


@pytest.mark.parametrize("shape", [32, (32, 32), (32, 0, 3), (32.0, 32, 3), ((1, 2), 3, 4), "32x32"])
def test_what_is_no_shape_of_an_image_is_refused(shape):
    with pytest.raises(UserError, match=r"image_shape is .*, but it is \(height, width, channels\)"):
        create(image_shape=shape)


def test_too_small_images_are_refused_before_anything_is_computed():
    with pytest.raises(UserError, match="1 x 8 pixels"):
        create(image_shape=(1, 8, 1))


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"key": 0}, r"key is 0, but it is one key of JAX: pass key=jax.random.key\(0\)"),
        ({"key": None}, "key is None, but it is one key of JAX"),
        ({"key": jax.random.split(jax.random.key(0))}, r"key is an array of shape \(2,\) .* pass key=jax.random.key"),
        ({"key": jnp.zeros(3)}, r"key is an array of shape \(3,\) and dtype float32"),
        ({"weights": True}, r"weights is True, .*jaxtl.weights_for\('cnn'\) lists the tags"),
        ({"weights": {"params": {}}}, "weights is {'params': {}}, but it is a tag"),
        ({"pretrained": True}, r"no argument 'pretrained'; pass weights=TAG: jaxtl.weights_for\('cnn'\)"),
    ],
)
def test_arguments_of_other_libraries_are_one_sentence(arguments, expected):
    with pytest.raises(UserError, match=expected) as error:
        jaxtl.create_model("cnn", 3, **{"key": jax.random.key(0), **arguments})
    assert "\n" not in str(error.value) and str(error.value).endswith(".")


def test_a_key_of_the_old_kind_is_a_key():
    assert_same(create(key=jax.random.PRNGKey(1))[1], create(key=jax.random.key(1))[1])

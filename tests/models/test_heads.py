import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxtl.errors import UserError
from jaxtl.models import build_model
from jaxtl.models.heads import make_head

FEATURES = jnp.asarray(np.random.default_rng(0).normal(size=(5, 7)), jnp.float32)


def built(options, num_classes=3):
    head = make_head(num_classes, options, jnp.float32)()
    return head, head.init(jax.random.key(0), FEATURES, False)


def dense(params, x):
    return np.asarray(x) @ np.asarray(params["kernel"]) + np.asarray(params["bias"])


@pytest.mark.parametrize("options", ["linear", {}, {"hidden": ()}])
def test_a_linear_head_is_one_dense_layer(options):
    head, variables = built(options)
    assert list(variables["params"]) == ["linear"]
    expected = dense(variables["params"]["linear"], FEATURES)
    np.testing.assert_allclose(head.apply(variables, FEATURES, False), expected, atol=1e-5)


def test_a_perceptron_is_the_one_written_out():
    head, variables = built({"hidden": [6, 4], "activation": "tanh", "dropout": 0.5, "final_activation": "sigmoid"})
    params = variables["params"]
    assert list(params) == ["hidden1", "hidden2", "linear"]
    x = np.tanh(dense(params["hidden2"], np.tanh(dense(params["hidden1"], FEATURES))))
    expected = 1 / (1 + np.exp(-dense(params["linear"], x)))
    np.testing.assert_allclose(head.apply(variables, FEATURES, False), expected, atol=1e-5)


def test_dropout_follows_hidden_layers_and_input_dropout_precedes_them():
    key = {"dropout": jax.random.key(1)}
    head, variables = built({"input_dropout": 0.5})
    zeroed = variables | {"params": {"linear": {"kernel": jnp.eye(7, 3), "bias": jnp.zeros(3)}}}
    out = np.asarray(head.apply(zeroed, FEATURES, True, rngs=key))
    inputs = np.asarray(FEATURES[:, :3])
    np.testing.assert_allclose(out[out != 0], 2 * inputs[out != 0], rtol=1e-6)
    assert 0 < (out == 0).mean() < 1
    np.testing.assert_array_equal(head.apply(zeroed, FEATURES, False), inputs)
    head, variables = built({"hidden": (50,), "dropout": 0.2})
    assert not np.array_equal(head.apply(variables, FEATURES, True, rngs=key), head.apply(variables, FEATURES, False))


def test_no_classes_make_no_head():
    assert make_head(0, {"hidden": (3,)}, jnp.float32) is None


@pytest.mark.parametrize("name", ["cnn", "resnet18", "vgg11", "densenet121", "cifar_resnet20"])
def test_every_family_takes_a_head(name):
    model = build_model(name, 10, head={"hidden": (128,), "dropout": 0.2, "final_activation": "sigmoid"})
    shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 32, 32, 3)))["params"]["head"]
    assert shapes["hidden1"]["kernel"].shape[1] == 128
    assert shapes["linear"]["kernel"].shape == (128, 10)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("mlp", r"head is 'mlp'.*'linear'.*\{'hidden': \(128,\)"),
        ({"hiden": (3,)}, "no field 'hiden'; did you mean 'hidden'"),
        ({"xyz": 3}, "no field 'xyz'; choose one of: hidden, activation"),
        ({"hidden": 128}, r"head\.hidden is 128.*\(128,\)"),
        ({"hidden": (0,)}, r"head\.hidden is \(0,\)"),
        ({"hidden": (4,), "dropout": 1.0}, r"head\.dropout is 1\.0.*\[0, 1\)"),
        ({"input_dropout": "half"}, r"head\.input_dropout is 'half'"),
        ({"dropout": 0.2}, r"head\.dropout.*head\.input_dropout"),
        ({"activation": "rellu"}, r"head\.activation is 'rellu'.*relu, gelu"),
        ({"final_activation": 3}, r"head\.final_activation is 3"),
    ],
)
def test_mistakes_are_refused(options, message):
    with pytest.raises(UserError, match=message):
        make_head(10, options, jnp.float32)

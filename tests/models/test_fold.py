import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxtl.errors import UserError
from jaxtl.models import Classifier, build_model, fold_batch_norm
from jaxtl.models.layers import BatchNorm, global_avg_pool

# Per network: options that make it small, norms that go, norms that stay.
NETS = {
    "resnet18": ({"depths": (1, 1), "width": 8}, 1 + 2 * 2 + 1, 0),
    "resnet50": ({"depths": (1, 1), "width": 8}, 1 + 3 * 2 + 2, 0),
    "resnet50_v1": ({"depths": (1, 1), "width": 8}, 1 + 3 * 2 + 2, 0),
    "cifar_resnet20": ({"depth": 8, "width": 8}, 1 + 2 * 3, 0),
    "densenet121": ({"depths": (1, 2), "growth": 4, "width": 8}, 1 + 3, 3 + 1 + 1),
    "vgg11_bn": ({"depths": (1, 2), "width": 8, "hidden": ()}, 3, 0),
    "cnn": ({"blocks": ((4, 5), (6,)), "norm": "after_conv"}, 3, 0),
    "bn_cnn": ({"blocks": ((4, 5), (6,))}, 0, 2),
}


def random_variables(model, images):
    """Statistics and norms far from the identity that they start as."""
    rng = np.random.default_rng(0)

    def draw(path, leaf):
        name = path[-1].key
        if name == "kernel":
            values = rng.normal(0, np.sqrt(2 / np.prod(leaf.shape[:-1])), leaf.shape)
        else:
            low, high = (0.3, 3) if name in ("var", "scale") else (-1, 1)
            values = rng.uniform(low, high, leaf.shape)
        return jnp.asarray(values, jnp.float32)

    return jax.tree.map_with_path(draw, jax.eval_shape(model.init, jax.random.key(0), images))


def norms(variables) -> int:
    return len(jax.tree.leaves(variables.get("batch_stats", {}))) // 2


@pytest.mark.parametrize("name", NETS)
def test_folding_keeps_the_function_and_takes_the_norms(name):
    options, gone, left = NETS[name]
    model = build_model(name, 5, **options)
    images = jnp.asarray(np.random.default_rng(1).normal(size=(2, 17, 22, 3)), jnp.float32)
    variables = random_variables(model, images)
    folded_model, folded = fold_batch_norm(model, variables)
    assert (norms(variables), norms(folded)) == (gone + left, left)
    assert ("batch_stats" in folded) == (left > 0)
    expected = jax.jit(model.apply)(variables, images)
    found = jax.jit(folded_model.apply)(folded, images)
    assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()
    assert folded_model.stage_names == model.stage_names
    expected_shapes = jax.tree.map(jnp.shape, jax.eval_shape(folded_model.init, jax.random.key(0), images))
    assert jax.tree.map(jnp.shape, folded) == expected_shapes


def test_folding_leaves_the_variables_it_was_given():
    model = build_model("resnet18", 3, depths=(1,), width=4)
    images = jnp.zeros((1, 8, 8, 3))
    variables = random_variables(model, images)
    before = jax.tree.map(np.array, variables)
    fold_batch_norm(model, variables)
    jax.tree.map(np.testing.assert_array_equal, variables, before)


def test_variables_of_another_model_are_refused():
    model = build_model("resnet18", 3, depths=(1,), width=4)
    images = jnp.zeros((1, 8, 8, 3))
    variables = random_variables(model, images)
    other = random_variables(build_model("resnet18", 3, depths=(1,), width=8), images)
    for wrong in (other, {}, {"params": variables["params"]}):
        with pytest.raises(UserError, match=r"not those of the model to fold: \d+ of 15 keys fit: .*give those"):
            fold_batch_norm(model, wrong)
    with pytest.raises(UserError, match="The variables are of type tuple"):
        fold_batch_norm(model, (model, variables))


class Strange(nn.Module):
    """Its convolution's output is used beside the norm, and it does not say that anything may be folded."""

    @nn.compact
    def __call__(self, x, train):
        y = nn.Conv(3, (1, 1), name="conv")(x)
        return y + BatchNorm(use_running_average=not train, name="norm")(y)


def test_a_stage_that_does_not_fold_is_left_alone():
    model = Classifier((("stem", Strange),), pool=global_avg_pool, head_factory=None)
    images = jnp.asarray(np.random.default_rng(0).normal(size=(2, 4, 4, 3)), jnp.float32)
    variables = random_variables(model, images)
    folded_model, folded = fold_batch_norm(model, variables)
    assert jax.tree.structure(folded) == jax.tree.structure(variables)
    np.testing.assert_array_equal(folded_model.apply(folded, images), model.apply(variables, images))

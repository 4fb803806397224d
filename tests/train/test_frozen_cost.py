"""What a frozen backbone costs, read from the compiled step: operations counted by the compiler, not seconds."""

import jax
import jax.numpy as jnp
import optax
import pytest

from jaxtl.data.feed import epoch_order
from jaxtl.models import build_model
from jaxtl.runtime.mesh import put_order
from jaxtl.train.state import init_state
from jaxtl.train.step import make_train_step
from jaxtl.transfer.partition import split_variables

BATCH = 16


@pytest.fixture(scope="module")
def flops(train_set, preprocess, mesh):
    """Floating-point operations of the forward pass and of the step that trains some stages."""
    model = build_model("cifar_resnet20", 3, depth=8, width=8)
    images = jnp.zeros((BATCH, 8, 8, 1))
    variables = jax.jit(model.init)(jax.random.key(0), images)
    order = put_order(epoch_order(len(train_set), BATCH, None), mesh)
    forward = jax.jit(lambda v, x: model.apply(v, x, train=False))
    counts = {"forward": forward.lower(variables, images).compile().cost_analysis()["flops"]}
    for name, stages in (("head", ("head",)), ("last", ("stage3", "head")), ("all", model.stage_names)):
        moving, frozen = split_variables(variables, trained=stages, in_training=stages)
        optimizer = optax.adam(1e-3)
        state = init_state(moving["params"], moving["batch_stats"], optimizer, 3)
        step = make_train_step(model, optimizer, preprocess, train=stages, mesh=mesh)
        lowered = step.lower(state, frozen, train_set.images, train_set.labels, order, jax.random.key(0))
        counts[name] = lowered.compile().cost_analysis()["flops"]
        counts[f"{name} moments"] = sum(leaf.size for leaf in jax.tree.leaves(state.opt_state[0].mu))
        counts[f"{name} parameters"] = sum(leaf.size for leaf in jax.tree.leaves(moving["params"]))
    return counts


def test_a_frozen_backbone_has_no_backward_pass(flops):
    # The head of 32 x 3 weights, its gradient, the loss and the optimiser come on top of one forward pass.
    assert flops["head"] < 1.1 * flops["forward"]


def test_a_trained_backbone_has_one(flops):
    # About two passes more: for the inputs of each layer and for its weights. So the count can tell the two apart.
    assert flops["all"] > 2.5 * flops["forward"]


def test_the_backward_pass_ends_where_the_frozen_stages_begin(flops):
    assert flops["forward"] < flops["last"] < 0.75 * flops["all"]


def test_moments_are_kept_for_what_trains_alone(flops):
    for name in ("head", "last", "all"):
        assert flops[f"{name} moments"] == flops[f"{name} parameters"]
    assert flops["head parameters"] == 32 * 3 + 3

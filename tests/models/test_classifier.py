import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxtl.errors import UserError
from jaxtl.models import build_model
from jaxtl.models.heads import flatten

IMAGES = jnp.asarray(np.random.default_rng(0).normal(size=(6, 8, 8, 1)), jnp.float32)
STAGES = ("stem", "stage1", "hidden", "head")


@pytest.fixture(scope="module")
def net(random_variables):
    """All there is in one net: two blocks with batch norm, dropout everywhere, a dense layer."""
    model = build_model("cnn", 3, blocks=((4,), (6,)), hidden=(8,), norm="after_conv", block_dropout=0.5, dropout=0.5)
    return model, random_variables(model, IMAGES)


def trained_forward(net, train, seed=1):
    model, variables = net
    return model.apply(variables, IMAGES, train=train, mutable=["batch_stats"], rngs={"dropout": jax.random.key(seed)})


def changed(before, after) -> bool:
    same = jax.tree.map(np.array_equal, before, after)
    return not all(jax.tree.leaves(same))


def test_stages_name_the_parameters(net):
    model, variables = net
    assert model.stage_names == STAGES
    assert set(variables["params"]) == set(STAGES)
    assert set(variables["batch_stats"]) == {"stem", "stage1"}


def test_stages_gives_every_output_by_name(net):
    model, variables = net
    maps = model.apply(variables, IMAGES, train=False, method="stages")
    assert {name: out.shape for name, out in maps.items()} == {
        "stem": (6, 4, 4, 4),
        "stage1": (6, 2, 2, 6),
        "hidden": (6, 8),
    }
    assert tuple(maps) == STAGES[:-1]


def test_features_are_what_the_head_sees(net):
    model, variables = net
    features = model.apply(variables, IMAGES, train=False, method="features")
    logits = model.apply(variables, IMAGES, train=False)
    head = variables["params"]["head"]["linear"]
    np.testing.assert_allclose(features @ head["kernel"] + head["bias"], logits, atol=1e-5)
    hidden = model.apply(variables, IMAGES, train=False, method="stages")["hidden"]
    np.testing.assert_array_equal(features, hidden)


def test_no_classes_make_a_model_of_features(net):
    model, variables = net
    bare = build_model("cnn", 0, blocks=((4,), (6,)), hidden=(8,), norm="after_conv")
    assert bare.stage_names == STAGES[:-1]
    assert set(jax.eval_shape(bare.init, jax.random.key(0), IMAGES)["params"]) == set(STAGES[:-1])
    params = {name: leaves for name, leaves in variables["params"].items() if name != "head"}
    found = bare.apply({"params": params, "batch_stats": variables["batch_stats"]}, IMAGES, train=False)
    np.testing.assert_array_equal(found, model.apply(variables, IMAGES, train=False, method="features"))


@pytest.mark.parametrize("train", [("stem",), ("stage1", "head"), ("hidden",), (), True, False])
def test_only_the_stages_in_training_use_batch_statistics(net, train):
    _, variables = net
    _, updates = trained_forward(net, train)
    for stage in ("stem", "stage1"):
        in_training = train if isinstance(train, bool) else stage in train
        before, after = variables["batch_stats"][stage], updates["batch_stats"][stage]
        assert changed(before, after) == in_training


@pytest.mark.parametrize("train", [("stem",), ("hidden",), ("head",), True, False])
def test_only_the_stages_in_training_drop(net, train):
    logits, again = (trained_forward(net, train, seed)[0] for seed in (1, 2))
    drops = train is True or (train is not False and train != ("head",))  # this head has no dropout
    assert np.array_equal(logits, again) != drops


@pytest.mark.parametrize("train", ["stem", "all", ("all",), ("stem", "stgae1"), None, 1])
@pytest.mark.parametrize("method", [None, "features", "stages"])
def test_stages_that_are_not_there_are_refused(net, train, method):
    model, variables = net
    with pytest.raises(UserError, match=r"train is .* some of the model's: stem, stage1, hidden, head") as info:
        model.apply(variables, IMAGES, train=train, method=method, mutable=["batch_stats"])
    assert repr(train) in str(info.value)


@pytest.mark.parametrize(("given", "meant"), [(np.True_, True), (np.False_, False), (["stem"], ("stem",)), ({}, ())])
def test_numpys_bools_and_any_collection_say_what_trains(net, given, meant):
    assert not changed(trained_forward(net, given), trained_forward(net, meant))


class DroppingHead(nn.Module):
    @nn.compact
    def __call__(self, features, train):
        return nn.Dropout(0.5, deterministic=not train)(features)


@pytest.mark.parametrize("train", [("stem", "hidden"), ("head",)])
def test_a_head_drops_only_when_it_trains(net, train):
    model, variables = net
    model = model.clone(head_factory=DroppingHead)
    rngs = {"dropout": jax.random.key(1)}
    logits, features = (
        model.apply(variables, IMAGES, train=train, mutable=["batch_stats"], rngs=rngs, method=method)[0]
        for method in (None, "features")
    )
    assert np.array_equal(logits, features) == ("head" not in train)


def test_training_no_stage_is_inference(net):
    model, variables = net
    np.testing.assert_array_equal(trained_forward(net, ())[0], model.apply(variables, IMAGES, train=False))


@pytest.mark.parametrize("size", [(3, 8), (8, 2)])
def test_too_small_images_are_refused_with_the_least_size(net, size):
    model, variables = net
    with pytest.raises(UserError, match=rf"{size[0]} x {size[1]} pixels.*at least 4 x 4.*resize them"):
        model.apply(variables, jnp.zeros((1, *size, 1)), train=False)


@pytest.mark.parametrize("name", ["resnet18", "densenet121", "vgg11", "cnn", "cifar_resnet20"])
@pytest.mark.parametrize(
    ("shape", "told"),
    [
        ((32, 32, 3), r"shape \(32, 32, 3\).*add the batch axis with images\[None\]\."),
        ((2, 3, 32, 32), r"shape \(2, 3, 32, 32\).*3 channels in the last axis; .*images\.transpose\(0, 2, 3, 1\)\."),
        ((2, 32, 32, 1), r"takes 3 channels in the last axis; give images of 3 channels\."),
        ((32, 32), r"takes a batch \[B, H, W, C\]; give it that shape\."),
    ],
    ids=["no batch axis", "channels first", "grey", "one image of grey"],
)
def test_images_of_another_shape_are_refused_with_the_way_out(name, shape, told):
    model = build_model(name, 2)
    variables = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 32, 32, 3)))
    for method in (None, "features", "stages"):
        with pytest.raises(UserError, match=told):
            jax.eval_shape(lambda v, x: model.apply(v, x, method=method), variables, jnp.zeros(shape))  # noqa: B023


def test_the_least_size_is_enough():
    model = build_model("cnn", 2, blocks=((2,), (2,)), hidden=())
    logits, _ = jax.eval_shape(model.init_with_output, jax.random.key(0), jnp.zeros((1, 4, 5, 1)))
    assert logits.shape == (1, 2)


def test_bfloat16_computes_while_parameters_and_logits_are_float32(random_variables):
    model = build_model("cnn", 3, jnp.bfloat16, blocks=((4,),), hidden=(8,), norm="after_pool")
    shapes = jax.eval_shape(model.init, jax.random.key(0), IMAGES)
    assert {leaf.dtype for leaf in jax.tree.leaves(shapes)} == {jnp.dtype("float32")}
    variables = random_variables(model, IMAGES)
    logits = model.apply(variables, IMAGES, train=False)
    assert logits.dtype == jnp.float32
    maps = model.apply(variables, IMAGES, train=False, method="stages")
    assert {out.dtype for out in maps.values()} == {jnp.dtype("bfloat16")}
    exact = build_model("cnn", 3, blocks=((4,),), hidden=(8,), norm="after_pool")
    np.testing.assert_allclose(logits, exact.apply(variables, IMAGES, train=False), atol=0.05)


def test_the_pool_stands_between_backbone_and_head():
    model, scaled = (
        build_model("logistic_regression", 2).clone(pool=pool) for pool in (flatten, lambda maps: 2 * flatten(maps))
    )
    variables = model.init(jax.random.key(0), IMAGES)
    np.testing.assert_allclose(
        scaled.apply(variables, IMAGES, train=False), model.apply(variables, 2 * IMAGES, train=False), rtol=1e-5
    )

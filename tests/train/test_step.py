import dataclasses
import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from sklearn.utils.class_weight import compute_class_weight

from jaxtl.data.augment import compose, horizontal_flip, pad_and_crop
from jaxtl.data.feed import epoch_order
from jaxtl.data.mix import mix
from jaxtl.models import build_model
from jaxtl.runtime.mesh import put_order, replicated
from jaxtl.train.examples import loss_weights
from jaxtl.train.optimizer import make_optimizer
from jaxtl.train.state import init_state
from jaxtl.train.step import cross_entropy, make_train_step
from jaxtl.transfer import Phase
from jaxtl.transfer.partition import merge, split_variables

BATCH = 8
SMOOTHING = 0.1
TRAINED = ("stage1", "head")
NOTHING = {"params": {}, "batch_stats": {}}


def copied(tree):
    """A step donates its state, so every test needs buffers of its own."""
    return jax.tree.map(jnp.copy, tree)


def assert_same(tree, other):
    chex.assert_trees_all_equal(jax.tree.map(np.asarray, tree), jax.tree.map(np.asarray, other))


class Plain:
    """A net without batch norm and dropout, trained by plain SGD with rate 1: a step subtracts the gradient."""

    def __init__(self, train_set, preprocess, mesh):
        self.model = build_model("cnn", 3, blocks=((3,),), hidden=(4,), dropout=0.0)
        self.data, self.preprocess, self.mesh = train_set, preprocess, mesh
        self.params = jax.jit(self.model.init)(jax.random.key(0), jnp.zeros((1, 8, 8, 1)))["params"]
        self.optimizer = optax.sgd(1.0)
        self.step = make_train_step(self.model, self.optimizer, preprocess, label_smoothing=SMOOTHING, mesh=mesh)

    def run(self, order, steps=1, first=0):
        state = init_state(copied(self.params), {}, self.optimizer, 3).replace(step=jnp.int32(first))
        order = put_order(order, self.mesh)
        for _ in range(steps):
            state = self.step(state, NOTHING, self.data.images, self.data.labels, order, jax.random.key(0))
        return state

    @functools.partial(jax.jit, static_argnums=0)
    def loss_and_grads(self, params, indices):
        """Of the mean over the images at ``indices``, by the plainest of means; the loss without smoothing."""
        return self.loss(params, indices, 0.0), jax.grad(self.loss)(params, indices, SMOOTHING)

    def loss(self, params, indices, smoothing):
        images = self.preprocess(jax.random.key(0), jnp.asarray(self.data.images)[indices])
        logits = self.model.apply({"params": params}, images, train=False)
        return cross_entropy(logits, jnp.asarray(self.data.labels)[indices], smoothing).mean()


class Transfer:
    """All there is: batch norm, dropout, augmentation, and a frozen stem before a trained rest."""

    def __init__(self, train_set, preprocess, mesh):
        self.model = build_model("cnn", 3, blocks=((3,), (3,)), hidden=(), norm="after_conv", block_dropout=0.2)
        variables = jax.jit(self.model.init)(jax.random.key(0), jnp.zeros((1, 8, 8, 1)))
        moving, self.frozen = split_variables(variables, trained=TRAINED, in_training=TRAINED)
        self.trained, self.batch_stats = moving["params"], moving["batch_stats"]
        self.optimizer = optax.adam(0.01)
        self.data, self.mesh, self.traces = train_set, mesh, 0
        self.transform = compose(horizontal_flip(), preprocess)

        def transform(key, images):
            self.traces += 1
            return compose(horizontal_flip(), pad_and_crop(1), preprocess)(key, images)

        # What fails is the second trace, wherever in this file it happens.
        chex.clear_trace_counter()
        once = chex.assert_max_traces(transform, n=1)
        self.step = make_train_step(self.model, self.optimizer, once, train=TRAINED, mesh=mesh)

    def state(self):
        state = init_state(copied(self.trained), copied(self.batch_stats), self.optimizer, 3)
        return jax.device_put(state, replicated(self.mesh))  # as the step returns it

    def run(self, steps=5, seed=0, state=None):
        state = state or self.state()
        for _ in range(steps):
            order = put_order(epoch_order(len(self.data), BATCH, (seed, 0, int(state.step) // 5)), self.mesh)
            state = self.step(state, self.frozen, self.data.images, self.data.labels, order, jax.random.key(seed))
        return state


@pytest.fixture(scope="module")
def plain(train_set, preprocess, mesh):
    return Plain(train_set, preprocess, mesh)


@pytest.fixture(scope="module")
def transfer(train_set, preprocess, mesh):
    return Transfer(train_set, preprocess, mesh)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.9])
def test_cross_entropy_is_its_formula(smoothing):
    rng = np.random.default_rng(0)
    logits, labels = 3 * rng.normal(size=(7, 4)), rng.integers(0, 4, 7)
    targets = (1 - smoothing) * np.eye(4)[labels] + smoothing / 4
    log_probabilities = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    found = cross_entropy(jnp.float32(logits), jnp.int32(labels), smoothing)
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, -(targets * log_probabilities).sum(1), rtol=1e-5)


@pytest.mark.parametrize(("row", "real"), [(0, 8), (4, 5)])  # a full batch and the short last one
def test_a_step_follows_the_gradient_of_the_real_images_alone(plain, row, real):
    order = epoch_order(len(plain.data), BATCH, (1,))
    state = plain.run(order, first=row)
    indices = order.indices[row, :real]
    loss, grads = plain.loss_and_grads(plain.params, indices)
    expected = jax.tree.map(lambda p, g: p - g, plain.params, grads)
    chex.assert_trees_all_close(state.trained, expected, atol=1e-6)
    measured = state.metrics.compute()
    assert float(measured["loss"]) == pytest.approx(float(loss), rel=1e-5)
    assert int(measured["confusion"].sum()) == real


def test_a_batch_larger_than_the_data_set_is_one_step(plain):
    # The batch is filled up with the same images many times over, and the gradient must not see it.
    order = epoch_order(len(plain.data), 96, None)
    _, expected = plain.loss_and_grads(plain.params, np.arange(len(plain.data)))
    found = jax.tree.map(lambda before, after: before - after, plain.params, plain.run(order).trained)
    chex.assert_trees_all_close(found, expected, atol=1e-6)


def test_an_epoch_measures_every_image_once(transfer):
    confusion = np.asarray(transfer.run(steps=5).metrics.compute()["confusion"])
    assert confusion.sum(1).tolist() == np.bincount(transfer.data.labels).tolist()


def test_epochs_with_a_short_last_batch_compile_once(transfer):
    transfer.run(steps=10)  # two epochs with orders of their own; `assert_max_traces` counts
    assert transfer.traces == 1


def test_frozen_stages_do_not_move(transfer):
    frozen = copied(transfer.frozen)
    state = transfer.run(steps=5)
    assert_same(transfer.frozen, frozen)
    assert set(transfer.frozen["params"]) == set(transfer.frozen["batch_stats"]) == {"stem"}
    assert set(state.trained) == set(TRAINED)
    assert set(state.batch_stats) == {"stage1"}, "the statistics of frozen stages are not even an argument"


def test_every_trained_leaf_moves(transfer):
    state = transfer.run(steps=5)
    before = {"params": transfer.trained, "stats": transfer.batch_stats["stage1"]}
    after = {"params": state.trained, "stats": state.batch_stats["stage1"]}
    for (path, leaf), other in zip(jax.tree.leaves_with_path(before), jax.tree.leaves(after), strict=True):
        assert not np.array_equal(leaf, other), jax.tree_util.keystr(path)


def test_the_optimiser_keeps_moments_of_trained_stages_alone(transfer):
    moments = transfer.state().opt_state[0]
    assert jax.tree.structure(moments.mu) == jax.tree.structure(moments.nu) == jax.tree.structure(transfer.trained)


def test_the_state_is_donated_and_frozen_parameters_are_not(transfer):
    state = transfer.state()
    transfer.run(steps=1, state=state)
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves((state.trained, state.opt_state)))
    assert not any(leaf.is_deleted() for leaf in jax.tree.leaves(transfer.frozen))


def test_the_seed_decides_every_bit(transfer):
    same, again, other = (transfer.run(steps=5, seed=seed) for seed in (1, 1, 2))
    assert_same(same, again)
    leaves = zip(jax.tree.leaves(same.trained), jax.tree.leaves(other.trained), strict=True)
    assert all(not np.array_equal(leaf, different) for leaf, different in leaves)


def test_every_step_draws_again(train_set, preprocess, mesh):
    drawn = []

    def transform(key, images):
        jax.debug.callback(lambda data: drawn.append(tuple(np.asarray(data).tolist())), jax.random.key_data(key))
        return preprocess(key, images)

    model = build_model("logistic_regression", 3)
    params = jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, 8, 8, 1)))["params"]
    step = make_train_step(model, optax.sgd(0.1), transform, mesh=mesh)
    state = init_state(params, {}, optax.sgd(0.1), 3)
    order = put_order(epoch_order(len(train_set), BATCH, None), mesh)
    for _ in range(7):  # past the end of the epoch
        state = step(state, NOTHING, train_set.images, train_set.labels, order, jax.random.key(0))
    jax.effects_barrier()
    assert len(drawn) == len(set(drawn)) == 7


def test_training_learns(transfer):
    losses = []
    state = transfer.state()
    for _ in range(6):
        state = transfer.run(steps=5, state=state)
        losses.append(float(state.metrics.compute()["loss"]))
        state = state.replace(metrics=transfer.state().metrics)
    assert losses[-1] < 0.8 * losses[0]
    assert set(merge(state.trained, transfer.frozen["params"])) == set(transfer.model.stage_names)


# Class weights


def test_balanced_weights_are_those_of_scikit_learn(train_set):
    weights = loss_weights("balanced", train_set)
    expected = compute_class_weight("balanced", classes=np.arange(3), y=train_set.labels)
    np.testing.assert_allclose(weights, expected, rtol=1e-6)
    assert weights.dtype == np.float32
    assert weights[train_set.labels].mean() == pytest.approx(1.0)


def test_weights_by_name_and_of_classes_without_images(train_set):
    assert loss_weights("none", train_set) is None
    assert loss_weights({"middle": 5.0}, train_set).tolist() == [1.0, 5.0, 1.0]
    two = dataclasses.replace(train_set, labels=train_set.labels % 2)  # no image is "bottom"
    assert np.isfinite(loss_weights("balanced", two)).all()
    np.testing.assert_allclose(
        loss_weights("balanced", two)[:2],
        compute_class_weight("balanced", classes=np.arange(2), y=two.labels),
        rtol=1e-6,
    )


def test_a_weight_multiplies_the_loss_of_its_class_alone(plain):
    weights = np.array([0.5, 1.0, 4.0], np.float32)
    step = make_train_step(plain.model, plain.optimizer, plain.preprocess, class_weights=weights, mesh=plain.mesh)
    order = epoch_order(len(plain.data), BATCH, (1,))
    state = init_state(copied(plain.params), {}, plain.optimizer, 3).replace(step=jnp.int32(4))  # the short batch
    arguments = NOTHING, plain.data.images, plain.data.labels, put_order(order, plain.mesh), jax.random.key(0)
    state = step(state, *arguments)
    indices = order.indices[4, :5]
    each = [jax.grad(plain.loss)(plain.params, indices[i : i + 1], 0.0) for i in range(5)]
    scales = weights[plain.data.labels[indices]] / 5
    expected = jax.tree.map(lambda p, *g: p - sum(w * x for w, x in zip(scales, g, strict=True)), plain.params, *each)
    chex.assert_trees_all_close(state.trained, expected, atol=1e-5)
    unweighted, _ = plain.loss_and_grads(plain.params, indices)
    assert float(state.metrics.compute()["loss"]) == pytest.approx(float(unweighted), rel=1e-5), (
        "curves have no weights"
    )


# Accumulated gradients and moving averages


def run_steps(plain, phase, batch, steps, **options):
    """The states after each step of a phase on the first images, without a short batch."""
    optimizer = make_optimizer(phase, lambda step: 0.5)
    step = make_train_step(plain.model, optimizer, plain.preprocess, ema=phase.ema, mesh=plain.mesh, **options)
    state = init_state(copied(plain.params), {}, optimizer, 3, averaged=phase.ema > 0)
    order, seen = put_order(epoch_order(32, batch, None), plain.mesh), []
    for _ in range(steps):
        state = step(state, NOTHING, plain.data.images, plain.data.labels, order, jax.random.key(0))
        seen.append(copied({"trained": state.trained, "average": state.average.get("params", {})}))
    return seen


def test_four_steps_of_a_batch_are_one_of_a_batch_four_times_as_large(plain):
    """For SGD with momentum, decay and weights of classes, without batch norm: equal but for the order of the sums."""
    recipe = {"optimizer": "sgd", "weight_decay": 0.01, "ema": 0.9}
    weights = loss_weights({"top": 3.0}, plain.data)
    small = run_steps(plain, Phase(**recipe, accumulate=4), 8, 8, class_weights=weights)
    large = run_steps(plain, Phase(**recipe), 32, 2, class_weights=weights)
    assert_same(small[2]["trained"], plain.params)  # not a bit moves before the fourth
    for found, expected in ((small[3], large[0]), (small[6], large[0]), (small[7], large[1])):
        chex.assert_trees_all_close(found["trained"], expected["trained"], atol=1e-6)
        chex.assert_trees_all_close(found["average"], expected["average"], atol=1e-6)
    assert not np.allclose(*(jax.tree.leaves(each["trained"])[0] for each in (small[7], small[3])), atol=1e-3)


@pytest.mark.parametrize("decay", [0.5, 0.9999])
def test_the_average_is_the_weighted_mean_of_the_weights_after_each_update(plain, decay):
    seen = run_steps(plain, Phase(optimizer="sgd", ema=decay), 8, 5)
    for n in (1, 2, 5):
        shares = decay ** np.arange(n - 1, -1.0, -1) * (1 - decay) / (1 - decay**n)
        trained = jax.tree.map(lambda *after: np.stack(after), *(each["trained"] for each in seen[:n]))
        expected = jax.tree.map(functools.partial(np.tensordot, shares, axes=1), trained)
        chex.assert_trees_all_close(seen[n - 1]["average"], jax.tree.map(np.float32, expected), rtol=1e-5, atol=1e-6)


def test_running_statistics_are_averaged_like_the_weights(transfer):
    step = make_train_step(
        transfer.model, transfer.optimizer, transfer.transform, train=TRAINED, ema=0.5, mesh=transfer.mesh
    )
    state = init_state(copied(transfer.trained), copied(transfer.batch_stats), transfer.optimizer, 3, averaged=True)
    order, stats = put_order(epoch_order(len(transfer.data), BATCH, (0,)), transfer.mesh), []
    for _ in range(2):
        state = step(state, transfer.frozen, transfer.data.images, transfer.data.labels, order, jax.random.key(0))
        stats.append(copied(state.batch_stats))
    assert set(state.average["batch_stats"]) == {"stage1"}
    expected = jax.tree.map(lambda one, two: (one + 2 * two) / 3, *stats)
    chex.assert_trees_all_close(state.average["batch_stats"], expected, rtol=1e-5)


# Mixed images and soft labels


def test_the_loss_of_soft_labels_is_hand_computed():
    logits, soft = np.array([[2.0, 0.0, -1.0], [0.5, 0.5, 3.0]]), np.array([[0.7, 0.3, 0.0], [0.0, 0.5, 0.5]])
    log_probabilities = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    for smoothing in (0.0, 0.1):
        expected = -((0.9 * soft + 0.1 / 3 if smoothing else soft) * log_probabilities).sum(1)
        np.testing.assert_allclose(
            cross_entropy(jnp.float32(logits), jnp.float32(soft), smoothing), expected, rtol=1e-5
        )


def test_a_step_follows_the_gradient_of_soft_labels_and_counts_the_heavier_one(plain):
    def mix_three_to_one(key, images, targets):
        return mix(images, targets, jnp.full((BATCH, 1, 1), 0.75))

    weights = np.array([0.5, 1.0, 4.0], np.float32)
    options = {"class_weights": weights, "mesh": plain.mesh}
    step = make_train_step(plain.model, plain.optimizer, plain.preprocess, mix_three_to_one, **options)
    order = epoch_order(len(plain.data), BATCH, (1,))
    state = init_state(copied(plain.params), {}, plain.optimizer, 3).replace(step=jnp.int32(4))  # the short last batch
    state = step(state, NOTHING, plain.data.images, plain.data.labels, put_order(order, plain.mesh), jax.random.key(0))
    indices = order.indices[4]
    labels = plain.data.labels[indices]
    images = plain.preprocess(jax.random.key(0), jnp.asarray(plain.data.images)[indices])
    images = 0.75 * images + 0.25 * jnp.roll(images, 1, axis=0)
    soft = 0.75 * np.eye(3)[labels] + 0.25 * np.eye(3)[np.roll(labels, 1)]

    def loss(params):
        logits = plain.model.apply({"params": params}, images[:5], train=False)
        each = -(soft[:5] * jax.nn.log_softmax(logits)).sum(1)
        return (each * (soft[:5] @ weights)).mean(), each.mean()  # curves have no weights

    (_, value), grads = jax.jit(jax.value_and_grad(loss, has_aux=True))(plain.params)
    chex.assert_trees_all_close(state.trained, jax.tree.map(lambda p, g: p - g, plain.params, grads), atol=1e-6)
    measured = state.metrics.compute()
    assert float(measured["loss"]) == pytest.approx(float(value), rel=1e-5)
    assert measured["confusion"].sum(1).tolist() == np.bincount(labels[:5], minlength=3).tolist()

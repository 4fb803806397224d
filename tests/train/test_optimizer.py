"""Optimisers against their papers' and PyTorch's update rules, written out in float64."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxtl.train.optimizer import learning_rates, make_optimizer, make_schedule
from jaxtl.transfer import Phase

RATE, B1, B2, EPS = 0.1, 0.9, 0.999, 1e-8
RNG = np.random.default_rng(0)
PARAMS = {"kernel": RNG.normal(size=(3, 2)), "bias": RNG.normal(size=2)}
# The fourth gradient is small: Adamax's running maximum must outlive it.
GRADS = [{name: scale * RNG.normal(size=leaf.shape) for name, leaf in PARAMS.items()} for scale in (1, 2, 0.5, 0.01)]


def optimizer_of(name, schedule, **recipe):
    return make_optimizer(Phase(optimizer=name, **recipe), schedule)


def schedule_of(name, learning_rate, *, steps_per_epoch, **recipe):
    return make_schedule(Phase(schedule=name, learning_rate=learning_rate, **recipe), steps_per_epoch)


def run(name: str, **options) -> dict[str, np.ndarray]:
    """The parameters after all of ``GRADS``."""
    optimizer = optimizer_of(name, optax.constant_schedule(RATE), **options)
    params = jax.tree.map(jnp.float32, PARAMS)
    state = optimizer.init(params)
    for grads in GRADS:
        updates, state = optimizer.update(jax.tree.map(jnp.float32, grads), state, params)
        params = optax.apply_updates(params, updates)
    return params


def adam(p, grads, *, decay=0.0, decoupled=0.0):
    m = v = np.zeros_like(p)
    for t, g in enumerate(grads, start=1):
        g = g + decay * p
        m, v = B1 * m + (1 - B1) * g, B2 * v + (1 - B2) * g**2
        p = p - RATE * decoupled * p
        p = p - RATE * (m / (1 - B1**t)) / (np.sqrt(v / (1 - B2**t)) + EPS)
    return p


def adamax(p, grads, *, decay=0.0):
    m = u = np.zeros_like(p)
    for t, g in enumerate(grads, start=1):
        g = g + decay * p
        m, u = B1 * m + (1 - B1) * g, np.maximum(B2 * u, np.abs(g) + EPS)
        p = p - RATE / (1 - B1**t) * m / u
    return p


def sgd(p, grads, *, momentum=0.9, nesterov=False, decay=0.0):
    buffer = np.zeros_like(p)
    for g in grads:
        g = g + decay * p
        buffer = momentum * buffer + g  # torch: no dampening, the first buffer is the gradient
        p = p - RATE * (g + momentum * buffer if nesterov else buffer)
    return p


def assert_rule(params, rule, *, kernel=None, bias=None):
    """Every leaf follows ``rule``, with the keyword arguments given for it."""
    for name, options in (("kernel", kernel or {}), ("bias", bias or {})):
        expected = rule(PARAMS[name], [grads[name] for grads in GRADS], **options)
        np.testing.assert_allclose(params[name], expected, rtol=2e-5, atol=2e-5, err_msg=name)


@pytest.mark.parametrize(("name", "rule"), [("adam", adam), ("adamax", adamax), ("adamw", adam), ("sgd", sgd)])
def test_optimisers_follow_their_rules(name, rule):
    assert_rule(run(name), rule)


@pytest.mark.parametrize("options", [{"momentum": 0.0}, {"momentum": 0.5}, {"momentum": 0.9, "nesterov": True}])
def test_sgd_follows_torch_with_every_momentum(options):
    assert_rule(run("sgd", **options), sgd, kernel=options, bias=options)


@pytest.mark.parametrize(("name", "rule"), [("adam", adam), ("adamax", adamax), ("sgd", sgd)])
def test_weight_decay_is_coupled_and_spares_biases(name, rule):
    assert_rule(run(name, weight_decay=0.3), rule, kernel={"decay": 0.3})


def test_weight_decay_of_adamw_is_decoupled_and_spares_biases():
    assert_rule(run("adamw", weight_decay=0.3), adam, kernel={"decoupled": 0.3})


def norm(tree) -> float:
    return float(np.sqrt(sum((np.asarray(leaf, np.float64) ** 2).sum() for leaf in jax.tree.leaves(tree))))


@pytest.mark.parametrize("scale", [1.0, 100.0])
def test_clipping_scales_the_whole_gradient_to_the_norm(scale):
    optimizer = optimizer_of("sgd", optax.constant_schedule(1.0), momentum=0.0, clip_norm=0.7)
    grads = jax.tree.map(lambda leaf: jnp.float32(scale * leaf), GRADS[0])
    assert norm(grads) > 0.7
    updates, _ = optimizer.update(grads, optimizer.init(grads), grads)
    assert norm(updates) == pytest.approx(0.7, rel=1e-5)
    for name, update in updates.items():
        np.testing.assert_allclose(update, -0.7 * grads[name] / norm(grads), rtol=1e-4)


def test_clipping_leaves_a_small_gradient_alone():
    optimizer = optimizer_of("sgd", optax.constant_schedule(1.0), momentum=0.0, clip_norm=100.0)
    grads = jax.tree.map(jnp.float32, GRADS[0])
    updates, _ = optimizer.update(grads, optimizer.init(grads), grads)
    for name, update in updates.items():
        np.testing.assert_array_equal(update, -grads[name])


def test_clipping_precedes_weight_decay_as_in_torch():
    optimizer = optimizer_of("sgd", optax.constant_schedule(1.0), momentum=0.0, clip_norm=0.5, weight_decay=2.0)
    grads, params = (jax.tree.map(jnp.float32, tree) for tree in (GRADS[0], PARAMS))
    updates, _ = optimizer.update(grads, optimizer.init(params), params)
    expected = -(0.5 * GRADS[0]["kernel"] / norm(GRADS[0]) + 2 * PARAMS["kernel"])
    np.testing.assert_allclose(updates["kernel"], expected, rtol=1e-4)


def test_the_schedule_is_obeyed_from_the_first_step():
    schedule = schedule_of("step", 1.0, epochs=3, steps_per_epoch=1, step_epochs=1)
    optimizer = optimizer_of("sgd", schedule, momentum=0.0)
    grads = {"kernel": jnp.ones((1, 1))}
    state, updates = optimizer.init(grads), []
    for _ in range(3):
        update, state = optimizer.update(grads, state, grads)
        updates.append(float(update["kernel"][0, 0]))
    assert updates == pytest.approx([-1, -0.1, -0.01])


def test_a_constant_rate_is_constant():
    schedule = schedule_of("constant", 0.3, epochs=5, steps_per_epoch=10)
    assert [float(schedule(step)) for step in (0, 7, 49)] == pytest.approx([0.3] * 3)


@pytest.mark.parametrize("warmup", [0.0, 1.0, 0.5])
def test_step_falls_at_the_start_of_an_epoch_counted_from_the_start_of_the_phase(warmup):
    # As StepLR(step_size=2, gamma=0.1): epochs 0-1, 2-3, 4-5. A warm-up does not shift them.
    schedule = schedule_of(
        "step", 0.3, epochs=6, steps_per_epoch=10, warmup_epochs=warmup, step_epochs=2, step_factor=0.1
    )
    rates = [float(schedule(step)) for step in (10, 19, 20, 39, 40, 59)]
    assert rates == pytest.approx([0.3, 0.3, 0.03, 0.03, 0.003, 0.003])


def test_cosine_falls_to_nearly_zero():
    schedule = schedule_of("cosine", 0.3, epochs=4, steps_per_epoch=25)
    expected = 0.3 * (1 + np.cos(np.pi * np.arange(101) / 100)) / 2
    np.testing.assert_allclose([float(schedule(step)) for step in range(101)], expected, atol=1e-6)
    assert float(schedule(99)) < 0.3 * 0.001


def test_cosine_after_a_warm_up_reaches_zero_at_the_same_step():
    schedule = schedule_of("cosine", 0.3, epochs=4, steps_per_epoch=25, warmup_epochs=1)
    assert float(schedule(25)) == pytest.approx(0.3)
    assert float(schedule(62)) == pytest.approx(0.3 * (1 + np.cos(np.pi * 37 / 75)) / 2, rel=1e-4)
    assert float(schedule(100)) == pytest.approx(0.0, abs=1e-7)


@pytest.mark.parametrize("name", ["constant", "step", "cosine"])
@pytest.mark.parametrize("epochs", [2, 0.5])
def test_warm_up_rises_linearly_from_zero(name, epochs):
    schedule = schedule_of(name, 0.3, epochs=10, steps_per_epoch=10, warmup_epochs=epochs)
    steps = int(epochs * 10)
    rates = [float(schedule(step)) for step in range(steps + 1)]
    np.testing.assert_allclose(rates, 0.3 * np.arange(steps + 1) / steps, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "options"), [("sgd", {}), ("adam", {"weight_decay": 0.1}), ("adamw", {"weight_decay": 0.1})]
)
def test_a_multiplier_is_a_rate_of_its_own(name, options):
    """A stage with the multiplier 0.1 moves as the whole model at a tenth of the rate; the others do not notice."""
    params = {stage: jax.tree.map(jnp.float32, PARAMS) for stage in ("stem", "head")}
    grads = jax.tree.map(lambda leaf: jnp.ones_like(leaf) + leaf, params)

    def after_two_steps(rate, multipliers):
        optimizer = optimizer_of(name, optax.constant_schedule(rate), multipliers=multipliers, **options)
        moved, state = params, optimizer.init(params)
        for _ in range(2):
            updates, state = optimizer.update(grads, state, moved)
            moved = optax.apply_updates(moved, updates)
        return moved

    found = after_two_steps(RATE, {"stem": 0.1})
    plain, slow = after_two_steps(RATE, None), after_two_steps(RATE / 10, None)
    for leaf in PARAMS:
        np.testing.assert_array_equal(found["head"][leaf], plain["head"][leaf])
        # The decay of the second step sees the same slowly moving weights in both.
        np.testing.assert_allclose(found["stem"][leaf], slow["stem"][leaf], rtol=1e-5)
        assert not np.allclose(found["stem"][leaf], plain["stem"][leaf], rtol=1e-3)


@pytest.mark.parametrize("name", ["constant", "step", "cosine", "linear", "onecycle"])
def test_the_rates_of_a_chart_are_those_of_the_steps(name):
    phase = Phase(schedule=name, learning_rate=0.3, epochs=3, step_epochs=1, warmup_epochs=0.5)
    schedule = make_schedule(phase, 4)
    rates = learning_rates(phase, 4)
    assert (rates.shape, rates.dtype) == ((12,), np.float32)
    np.testing.assert_allclose(rates, [float(schedule(step)) for step in range(12)], rtol=1e-5)


def test_linear_is_a_triangle_with_its_warm_up():
    schedule = schedule_of("linear", 2.0, epochs=10, steps_per_epoch=10, warmup_epochs=2.5, final_factor=0.1)
    steps = np.arange(101)
    np.testing.assert_allclose(
        [schedule(step) for step in steps], np.interp(steps, [0, 25, 100], [0.0, 2.0, 0.2]), rtol=1e-5
    )


def test_cosine_may_end_above_zero():
    schedule = schedule_of("cosine", 0.3, epochs=4, steps_per_epoch=25, final_factor=0.5)
    assert float(schedule(100)) == pytest.approx(0.15)


@pytest.mark.parametrize(("warmup", "rise"), [(0, 30), (2.9, 29)])
def test_onecycle_is_half_a_cosine_up_and_half_a_cosine_down(warmup, rise):
    # OneCycleLR(max_lr=2.0, pct_start=0.3): from max_lr / 25 to max_lr to max_lr / 25 / 1e4.
    schedule = schedule_of("onecycle", 2.0, epochs=10, steps_per_epoch=10, warmup_epochs=warmup)
    steps = np.arange(101)
    up, down = np.minimum(steps / rise, 1), np.maximum(steps - rise, 0) / (100 - rise)
    half = lambda start, end, share: start + (end - start) * (1 - np.cos(np.pi * share)) / 2  # noqa: E731
    expected = np.where(steps < rise, half(2.0 / 25, 2.0, up), half(2.0, 2.0 / 25e4, down))
    np.testing.assert_allclose([schedule(step) for step in steps], expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_onecycle_of_few_steps_is_finite(steps):
    rates = learning_rates(Phase(schedule="onecycle", epochs=steps, learning_rate=1.0), 1)
    assert np.isfinite(rates).all() and rates.max() <= 1.0
    assert steps == 1 or rates.max() == 1.0


def steps_of(optimizer, grads, params):
    """The parameters after each gradient."""
    state, seen = optimizer.init(params), []
    for each in grads:
        updates, state = optimizer.update(each, state, params)
        params = optax.apply_updates(params, updates)
        seen.append(params)
    return seen


def dyadic(seed):
    """Gradients whose sums and halves are exact in float32."""
    rng = np.random.default_rng(seed)
    return {name: jnp.float32(rng.integers(-64, 64, leaf.shape) / 32) for name, leaf in PARAMS.items()}


@pytest.mark.parametrize(
    ("recipe", "tolerance"),
    [
        ({"momentum": 0.5}, 0),  # all of it exact in float32, and so equal bit by bit
        ({"weight_decay": 0.3}, 1e-6),
        ({"clip_norm": 0.5}, 1e-6),
        ({"optimizer": "adamw", "weight_decay": 0.3}, 1e-6),
    ],
)
def test_two_accumulated_steps_are_one_of_their_mean_gradient(recipe, tolerance):
    recipe = {"optimizer": "sgd", **recipe}
    params, grads = jax.tree.map(jnp.float32, PARAMS), [dyadic(seed) for seed in range(4)]
    phase, rate = Phase(**recipe, accumulate=2), optax.linear_schedule(0.5, 0.0, 8)
    found = steps_of(make_optimizer(phase, rate), grads, params)
    means = [jax.tree.map(lambda a, b: (a + b) / 2, *grads[i : i + 2]) for i in (0, 2)]
    first, second = steps_of(make_optimizer(Phase(**recipe), lambda update: rate(2 * update)), means, params)
    assert all(np.array_equal(found[0][name], params[name]) for name in PARAMS), "not a bit moves in between"
    for got, expected in ((found[1], first), (found[2], first), (found[3], second)):
        for name in PARAMS:
            np.testing.assert_allclose(got[name], expected[name], rtol=tolerance, atol=tolerance)


def test_every_epoch_ends_with_an_update_of_the_steps_that_are_left():
    # 5 steps an epoch by twos: 2, 2 and 1, with the rates of steps 0, 2, 4, and 5, 7, 9 of the next epoch.
    phase = Phase(optimizer="sgd", momentum=0.0, accumulate=2)
    optimizer = make_optimizer(phase, lambda step: 1.0 + step, steps_per_epoch=5)
    grads = [{"kernel": jnp.full((1, 1), float(i))} for i in range(10)]
    seen = steps_of(optimizer, grads, {"kernel": jnp.zeros((1, 1))})
    moved = np.diff([0.0, *(float(params["kernel"][0, 0]) for params in seen)])
    assert moved.tolist() == [0, -0.5 * 1, 0, -2.5 * 3, -4.0 * 5, 0, -5.5 * 6, 0, -7.5 * 8, -9.0 * 10]


def test_more_accumulated_steps_than_an_epoch_has_are_one_update_an_epoch():
    optimizer = make_optimizer(Phase(optimizer="sgd", accumulate=64), lambda step: 1.0, steps_per_epoch=3)
    moved = steps_of(optimizer, [dyadic(0)] * 6, jax.tree.map(jnp.float32, PARAMS))
    changes = [not np.array_equal(a["kernel"], b["kernel"]) for a, b in itertools.pairwise(moved)]
    assert changes == [False, True, False, False, True]


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_layer_decay_is_a_rate_of_its_own_for_every_layer_and_multipliers_come_on_top(name):
    layer = jax.tree.map(jnp.float32, PARAMS)
    params = {"stem": {"block1": layer, "block2": layer}, "head": {"linear": layer}}
    depths = {"stem": {"block1": 2, "block2": 1}, "head": {"linear": 0}}
    grads = [jax.tree.map(lambda leaf: jnp.ones_like(leaf) + leaf, params)]
    rate, recipe = optax.constant_schedule(RATE), {"optimizer": name, "weight_decay": 0.1}
    (plain,) = steps_of(make_optimizer(Phase(**recipe), rate), grads, params)
    phase = Phase(**recipe, layer_decay=0.5, multipliers={"stem": 0.1})
    (found,) = steps_of(make_optimizer(phase, rate, depths=depths), grads, params)
    for stage, block, factor in (("stem", "block1", 0.025), ("stem", "block2", 0.05), ("head", "linear", 1.0)):
        for leaf, start in layer.items():
            moved, whole = found[stage][block][leaf] - start, plain[stage][block][leaf] - start
            np.testing.assert_allclose(moved, factor * whole, rtol=1e-4, atol=1e-7)

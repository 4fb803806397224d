import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxtl.errors import UserError
from jaxtl.models import build_model
from jaxtl.train.range_test import RangeTest, range_test, smooth, suggest
from jaxtl.train.task import Task
from jaxtl.transfer.phases import Phase

pytestmark = pytest.mark.usefixtures("compiled_once")

STEPS = 12


@pytest.fixture(scope="module")
def net():
    model = build_model("cnn", 3, blocks=((4,),), hidden=(), dropout=0.5)
    return model, jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, 8, 8, 1)))


@pytest.fixture(scope="module")
def tested(net, train_set, preprocess, mesh):
    """``tested(phase, low, high)``: a test of twelve steps, over five batches an epoch."""
    model, variables = net

    def run(phase=Phase(optimizer="sgd"), low=1e-4, high=1e-1, steps=STEPS, variables=variables, **options):  # noqa: B008
        task = Task(model, [phase], train_set, None, preprocess, 8, 0, mesh)
        return range_test(task, variables, 0, np.geomspace(low, high, steps), **options)

    return run


def test_the_average_is_corrected_for_its_start():
    losses = [3.0, 1.0, 2.0]
    first, second = 3.0, (0.98 * 0.02 * 3 + 0.02 * 1) / (1 - 0.98**2)
    np.testing.assert_allclose(smooth(losses), [first, second, smooth(losses)[2]])
    np.testing.assert_allclose(smooth(losses, beta=0.0), losses)


def test_suggestions_are_the_steepest_descent_and_a_tenth_of_the_minimum():
    rates = np.geomspace(1e-6, 1, 61)
    place = np.log10(rates)
    loss = 2 - 1 / (1 + np.exp(-4 * (place + 3))) + np.exp(3 * place)  # falls fastest at 1e-3, rises near 1
    found = suggest(RangeTest(rates, loss, loss))
    assert found.steepest == pytest.approx(1e-3, rel=0.3)
    assert found.tenth == pytest.approx(rates[loss.argmin()] / 10)
    assert suggest(RangeTest(rates, 1 + rates, 1 + rates)) is None
    loss[0] = 0.1  # of a single batch: chance
    assert suggest(RangeTest(rates, loss, loss)) == found


def test_rates_grow_evenly_around_the_epochs_and_nothing_is_left_changed(net, tested):
    _, variables = net
    before = jax.tree.map(np.array, variables)
    seen = []
    found = tested(on_step=seen.append)
    assert seen == list(range(1, STEPS + 1)), "more than the five steps of an epoch"
    np.testing.assert_allclose(found.rates, np.geomspace(1e-4, 1e-1, STEPS))
    np.testing.assert_allclose(found.smoothed, smooth(found.losses))
    jax.tree.map(np.testing.assert_array_equal, before, variables)
    np.testing.assert_array_equal(tested().losses, found.losses)


def test_the_rate_reaches_the_weights_and_frozen_stages_have_no_say(tested):
    slow, fast = tested(low=1e-9, high=2e-9), tested(low=1e-1, high=2e-1)
    assert slow.losses[0] == fast.losses[0], "the loss is that before the update"
    assert slow.losses[1] != fast.losses[1]
    head = Phase(train=("head",), optimizer="sgd", multipliers={"head": 0.0})
    np.testing.assert_allclose(tested(head).losses, tested(head, low=1.0, high=2.0).losses)


def test_it_ends_where_the_loss_has_diverged(tested):
    found = tested(low=1e-2, high=1e12, steps=30)
    assert len(found.rates) < 30
    assert np.isfinite(found.losses).all()
    assert (found.smoothed[:-1] <= 4 * np.minimum.accumulate(found.smoothed)[:-1]).all()


def test_a_loss_that_is_not_a_number_at_once_is_refused(net, tested):
    _, variables = net
    broken = jax.tree.map(lambda leaf: leaf * np.nan, variables)
    with pytest.raises(UserError, match="no learning rate can help"):
        tested(variables=broken)

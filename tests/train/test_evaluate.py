import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxtl.data.dataset import first
from jaxtl.models import build_model
from jaxtl.train.evaluate import make_evaluator
from jaxtl.train.examples import place


@pytest.fixture(scope="module")
def net():
    model = build_model("cnn", 3, blocks=((3,),), hidden=(4,), norm="after_conv", dropout=0.5)
    return model, jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, 8, 8, 1)))


@pytest.mark.parametrize("batch_size", [1, 8, 21, 64])  # ragged by 5, exact, larger than the data set
def test_every_image_counts_once_and_in_order(net, validation_set, preprocess, mesh, batch_size):
    model, variables = net
    found = make_evaluator(model, place(validation_set, mesh), preprocess, batch_size=batch_size, mesh=mesh)(variables)
    logits = model.apply(variables, preprocess(None, jnp.asarray(validation_set.images)), train=False)
    probabilities = np.asarray(jax.nn.softmax(logits))
    labels, N = validation_set.labels, len(validation_set)

    assert found.predicted.dtype == np.int32
    assert found.probability.dtype == np.float32
    np.testing.assert_array_equal(found.predicted, logits.argmax(-1))
    np.testing.assert_allclose(found.probability, probabilities.max(-1), rtol=1e-5)
    assert found.losses.dtype == np.float32
    np.testing.assert_allclose(np.exp(-found.losses), probabilities[np.arange(N), labels], rtol=1e-5)
    true = probabilities[np.arange(N), labels][:, None]
    np.testing.assert_array_equal(found.ranks, (probabilities > true).sum(-1))
    assert found.loss == pytest.approx(-np.log(probabilities[np.arange(N), labels]).mean(), rel=1e-5)
    assert found.accuracy == pytest.approx((found.predicted == labels).mean())
    expected = np.zeros((3, 3), int)
    np.add.at(expected, (labels, found.predicted), 1)
    np.testing.assert_array_equal(found.confusion, expected)


def test_two_passes_compile_once_and_forget_each_other(net, validation_set, preprocess, mesh):
    model, variables = net
    traces = []

    def transform(key, images):
        traces.append(images.shape)
        return preprocess(key, images)

    evaluate = make_evaluator(model, place(first(validation_set, 13), mesh), transform, batch_size=8, mesh=mesh)
    once, again = evaluate(variables), evaluate(variables)
    assert traces == [(8, 8, 8, 1)]
    assert once.compile_s > 0
    assert again.compile_s == 0
    assert again.confusion.sum() == 13
    assert (again.loss, again.accuracy) == (once.loss, once.accuracy)


def test_other_variables_give_other_figures_without_compiling(net, validation_set, preprocess, mesh):
    model, variables = net
    evaluate = make_evaluator(model, place(validation_set, mesh), preprocess, batch_size=8, mesh=mesh)
    before = evaluate(variables)
    after = evaluate(jax.tree.map(lambda leaf: 2 * leaf, variables))
    assert after.compile_s == 0
    assert after.loss != before.loss

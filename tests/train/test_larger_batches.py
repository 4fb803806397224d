"""Passes without training take larger batches where devices tell that they have the memory: here they are made to."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from outcomes import Recorder

from jaxtl.models import build_model
from jaxtl.runtime import memory as device_memory
from jaxtl.runtime.interrupts import StopFlag
from jaxtl.train.evaluate import make_evaluator
from jaxtl.train.examples import place
from jaxtl.train.extract import Extractor, Views
from jaxtl.train.features import FeatureCache
from jaxtl.transfer.augmentation import Augmentation


def memory(monkeypatch, free):
    monkeypatch.setattr(device_memory, "free_bytes", lambda mesh: free)


@pytest.fixture(scope="module")
def net():
    model = build_model("cifar_resnet20", 3, depth=8, width=4)
    return model, jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, 8, 8, 1)))


def test_an_evaluation_in_larger_batches_finds_the_same(monkeypatch, net, train_set, preprocess, mesh):
    model, variables = net
    sizes = []

    def transform(key, images):
        sizes.append(len(images))
        return preprocess(key, images)

    def found():
        return make_evaluator(model, place(train_set, mesh), transform, batch_size=1, mesh=mesh)(variables)

    one_by_one = found()
    memory(monkeypatch, 1 << 40)
    larger = found()
    assert (min(sizes), max(sizes)) == (1, 2)  # 37 images in at least 16 steps
    np.testing.assert_array_equal(larger.predicted, one_by_one.predicted)
    np.testing.assert_allclose(larger.losses, one_by_one.losses, rtol=1e-5)
    assert larger.confusion.sum() == 37


def test_features_in_larger_batches_are_the_same(monkeypatch, net, train_set, validation_set, preprocess, mesh):
    model, variables = net

    def features():
        cache = FeatureCache(Extractor(model, preprocess, 1, mesh, Recorder(), StopFlag()))
        kept = [cache.of(variables, what, data) for what, data in (("a", train_set), ("b", validation_set))]
        ((size, _),) = cache._extractor._programs.values()
        assert kept[1].compile_s == 0
        return size, [np.asarray(each.examples.inputs)[: each.examples.total] for each in kept]

    size, expected = features()
    memory(monkeypatch, 1 << 40)
    larger, found = features()
    assert (size, larger) == (1, 2)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def test_augmented_views_keep_the_batch_that_they_are_drawn_in(monkeypatch, net, train_set, preprocess, mesh):
    model, variables = net
    memory(monkeypatch, 1 << 40)
    cache = FeatureCache(Extractor(model, preprocess, 2, mesh, Recorder(), StopFlag()))
    cache.of(variables, "training", train_set, Views(2, 0, Augmentation(flip=True)))
    ((size, _),) = cache._extractor._programs.values()
    assert size == 2

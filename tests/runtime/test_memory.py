"""What finds room on a device, where devices tell their memory: here they are made to."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from outcomes import Recorder

from jaxtl.models import build_model
from jaxtl.runtime import memory as device_memory
from jaxtl.runtime.interrupts import StopFlag
from jaxtl.runtime.memory import fits, free_bytes, largest_batch
from jaxtl.runtime.start_cache import compile_now
from jaxtl.train.evaluate import make_evaluator
from jaxtl.train.examples import place
from jaxtl.train.features import FeatureCache

MIB = 1 << 20


class Device:
    """A device that tells its memory, or does not."""

    def __init__(self, stats):
        self._stats = stats

    def memory_stats(self):
        return self._stats


class Mesh:
    def __init__(self, *stats):
        self.local_devices = [Device(each) for each in stats]
        self.size = len(stats)


def test_the_least_of_the_devices_counts():
    mesh = Mesh({"bytes_limit": 100, "bytes_in_use": 20}, {"bytes_limit": 90}, {"bytes_limit": 100, "bytes_in_use": 50})
    assert free_bytes(mesh) == 50
    assert fits(25, mesh)
    assert not fits(26, mesh)


@pytest.mark.parametrize("stats", [None, {}, {"bytes_in_use": 3}])
def test_a_device_that_does_not_tell_has_room(stats):
    mesh = Mesh({"bytes_limit": 100}, stats)
    assert free_bytes(mesh) is None
    assert fits(10**15, mesh)


@jax.jit
def wide(x):
    """Of N numbers: a step whose widest result has N MiB, and which keeps two of them."""
    y = jnp.outer(x, jnp.ones(MIB // 4))
    return (y @ y.T).sum()


def numbers(size):
    return (jax.ShapeDtypeStruct((size,), jnp.float32),)


def memory(monkeypatch, free):
    monkeypatch.setattr(device_memory, "free_bytes", lambda mesh: free)


@pytest.mark.parametrize(
    ("free_mib", "count", "size"),
    [
        (None, 10_000, 4),  # not told: as the config says
        (80, 10_000, 8),  # half of 80 MiB, a quarter of which the widest result may take: 10, in units of 4
        (8, 10_000, 4),  # no room even for that
        (10_000, 300, 20),  # 16 steps and not fewer
        (10_000, 60, 4),
    ],
)
def test_the_largest_batch(monkeypatch, mesh, free_mib, count, size):
    memory(monkeypatch, free_mib and free_mib * MIB)
    found, compiled = largest_batch(wide, numbers, 4, count, mesh, compile_now)
    assert found == size
    assert compiled(jnp.ones(size)) == pytest.approx(size**2 * MIB / 4)


def test_the_compiler_has_the_last_word(monkeypatch, mesh):
    memory(monkeypatch, 800 * MIB)  # the guess: 100
    needed = {"now": iter([900 * MIB, 500 * MIB, 300 * MIB])}
    monkeypatch.setattr(device_memory, "_needed", lambda compiled: next(needed["now"]))
    assert largest_batch(wide, numbers, 4, 10_000, mesh, compile_now)[0] == 24  # 100, 48, 24


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
    assert (min(sizes), max(sizes)) == (1, 3)  # 37 images in at least 16 steps
    np.testing.assert_array_equal(larger.predicted, one_by_one.predicted)
    np.testing.assert_allclose(larger.losses, one_by_one.losses, rtol=1e-5)
    assert larger.confusion.sum() == 37


def test_features_in_larger_batches_are_the_same(monkeypatch, net, train_set, validation_set, preprocess, mesh):
    model, variables = net

    def features():
        cache = FeatureCache(model, preprocess, batch_size=1, mesh=mesh, observer=Recorder(), stop=StopFlag())
        kept = [cache.of(variables, what, data) for what, data in (("a", train_set), ("b", validation_set))]
        ((size, _),) = cache._compiled.values()
        assert kept[1].compile_s == 0
        return size, [np.asarray(each.examples.inputs)[: each.examples.total] for each in kept]

    size, expected = features()
    memory(monkeypatch, 1 << 40)
    larger, found = features()
    assert (size, larger) == (1, 3)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def test_augmented_views_keep_the_batch_that_they_are_drawn_in(monkeypatch, net, train_set, preprocess, mesh):
    model, variables = net
    memory(monkeypatch, 1 << 40)
    cache = FeatureCache(model, preprocess, batch_size=2, mesh=mesh, observer=Recorder(), stop=StopFlag())
    cache.of(variables, "training", train_set, flip=True, views=2)
    ((size, _),) = cache._compiled.values()
    assert size == 2

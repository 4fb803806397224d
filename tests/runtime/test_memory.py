"""What finds room on a device, where devices tell their memory: here they are made to."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxtl.runtime import memory as device_memory
from jaxtl.runtime.memory import fits, free_bytes, largest_batch

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


@pytest.fixture(scope="module")
def mesh():
    return jax.sharding.Mesh(np.array(jax.devices()[:1]), ("data",))


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
        (80, 10_000, 16),  # half of 80 MiB: 64 numbers need 128 MiB and a little
        (800, 10_000, 64),  # 16 times as many and not more
        (8, 10_000, 4),  # no room even for that
        (10_000, 320, 20),  # 16 steps and not fewer
        (10_000, 319, 16),
        (10_000, 60, 4),
    ],
)
def test_the_largest_batch(monkeypatch, mesh, free_mib, count, size):
    memory(monkeypatch, free_mib and free_mib * MIB)
    found, compiled = largest_batch(wide, numbers, 4, count, mesh)
    assert found == size
    assert compiled(jnp.ones(size)) == pytest.approx(size**2 * MIB / 4)


def test_the_compiler_has_the_last_word(monkeypatch, mesh):
    memory(monkeypatch, 800 * MIB)
    needed = {"now": iter([900 * MIB, 500 * MIB, 300 * MIB])}
    monkeypatch.setattr(device_memory, "_needed", lambda compiled: next(needed["now"]))
    assert largest_batch(wide, numbers, 4, 10_000, mesh)[0] == 12  # 64, 28, 12


def test_a_batch_that_does_not_compile_is_too_large(monkeypatch, mesh):
    memory(monkeypatch, 800 * MIB)

    class Step:
        def lower(self, numbers):
            if len(numbers.shape) and numbers.shape[0] > 16:
                raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory while trying algorithms.")
            return wide.lower(numbers)

    assert largest_batch(Step(), numbers, 4, 10_000, mesh)[0] == 16

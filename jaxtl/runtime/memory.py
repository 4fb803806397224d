"""What fits into the memory of the devices: data sets, and the batches of inference.

A device that does not report its memory, for example a CPU, is taken to have room for any data set, and gets the
batches that the config names.
"""

import math
from collections.abc import Callable, Iterator
from typing import Any

import jax
from jax.extend import core
from jax.sharding import Mesh

from jaxtl.runtime.processes import gather_ints

# Share of the free memory that inputs may take, or the activations of inference: other things need the rest.
_SHARE = 0.5
# A pass has at least this many steps: the padding of the last batch is wasted work.
_LEAST_STEPS = 16
# Activations that live at once, as a multiple of the largest result of an operation: a first guess.
_ALIVE = 4


def free_bytes(mesh: Mesh) -> int | None:
    """The least free memory of a device of any process, in bytes; ``None`` if one does not report it."""
    free = []
    for device in mesh.local_devices:
        memory = device.memory_stats() or {}
        free.append(memory["bytes_limit"] - memory.get("bytes_in_use", 0) if "bytes_limit" in memory else -1)
    least = int(gather_ints([min(free, default=-1)]).min())  # a process knows its own devices alone
    return None if least < 0 else least


def fits(nbytes: int, mesh: Mesh) -> bool:
    """Whether arrays of ``nbytes`` bytes fit on every device."""
    free = free_bytes(mesh)
    return free is None or nbytes <= _SHARE * free


def largest_batch(
    step: jax.stages.Wrapped,
    arguments: Callable[[int], tuple[Any, ...]],
    batch_size: int,
    count: int,
    mesh: Mesh,
) -> tuple[int, jax.stages.Compiled]:
    """The largest batch of a pass without training whose program fits, by an estimate, and that program.

    Training keeps all activations, and its batch is part of the recipe; inference can take larger ones. The estimate
    from the operations' shapes is compared with the compiler's own account, and halved while that is too much; it is
    not raised, because each trial is a compilation. It depends on what lies on the devices at that moment, and other
    batches may round differently: where devices report their memory, the bits of a pass can differ from run to run.

    Args:
      step: a jitted function of a batch.
      arguments: from a batch size to the shapes of the step's arguments.
      batch_size: the smallest batch; larger ones are multiples of it.
      count: inputs in the pass; larger batches leave it at least 16 steps.
      mesh: the devices that share a batch.
    """
    free = free_bytes(mesh)
    most = math.ceil(count / _LEAST_STEPS / batch_size) * batch_size
    if free is None or most <= batch_size:
        return batch_size, step.lower(*arguments(batch_size)).compile()
    room = _SHARE * free
    guessed = _ALIVE * _largest_result(step.trace(*arguments(batch_size)).jaxpr.jaxpr) / mesh.size
    size = batch_size * max(1, min(int(room // guessed), most // batch_size))
    while True:
        compiled = step.lower(*arguments(size)).compile()
        if size == batch_size or _needed(compiled) <= room:
            return size, compiled
        size = max(1, size // 2 // batch_size) * batch_size


def _needed(compiled: jax.stages.Compiled) -> int:
    """Bytes a device needs for results and temporaries; huge where the compiler does not report it."""
    memory = compiled.memory_analysis()
    own = 2**62 if memory is None else memory.temp_size_in_bytes + memory.output_size_in_bytes
    return int(gather_ints([own]).max())


def _largest_result(jaxpr: core.Jaxpr) -> int:
    """Most bytes that one operation writes."""
    return max((sum(map(_nbytes, eqn.outvars)) for eqn in _operations(jaxpr)), default=1)


def _nbytes(value: Any) -> int:
    aval = value.aval
    return math.prod(aval.shape) * aval.dtype.itemsize if hasattr(aval, "shape") else 0


def _operations(jaxpr: core.Jaxpr) -> Iterator[core.JaxprEqn]:
    """The operations that do not contain others."""
    for eqn in jaxpr.eqns:
        inner = [sub for sub in jax.tree.leaves(eqn.params, is_leaf=_is_jaxpr) if _is_jaxpr(sub)]
        if not inner:
            yield eqn
        for sub in inner:
            yield from _operations(getattr(sub, "jaxpr", sub))


def _is_jaxpr(value: Any) -> bool:
    return isinstance(value, core.Jaxpr | core.ClosedJaxpr)

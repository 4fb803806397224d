"""What fits into the memory of the devices: data sets, and the batches of inference.

A device that does not report its memory, for example a CPU, is taken to have room for any data set, and gets the
batches that the config names.
"""

from collections.abc import Callable
from typing import Any

import jax
from jax.sharding import Mesh

from jaxtl.runtime.processes import gather_ints

# Share of the free memory that inputs may take, or the activations of inference: other things need the rest.
_SHARE = 0.5
# A pass has at least this many steps: the padding of the last batch is wasted work.
_LEAST_STEPS = 16
# The largest batch that is tried, as a multiple of the config's.
_MOST_TIMES = 16


def free_bytes(mesh: Mesh) -> int | None:
    """The least free memory of a device of any process, in bytes; ``None`` if one does not report it."""
    free = []
    for device in mesh.local_devices:
        memory = device.memory_stats() or {}
        left = max(0, memory.get("bytes_limit", 0) - memory.get("bytes_in_use", 0))
        free.append(left if "bytes_limit" in memory else -1)
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
    """The largest batch of a pass without training whose program fits, and that program.

    Training keeps all activations, and its batch is part of the recipe; inference can take larger ones. What a program
    needs is the compiler's account; where that is too much, a smaller batch is compiled. It depends on what lies on the
    devices at that moment, and other batches may round differently: where devices report their memory, the bits of a
    pass can differ from run to run.

    Args:
      step: a jitted function of a batch.
      arguments: from a batch size to the shapes of the step's arguments.
      batch_size: the smallest batch; larger ones are multiples of it.
      count: inputs in the pass; larger batches leave it at least 16 steps, and are at most 16 times as large.
      mesh: the devices that share a batch.
    """
    free = free_bytes(mesh)
    most = min(count // (_LEAST_STEPS * batch_size), _MOST_TIMES) * batch_size
    size, room = (batch_size, 0.0) if free is None else (max(most, batch_size), _SHARE * free)
    while size > batch_size:
        try:
            compiled = step.lower(*arguments(size)).compile()
            needed = _needed(compiled)
        except jax.errors.JaxRuntimeError:  # XLA tries operations out, for which the memory may be too small
            needed = max(1, int(2 * room))
        needed = int(gather_ints([needed]).max())
        if needed <= room:
            return size, compiled
        size = max(1, min(size // 2, int(size * room / needed)) // batch_size) * batch_size
    return size, step.lower(*arguments(size)).compile()


def _needed(compiled: jax.stages.Compiled) -> int:
    """Bytes a device needs for results and temporaries; huge where the compiler does not report it."""
    memory = compiled.memory_analysis()
    return 2**62 if memory is None else memory.temp_size_in_bytes + memory.output_size_in_bytes

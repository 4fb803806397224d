"""Several processes that compute one run: who they are, and what they tell each other.

All of them run the same program. The first one, process 0, alone reads and writes the files of the run and talks to the
person; what the others need of that, it tells them. A process that is alone is the first of one, and tells itself.
"""

import contextlib
import itertools
import json
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import numpy as np
from jax._src import distributed  # there is no public way to the key-value store of JAX's processes
from jax.experimental import multihost_utils

_AS_LONG_AS_IT_TAKES_MS = 7 * 24 * 3600 * 1000
_told = itertools.count()  # every process tells, or is told, the same things in the same order


def alone() -> bool:
    """Whether this process computes its run by itself; JAX need not have looked for devices yet."""
    return not jax.distributed.is_initialized()


def first() -> bool:
    """Whether this is the process that keeps the files and talks to the person."""
    return alone() or jax.process_index() == 0


def store() -> Any:
    """Key-value store of the processes: a client of JAX's coordination service, there where they are several."""
    return distributed.global_state.client


def from_first(value: Any) -> Any:
    """A value of the first process, in all of them; the others wait for it as long as it takes.

    Args:
      value: JSON values, tuples arrive as lists; only that of the first process counts.
    """
    if alone():
        return value
    name = f"jaxtl/told/{next(_told)}"
    if first():
        store().key_value_set(name, json.dumps(value))
        return value
    return json.loads(store().blocking_key_value_get(name, _AS_LONG_AS_IT_TAKES_MS))


def arrays_from_first(tree: Any) -> Any:
    """The arrays of the first process, bit by bit, as numpy arrays; where a process is alone, what it gave.

    Args:
      tree: of arrays, whose structure, shapes and dtypes are the same in all processes.
    """
    if alone():
        return tree
    from_first(None)  # whoever is early waits here: in a collective, the patience of the network would count
    leaves, structure = jax.tree.flatten(jax.tree.map(np.asarray, tree))
    if not leaves:
        return tree
    # As bytes: the broadcast adds the zeros of the others, and -0.0 + 0.0 would not be what it was.
    packed = np.frombuffer(b"".join(leaf.tobytes() for leaf in leaves), np.uint8)
    packed = np.asarray(multihost_utils.broadcast_one_to_all(packed))
    parts = np.split(packed, np.cumsum([leaf.nbytes for leaf in leaves])[:-1])
    told = [
        np.frombuffer(part.tobytes(), leaf.dtype).reshape(leaf.shape) for part, leaf in zip(parts, leaves, strict=True)
    ]
    return jax.tree.unflatten(structure, told)


def numbers_of_all(numbers: Sequence[int]) -> np.ndarray:
    """The numbers of all processes, int32 ``[processes, len(numbers)]``; each must give as many."""
    own = np.asarray(numbers, np.int32)
    return own[None] if alone() else np.asarray(multihost_utils.process_allgather(own))


@contextlib.contextmanager
def first_before_others() -> Iterator[None]:
    """A context that the first process leaves before the others enter it: what it downloads, they find."""
    if not first():
        from_first(None)
    yield
    if first():
        from_first(None)

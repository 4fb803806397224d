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
from jax.sharding import Mesh, NamedSharding, PartitionSpec

AS_LONG_AS_IT_TAKES_MS = 7 * 24 * 3600 * 1000
# Every process tells, asks and is told the same things in the same order.
_told, _asked = itertools.count(), itertools.count()
_perhaps_unread: list[str] = []


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
        _perhaps_unread.append(name)
        return value
    return json.loads(store().blocking_key_value_get(name, AS_LONG_AS_IT_TAKES_MS))


def numbers_of_all(numbers: Sequence[int]) -> np.ndarray:
    """The numbers of all processes, int64 ``[processes, len(numbers)]``; each gives as many, and all wait for the last.

    Through the store, not by a collective: there a process that comes late is an error after a while.
    """
    own = list(map(int, numbers))
    if alone():
        return np.asarray([own])
    turn, count = next(_asked), jax.process_count()
    names = [f"jaxtl/asked/{turn}/{number}" for number in range(count)]
    if not first():
        store().key_value_set(names[jax.process_index()], json.dumps(own))
        return np.asarray(from_first(None))
    others = [json.loads(store().blocking_key_value_get(name, AS_LONG_AS_IT_TAKES_MS)) for name in names[1:]]
    for name in (*names[1:], *_perhaps_unread):  # who answers has read what it was told before
        store().key_value_delete(name)
    _perhaps_unread.clear()
    return np.asarray(from_first([own, *others]))


def wait_for_all() -> None:
    """Come back once all processes are here.

    To be called where one may have been busy for long, compiling say, before a program in which they exchange arrays:
    those of CPUs wait for each other for half a minute only.
    """
    numbers_of_all([])


def arrays_from_first(tree: Any) -> Any:
    """The arrays of the first process, bit by bit, as numpy arrays; where a process is alone, what it gave.

    Args:
      tree: of arrays, whose structure, shapes and dtypes are the same in all processes.
    """
    if alone():
        return tree
    leaves, structure = jax.tree.flatten(jax.tree.map(np.asarray, tree))
    # As bytes: zeros of the others are added, and -0.0 + 0.0 would not be what it was.
    packed = np.frombuffer(b"".join(leaf.tobytes() for leaf in leaves), np.uint8)
    told = _bytes_from_first(packed) if packed.size else packed
    parts = np.split(told, np.cumsum([leaf.nbytes for leaf in leaves]))
    arrays = [np.frombuffer(part, leaf.dtype).reshape(leaf.shape) for part, leaf in zip(parts, leaves, strict=False)]
    return jax.tree.unflatten(structure, arrays)


def _bytes_from_first(packed: np.ndarray) -> np.ndarray:
    """uint8 ``[n]`` of the first process, in all: one row a device, of which all but the first are 0, added up."""
    mesh = Mesh(np.array(jax.devices()), ("device",))
    one_each, everywhere = (NamedSharding(mesh, PartitionSpec(*axes)) for axes in (("device",), ()))

    def row(index: Any) -> np.ndarray:
        return (packed if index[0].indices(mesh.size)[0] == 0 else np.zeros_like(packed))[None]

    rows = jax.make_array_from_callback((mesh.size, packed.size), one_each, row)
    add = jax.jit(lambda rows: rows.sum(0, dtype=np.uint8), out_shardings=everywhere).lower(rows).compile()
    wait_for_all()
    return np.asarray(add(rows))


@contextlib.contextmanager
def first_before_others() -> Iterator[None]:
    """A context that the first process leaves before the others enter it: what it downloads, they find."""
    if not first():
        from_first(None)
    yield
    if first():
        from_first(None)

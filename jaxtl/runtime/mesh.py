"""Data parallelism: one mesh axis, ``data``; variables are replicated, batches are split.

Everything else is left to jit: gradients, batch norm and metrics are written for the whole batch, and the compiler
puts the all-reduces in. So eight devices compute what one computes.
"""

import math
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxtl.errors import UserError
from jaxtl.runtime.processes import is_single_process


def data_mesh(batch_size: int) -> Mesh:
    """The devices that train: as many as can share a batch evenly, all of them if the batch size is a multiple.

    The compiler decides how values between input and output are laid out (axis type Auto).

    Raises:
      UserError: devices of several processes cannot share a batch evenly; none of them may be left out.
    """
    sharing = math.gcd(jax.device_count(), batch_size)
    if sharing < jax.device_count() and not is_single_process():
        raise UserError(
            f"batch_size is {batch_size}, which the {jax.device_count()} devices of {jax.process_count()} processes "
            f"cannot share evenly; choose a multiple of {jax.device_count()}."
        )
    return Mesh(np.array(jax.devices()[:sharing]), ("data",))


def replicated(mesh: Mesh) -> NamedSharding:
    """A copy on every device."""
    return NamedSharding(mesh, PartitionSpec())


def split(mesh: Mesh) -> NamedSharding:
    """An equal part of the first axis on every device."""
    return NamedSharding(mesh, PartitionSpec("data"))


def put(tree: Any, sharding: NamedSharding) -> Any:
    """Arrays on the devices of all processes, each of which has the same arrays in full."""
    if sharding.is_fully_addressable:
        return jax.device_put(tree, sharding)

    def place(leaf: Any) -> jax.Array:
        value = np.asarray(leaf)  # device_put would compare it across processes
        return jax.make_array_from_callback(value.shape, sharding, value.__getitem__)

    return jax.tree.map(place, tree)


def own_rows(batch_size: int, mesh: Mesh) -> np.ndarray:
    """The rows of a batch that lie on devices of this process: int ``[R]``; all of them in a single process."""
    indices = split(mesh).addressable_devices_indices_map((batch_size,)).values()
    return np.unique(np.concatenate([np.arange(batch_size)[index] for index in indices]))


def put_order(order: Any, mesh: Mesh) -> Any:
    """An order of arrays ``[steps, batch]`` (`jaxtl.data.feed.Order`) on the devices, each batch split over them."""
    return put(order, NamedSharding(mesh, PartitionSpec(None, "data")))

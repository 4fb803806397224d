"""Data parallelism: one mesh axis, ``data``; variables are replicated, batches are split.

Everything else is left to jit: gradients, batch norm and metrics are written for the whole batch, and the compiler
puts the all-reduces in. So eight devices compute what one computes.
"""

import math

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxtl.data.feed import Order
from jaxtl.errors import UserError


def data_mesh(batch_size: int) -> Mesh:
    """As many devices, in a row, as can share a batch evenly: all of them where the batch size is their multiple.

    The compiler decides how values between input and output are laid out (axis type Auto).
    """
    return Mesh(np.array(jax.devices()[: math.gcd(jax.device_count(), batch_size)]), ("data",))


def replicated(mesh: Mesh) -> NamedSharding:
    """A copy on every device."""
    return NamedSharding(mesh, PartitionSpec())


def put_order(order: Order, mesh: Mesh) -> Order:
    """The order on the devices, each batch split over them.

    Raises:
      UserError: if the batch size is not a multiple of the number of devices.
    """
    batch, devices = order.indices.shape[1], mesh.size
    if batch % devices:
        raise UserError(
            f"batch_size is {batch}, which {devices} devices cannot share evenly; choose a multiple of {devices}."
        )
    return Order(*jax.device_put(tuple(order), NamedSharding(mesh, PartitionSpec(None, "data"))))

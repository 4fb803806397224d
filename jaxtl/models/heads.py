"""Dense layers: those between maps and features, and heads from features to logits."""

import dataclasses
import functools
import math
from collections.abc import Mapping
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

from jaxtl.errors import UserError, nearest
from jaxtl.models.classifier import StageFactory
from jaxtl.models.layers import Initialisers, relu, torch_init
from jaxtl.models.options import checked

# What a model's `head=` takes: one dense layer, or the fields of `Head` that differ from it.
HeadOptions = Literal["linear"] | Mapping[str, Any]

Activation = Literal["none", "relu", "gelu", "silu", "tanh", "sigmoid"]


def adaptive_avg_pool(maps: jax.Array, size: int) -> jax.Array:
    """Mean over ``size x size`` bins that cover maps of any size, as ``torch.nn.AdaptiveAvgPool2d``.

    Bin i of H rows runs from floor(i * H / size) to ceil((i + 1) * H / size): bins overlap where ``size`` does not
    divide H, and repeat pixels where H is smaller.

    Args:
      maps: ``[B, H, W, C]``, H and W at least 1.
      size: bins a side.

    Returns:
      ``[B, size, size, C]``, same dtype.
    """
    H, W = maps.shape[1:3]
    if H == W == size:
        return maps
    rows, columns = (jnp.asarray(_bins(length, size), maps.dtype) for length in (H, W))
    # A weighted mean must not be rounded to fewer bits than the maps have, as accelerators do by default.
    return jnp.einsum("ih,jw,bhwc->bijc", rows, columns, maps, precision=jax.lax.Precision.HIGHEST)


def _bins(length: int, size: int) -> np.ndarray:
    """The matrix ``[size, length]`` whose row i averages over bin i."""
    matrix = np.zeros((size, length))
    for i in range(size):
        start, stop = i * length // size, -(-(i + 1) * length // size)
        matrix[i, start:stop] = 1 / (stop - start)
    return matrix


def flatten(maps: jax.Array, grid: int = 0) -> jax.Array:
    """``[B, ...]`` as ``[B, F]``, channels fastest; maps averaged to ``grid x grid`` cells first, if that is not 0."""
    maps = adaptive_avg_pool(maps, grid) if grid else maps
    return maps.reshape(maps.shape[0], -1)


class Hidden(nn.Module):
    """The stage ``hidden`` of a VGG or small network: flattened maps, then dense layers with ReLU and dropout.

    Attributes:
      widths: units of each layer.
      dropout: rate of the dropout after each layer.
      grid: cells a side that the maps are averaged to, whatever their size; 0: they are flattened as they are.
      initialisers: of a layer, PyTorch's by default.
      dtype: dtype of the computation; parameters are float32.
    """

    widths: tuple[int, ...]
    dropout: float = 0.0
    grid: int = 0
    initialisers: Initialisers = torch_init
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """``[B, H, W, C]`` to ``[B, widths[-1]]``.

        Raises:
          UserError: the weights are those of another image size, and there is no ``grid``.
        """
        maps, x = x, flatten(x, self.grid)
        if self.has_variable("params", "linear1"):
            known: int = self.get_variable("params", "linear1")["kernel"].shape[0]
            if known != x.shape[1]:
                side = math.isqrt(known // maps.shape[-1])
                raise UserError(
                    f"The dense layer was made for {known} inputs, but maps of {maps.shape[1]} x {maps.shape[2]} cells "
                    f"give {x.shape[1]}, because the images have another size; set the option grid={side}, which "
                    "averages maps of any size to the cells it knows, or resize the images."
                )
        for i, width in enumerate(self.widths, start=1):
            x = relu(nn.Dense(width, dtype=self.dtype, name=f"linear{i}", **self.initialisers(x.shape[-1]))(x))
            x = nn.Dropout(self.dropout, deterministic=not train)(x)
        return x


class Head(nn.Module):
    """Hidden dense layers, then a linear one; parameters ``hidden1``, ``hidden2``, ..., ``linear``.

    Without hidden layers it is a linear head, and ``input_dropout`` is then the dropout before the linear layer.

    Attributes:
      num_classes: number of logits.
      hidden: units of the hidden layers.
      activation: name of the function after each hidden layer.
      dropout: rate of the dropout after each hidden layer's activation.
      input_dropout: rate of the dropout on the features.
      final_activation: name of the function on the logits. Anything but "none" costs accuracy under cross-entropy,
        which has a softmax of its own; it is here to repeat experiments that did so.
      bias: the last layer has one.
      dtype: dtype of the computation; parameters are float32.
    """

    num_classes: int
    hidden: tuple[int, ...] = ()
    activation: Activation = "relu"
    dropout: float = 0.0
    input_dropout: float = 0.0
    final_activation: Activation = "none"
    bias: bool = True
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, features: jax.Array, train: bool) -> jax.Array:
        """Features ``[B, F]`` to logits ``[B, num_classes]``."""
        x = nn.Dropout(self.input_dropout, deterministic=not train)(features)
        for i, width in enumerate(self.hidden, start=1):
            x = nn.Dense(width, dtype=self.dtype, name=f"hidden{i}", **torch_init(x.shape[-1]))(x)
            x = _activate(self.activation, x)
            x = nn.Dropout(self.dropout, deterministic=not train)(x)
        x = nn.Dense(self.num_classes, self.bias, self.dtype, name="linear", **torch_init(x.shape[-1]))(x)
        return _activate(self.final_activation, x)


def _activate(name: Activation, x: jax.Array) -> jax.Array:
    activated: jax.Array = x if name == "none" else getattr(nn, name)(x)
    return activated


# The model's own fields, and Linen's, are not options of a head.
_FIELDS = {
    field.name: field.type
    for field in dataclasses.fields(Head)
    if field.name not in ("num_classes", "dtype", "parent", "name")
}


def make_head(num_classes: int, options: HeadOptions, dtype: DTypeLike) -> StageFactory | None:
    """The factory of a head, checked.

    Args:
      num_classes: number of logits; 0 makes no head.
      options: ``"linear"``, or a mapping with fields of ``Head``:
        ``{"hidden": (128,), "dropout": 0.2, "final_activation": "sigmoid"}``.
      dtype: dtype of the computation.

    Raises:
      UserError: for a field that does not exist or a value out of range.
    """
    if options != "linear" and not isinstance(options, Mapping):
        raise UserError(
            f"head is {options!r}, but a head is 'linear', or a mapping of its fields ({', '.join(_FIELDS)}): "
            "{'hidden': (128,), 'dropout': 0.2} is a multi-layer perceptron."
        )
    given = {} if isinstance(options, str) else dict(options)
    for name in given:
        if name not in _FIELDS:
            raise UserError(f"head has no field {name!r}; {nearest(str(name), _FIELDS)}")
    fields = {name: checked(f"head.{name}", name, _FIELDS[name], value) for name, value in given.items()}
    if fields.get("dropout") and not fields.get("hidden"):
        raise UserError(
            f"head.dropout is {fields['dropout']} and acts after hidden layers, but head.hidden names none; "
            "head.input_dropout is the dropout before the linear layer."
        )
    return functools.partial(Head, num_classes, dtype=dtype, **fields) if num_classes else None

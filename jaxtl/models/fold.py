"""Batch norm folded into the convolutions before it: the same function in fewer operations, for inference."""

from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from jaxtl.errors import UserError
from jaxtl.models.classifier import Classifier, StageFactory
from jaxtl.models.fit import Shape, leaves, misfit
from jaxtl.models.layers import BatchNorm

Path = tuple[str, ...]


def fold_batch_norm(
    model: Classifier, variables: Mapping[str, Any], *, channels: int = 3
) -> tuple[Classifier, dict[str, Any]]:
    """The same function of images in inference mode, with batch norm folded away where that is exact.

    A norm in inference mode scales and shifts each channel, ``s * y + (bias - s * mean)`` with
    ``s = scale / sqrt(var + eps)``. Where it takes a convolution's output as it is, that convolution can do both:
    kernel ``s * kernel`` and bias ``s * (bias_of_conv - mean) + bias``. A norm after a ReLU, a pool or a concatenation
    stays: in a DenseNet the first of each layer, those of the transitions and the last one.

    Args:
      model: from ``build_model`` or ``create_model``; a stage with an attribute ``folded`` says by it which norms go.
      variables: its ``params`` and ``batch_stats``.
      channels: of the images that it takes.

    Returns:
      The folded model and its variables, without ``batch_stats`` where no norm is left. Training it further is
      possible, but differs from training the model: there are no batch statistics.

    Raises:
      UserError: if the variables lack a norm or convolution of the model, or have one of another shape.

    >>> import jax, jaxtl
    >>> model, variables = jaxtl.create_model("cifar_resnet20", num_classes=10, key=jax.random.key(0), depth=8)
    >>> folded, smaller = fold_batch_norm(model, variables)
    >>> sorted(smaller["params"]["stage1"]["block1"])
    ['conv1', 'conv2']
    """
    backbone = tuple((name, _folded(factory)) for name, factory in model.backbone)
    folded_model = model.clone(backbone=backbone)
    norms, wanted = _trace(model, channels)
    gone = norms.keys() - _trace(folded_model, channels)[0].keys()
    layers = {*gone, *(norms[norm][0] for norm in gone)}
    _check(variables, {"/".join(path): shape for path, shape in wanted.items() if path[1:-1] in layers})
    flat = traverse_util.flatten_dict(dict(variables))
    for norm in gone:
        conv, epsilon = norms[norm]
        scale, bias, mean, var = (
            np.asarray(flat.pop((kind, *norm, leaf)), np.float64)
            for kind, leaf in (("params", "scale"), ("params", "bias"), ("batch_stats", "mean"), ("batch_stats", "var"))
        )
        factor, at = scale / np.sqrt(var + epsilon), ("params", *conv)
        kernel = flat[(*at, "kernel")]
        shift = np.asarray(flat.get((*at, "bias"), 0), np.float64) - mean
        flat[(*at, "kernel")] = jnp.asarray(np.asarray(kernel, np.float64) * factor, kernel.dtype)
        flat[(*at, "bias")] = jnp.asarray(shift * factor + bias, kernel.dtype)
    return folded_model, {"params": {}, **traverse_util.unflatten_dict(flat)}


def _check(variables: Any, wanted: Mapping[str, Shape]) -> None:
    given = {name: np.shape(leaf) for name, leaf in leaves(variables).items() if name in wanted}
    if problems := misfit(given, wanted):
        raise UserError(f"The variables are not those of the model to fold: {problems}; give those of this model.")


def _folded(factory: StageFactory) -> StageFactory:
    return (lambda: factory().clone(folded=True)) if hasattr(factory(), "folded") else factory


def _trace(model: Classifier, channels: int) -> tuple[dict[Path, tuple[Path, float]], dict[Path, Shape]]:
    """The path of every batch norm, with that of the convolution whose output it takes as it is (``()`` if it does
    not) and its epsilon, and the shapes of all leaves.

    Found by following the data through the initialisation, where any size of image will do; nothing is computed.
    """
    made: dict[int, tuple[jax.Array, Path]] = {}  # the array is kept, so that no other can take its id
    norms: dict[Path, tuple[Path, float]] = {}

    def watch(call: Callable[..., Any], args: Any, kwargs: Any, context: nn.module.InterceptorContext) -> Any:
        if isinstance(context.module, BatchNorm) and context.method_name == "__call__":
            norms[context.module.path] = made.get(id(args[0]), (args[0], ()))[1], context.module.epsilon
        out = call(*args, **kwargs)
        if isinstance(context.module, nn.Conv) and context.method_name == "__call__":
            made[id(out)] = out, context.module.path
        return out

    size = max(model.least_size, 32)
    with nn.intercept_methods(watch):
        tree = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, size, size, channels)))
    return norms, {path: leaf.shape for path, leaf in traverse_util.flatten_dict(dict(tree)).items()}

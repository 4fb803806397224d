"""Between the names and layouts of PyTorch or Keras and ours, both ways, from one table of names (``names.py``)."""

import itertools
import math
import warnings
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from jaxtl.errors import UserError
from jaxtl.models import build_model
from jaxtl.models.classifier import HEAD
from jaxtl.models.fit import leaves, misfit, shown
from jaxtl.models.registry import MODELS
from jaxtl.weights.formats.torch_file import StateDict, innermost
from jaxtl.weights.names import Names, keras_names, torch_names

Variables = dict[str, Any]
Shape = tuple[int, ...]

WAY_OUT = "Take weights of the same architecture, and give the options that they were made with."

_SKELETONS: dict[str, dict[str, Shape]] = {}  # by model and options
COUNTER = "num_batches_tracked"  # torch counts the batches that a norm has seen; only its momentum=None reads it


def from_torch(name: str, state_dict: Mapping[str, Any], **options: Any) -> Variables:
    """Variables of a model from a PyTorch state dict.

    Strict: each key finds its leaf and each leaf its key, or one error says which did not. Two things are put right
    with a warning: a state dict inside a checkpoint is found, and a prefix with which all keys of the network begin is
    taken off (Lightning's ``model.``, ``module.``, ``_orig_mod.``, wrappers that keep averaged weights). The number of
    classes is the file's; a state dict without a last layer gives a model without a head.

    Args:
      name: one of ``list_models()`` with a counterpart in PyTorch.
      state_dict: arrays by key with the names and shapes of torchvision or timm, as ``read_torch_file`` returns them;
        or anything that numpy makes an array of, such as PyTorch's own tensors in main memory.
      **options: options of the architecture, as for ``build_model``.

    Returns:
      ``{"params": …, "batch_stats": …}``, numpy arrays: float32, or float64 where the file has that.

    Raises:
      UserError: for an unknown model, or a state dict that does not fit it.
    """
    return _to_variables(name, torch_names(name, **options), state_dict, options)


def from_keras(name: str, arrays: Mapping[str, Any], **options: Any) -> Variables:
    """Variables of a model from the arrays of the network of the same kind in Keras's applications.

    Strict, as ``from_torch``. Keras's ResNets are ``resnet50_v1`` and its relatives. Where Keras takes images with blue
    first and the mean subtracted (VGG, ResNet), the first kernel is turned round: the model takes red first, images in
    [0, 1], and the mean and std of the card ``imagenet1k_keras``. Without its top, VGG needs the option ``hidden=()``.
    The epsilon of Keras's DenseNets is 1.001e-5 and ours 1e-5, a difference far below the variance of any map.

    Args:
      name: one of ``jaxtl.weights.names.KERAS_MODELS``.
      arrays: by the name of the layer and of the array, ``conv1_conv/kernel``, as ``read_keras_file`` returns them.
      **options: options of the architecture, as for ``build_model``.

    Raises:
      UserError: for a model that Keras does not have, or arrays that do not fit it.
    """
    return _to_variables(name, keras_names(name, **options), arrays, options)


def to_torch(name: str, variables: Mapping[str, Any], **options: Any) -> StateDict:
    """The inverse of ``from_torch``: a state dict that ``load_state_dict(strict=True)`` of the PyTorch model accepts.

    Args:
      name: one of ``list_models()`` with a counterpart in PyTorch.
      variables: ``params`` and ``batch_stats`` of the model, with a linear head of any size or without a head.
      **options: options of the architecture, as for ``build_model``.

    Returns:
      C-contiguous arrays by key, in PyTorch's order and of the dtypes of ``variables``; ``num_batches_tracked`` is 0.

    Raises:
      UserError: if the variables are not those of the model, or a head has no counterpart.
    """
    state_dict: StateDict = {}
    for key, array in _to_arrays(name, torch_names(name, **options), variables, options).items():
        state_dict[key] = array
        if key.endswith(".running_var"):
            state_dict[key.removesuffix("running_var") + COUNTER] = np.zeros((), np.int64)
    return state_dict


def to_keras(name: str, variables: Mapping[str, Any], **options: Any) -> StateDict:
    """The inverse of ``from_keras``: arrays by the name of the layer and of the array, in Keras's order of layers.

    ``write_keras_file`` makes a file of them that ``model.load_weights`` takes.

    Raises:
      UserError: if Keras has no such model, or the variables are not those of the model.
    """
    return _to_arrays(name, keras_names(name, **options), variables, options)


def classes_of(given: Mapping[str, np.ndarray]) -> int:
    """The number of classes of variables, by the name of the leaf; 0 if they have no head."""
    bias = given.get(f"params/{HEAD}/linear/bias")
    return 0 if bias is None else bias.size


def check_fit(name: str, variables: Mapping[str, Any], source: str, **options: Any) -> None:
    """Compare names and shapes with those of a model.

    Raises:
      UserError: saying which leaves are missing, left over or of another shape.
    """
    given = leaves(variables)
    if problems := misfit(_shapes(given), skeleton(name, classes_of(given), **options)):
        raise UserError(f"{source} does not fit {name}: {problems}. {WAY_OUT}")


def skeleton(name: str, num_classes: int, **options: Any) -> dict[str, Shape]:
    """The shape of every leaf of the variables of ``build_model``, parameters first, without computing any."""
    case = f"{name} {MODELS.get(name)} {num_classes} {sorted(options.items())}"
    if case not in _SKELETONS:
        model = build_model(name, num_classes, **options)
        size = max(model.least_size, 32)
        tree = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, size, size, 3)))
        _SKELETONS[case] = _shapes(leaves(tree))
    return dict(_SKELETONS[case])


def _shapes(named: Mapping[str, Any]) -> dict[str, Shape]:
    return {name: np.shape(value) for name, value in named.items()}


# --- all arrays of a network ---


def _to_variables(name: str, names: Names, arrays: Mapping[str, Any], options: Mapping[str, Any]) -> Variables:
    given = _arrays(arrays, names.library)
    count, given = len(given), dict(_current(names, key, array) for key, array in given.items())
    if len(given) < count:
        raise UserError(f"The state dict for {name} has a layer under an old and a new name; keep one of the two.")
    given, shapes = _fitting(name, names, given, options)
    return traverse_util.unflatten_dict(
        {leaf: _to_ours(names, leaf, given[key], shapes) for leaf in shapes if (key := names.key(leaf))}, sep="/"
    )


def _current(names: Names, key: str, array: np.ndarray) -> tuple[str, np.ndarray]:
    """A key by the names of the table, and its array; timm's VGGs keep dense layers as convolutions of whole maps."""
    key = names.current(key)
    return key, array.reshape(len(array), -1) if array.ndim == 4 and key.startswith("classifier.") else array


def _to_arrays(name: str, names: Names, variables: Mapping[str, Any], options: Mapping[str, Any]) -> StateDict:
    given = {leaf: np.asarray(array) for leaf, array in leaves(variables).items()}
    shapes = skeleton(name, classes_of(given), **options)
    strange = [f"{leaf} has no counterpart in {names.library}" for leaf in shapes if not names.key(leaf)]
    if problems := misfit(_shapes(given), shapes, strange):
        raise UserError(f"The variables do not fit {name}: {problems}. {WAY_OUT}")
    return {names.key(leaf) or "": _to_theirs(names, leaf, given[leaf], shapes) for leaf in names.in_order(shapes)}


def _arrays(state_dict: Any, library: str) -> StateDict:
    """What a caller gave, as arrays by key; a checkpoint's state dict is found.

    Raises:
      UserError: if it is not a dictionary with names as keys, or holds something that is not an array.
    """
    state_dict = innermost(state_dict)
    if not isinstance(state_dict, Mapping) or not all(isinstance(key, str) for key in state_dict):
        raise UserError(
            f"The state dict is of type {type(state_dict).__name__}, but it must have arrays by {library}'s names, "
            "as jaxtl.weights.read_torch_file(path) and read_keras_file(path) return them."
        )
    arrays = {}
    for key, value in state_dict.items():
        try:
            arrays[key] = np.asarray(value)
        except Exception as error:  # whatever stands there has its own reasons
            raise UserError(
                f"{shown(key)} in the state dict is of type {type(value).__name__}, which is not an array ({error}); "
                "turn it into one: tensor.detach().cpu().float().numpy()."
            ) from error
    return arrays


def _compare(
    name: str, names: Names, given: Mapping[str, np.ndarray], options: Mapping[str, Any]
) -> tuple[str | None, dict[str, Shape]]:
    """How arrays by the library's keys differ from a model's, in words, and the shapes of the model's leaves."""
    bias = given.get(f"{names.head}{names.separator}{names.leaves['bias']}")
    shapes = skeleton(name, 0 if bias is None else bias.size, **options)
    keys = {leaf: names.key(leaf) for leaf in shapes}
    wanted = {key: _their_shape(names, leaf, shapes) for leaf, key in keys.items() if key}
    counters = {key.removesuffix("running_mean") + COUNTER for key in wanted if key.endswith(".running_mean")}
    strange = [f"{leaf} has no counterpart in {names.library}" for leaf, key in keys.items() if not key]
    strange += [
        f"{key} has type {array.dtype}, not floating-point numbers"
        for key, array in given.items()
        if key in wanted and array.dtype.kind not in "fV"
    ]
    found = {key: shape for key, shape in _shapes(given).items() if key not in counters}
    return misfit(found, wanted, strange), shapes


def _fitting(
    name: str, names: Names, given: StateDict, options: Mapping[str, Any]
) -> tuple[StateDict, dict[str, Shape]]:
    """The arrays of a state dict that fit a model, as they are or without a prefix, and the shapes of its leaves.

    Where several networks of the kind are in one state dict, averaged weights (``ema``) count first, then the shortest
    prefix.

    Raises:
      UserError: if they fit neither way.
    """
    problems, shapes = _compare(name, names, given, options)
    if not problems:
        return given, shapes
    first = names.key(names.in_order(shapes)[0]) or ""
    prefixes = {key.removesuffix(first) for key in given if key.endswith(names.separator + first)}
    for prefix in sorted(prefixes, key=lambda prefix: ("ema" not in prefix.lower(), len(prefix), prefix)):
        part = {key.removeprefix(prefix): array for key, array in given.items() if key.startswith(prefix)}
        faults, shapes = _compare(name, names, part, options)
        if faults:
            continue
        others = [shown(key) for key in given if not key.startswith(prefix)]
        left = f"; other keys were left out ({len(others)}): {', '.join(others[:4])}" if others else ""
        more = ", …" if len(others) > 4 else ""
        warnings.warn(f"The prefix {prefix!r} was taken off the keys of {name}{left}{more}.", stacklevel=4)
        return part, shapes
    parts = zip(*(key.split(".")[:-1] for key in given), strict=False)
    common = "".join(f"{part[0]}." for part in itertools.takewhile(lambda part: len(set(part)) == 1, parts))
    hint = f" (its keys all begin with {shown(common)!r})" if common else ""
    what = f"The state dict{hint} does" if names.library == "PyTorch" else f"The arrays{hint} do"
    raise UserError(f"{what} not fit {name}: {problems}. {WAY_OUT}")


# --- one leaf ---


def _layout(names: Names, leaf: str, shapes: Mapping[str, Shape]) -> tuple[Shape, tuple[int, ...]]:
    """The shape to give one of our arrays first, and then the order of its axes in the library: OIHW for our HWIO.

    VGG's first dense layer alone reads flattened maps, (rows, columns, channels) in ours. They have as many channels as
    the widest convolution gives, which is the last one too; rows and columns are equally many.
    """
    shape = shapes[leaf]
    if not leaf.endswith("/kernel") or names.library == "Keras":
        return shape, tuple(range(len(shape)))
    if leaf == "params/hidden/linear1/kernel":
        channels = max(other[-1] for other in shapes.values() if len(other) == 4)
        bins = round((shape[0] // channels) ** 0.5)
        return (bins, bins, channels, shape[1]), (3, 2, 0, 1)
    return shape, (1, 0) if len(shape) == 2 else (3, 2, 0, 1)


def _their_shape(names: Names, leaf: str, shapes: Mapping[str, Shape]) -> Shape:
    shape, axes = _layout(names, leaf, shapes)
    theirs = tuple(shape[axis] for axis in axes)
    return theirs if len(theirs) == len(shapes[leaf]) else (theirs[0], math.prod(theirs[1:]))


def _turned(names: Names, leaf: str, array: np.ndarray) -> np.ndarray:
    """The first kernel for channels in the opposite order, any other leaf as it is."""
    is_first = leaf == f"params/{next(iter(names.layers))}/kernel"
    return array[:, :, ::-1] if names.bgr and is_first else array


def _to_ours(names: Names, leaf: str, array: np.ndarray, shapes: Mapping[str, Shape]) -> np.ndarray:
    if array.dtype.itemsize < 4:  # half precision is a way to store weights, not to keep them
        array = array.astype(np.float32)
    shape, axes = _layout(names, leaf, shapes)
    array = array.reshape([shape[axis] for axis in axes]).transpose(np.argsort(axes))
    return np.ascontiguousarray(_turned(names, leaf, array).reshape(shapes[leaf]))


def _to_theirs(names: Names, leaf: str, array: np.ndarray, shapes: Mapping[str, Shape]) -> np.ndarray:
    shape, axes = _layout(names, leaf, shapes)
    array = _turned(names, leaf, array).reshape(shape).transpose(axes)
    return np.ascontiguousarray(array.reshape(_their_shape(names, leaf, shapes)))

"""Between PyTorch's names and layouts and ours, both ways, from one table per family.

A rule of a table is a pattern of our path and a template of torch's key: ``stage3/block2/conv1`` and
``layer3.1.conv1``. Leaves follow from the layer: ``kernel`` is ``weight``, transposed; ``scale`` is ``weight``;
``mean`` and ``var`` are ``running_mean`` and ``running_var``. Both directions ask the same function for the key of a
leaf, so that one is the exact inverse of the other.
"""

import dataclasses
import functools
import re
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from jaxtl.errors import UserError
from jaxtl.models import build_model, model_options
from jaxtl.models.classifier import HEAD

StateDict = dict[str, np.ndarray]
Variables = dict[str, Any]
Path = tuple[str, ...]
Shape = tuple[int, ...]

COUNTER = "num_batches_tracked"  # torch counts the batches that a norm has seen; only its momentum=None reads it


@dataclasses.dataclass(frozen=True)
class Family:
    """How a family of networks is called in PyTorch.

    Attributes:
      rules: pairs (pattern of our layer's path, its PyTorch name); the name is a template for ``re.Match.expand`` or a
        function of the match, and the first rule that matches the whole path counts.
      head: PyTorch's name of the last layer.
      old_names: pairs (pattern, replacement) that bring the keys of old files up to date.
    """

    rules: tuple[tuple[str, str | Callable[[re.Match[str]], str]], ...]
    head: str
    old_names: tuple[tuple[str, str], ...] = ()


def _from_zero(template: str) -> Callable[[re.Match[str]], str]:
    """A template whose ``{block}`` counts from zero, where ours counts from one."""
    return lambda match: template.format(**{**match.groupdict(), "block": int(match["block"]) - 1})


_RESNET = (
    ("stem/conv", "conv1"),
    ("stem/norm", "bn1"),
    (r"stage(?P<stage>\d)/block(?P<block>\d+)/conv(?P<i>\d)", _from_zero("layer{stage}.{block}.conv{i}")),
    (r"stage(?P<stage>\d)/block(?P<block>\d+)/norm(?P<i>\d)", _from_zero("layer{stage}.{block}.bn{i}")),
    (r"stage(?P<stage>\d)/block(?P<block>\d+)/shortcut_conv", _from_zero("layer{stage}.{block}.downsample.0")),
    (r"stage(?P<stage>\d)/block(?P<block>\d+)/shortcut_norm", _from_zero("layer{stage}.{block}.downsample.1")),
)
RESNET = Family(_RESNET, head="fc")
CIFAR_RESNET = Family(_RESNET, head="linear")

DENSENET = Family(
    (
        ("stem/conv", "features.conv0"),
        ("stem/norm", "features.norm0"),
        (r"stage(\d)/layer(\d+)/((?:norm|conv)\d)", r"features.denseblock\1.denselayer\2.\3"),
        (r"stage(\d)/transition/(norm|conv)", r"features.transition\1.\2"),
        (r"stage4/norm", "features.norm5"),
    ),
    head="classifier",
    # Files from before PyTorch 0.4 have a dot that later versions do not allow: "denselayer1.norm.1".
    old_names=((r"(.*\.denselayer\d+\.(?:norm|conv))\.(\d\..*)", r"\1\2"),),
)


def vgg_family(depths: tuple[int, ...], batch_norm: bool) -> Family:
    """VGG's names count every convolution, norm, ReLU and pool of ``features``, so they depend on the variant."""
    rules: list[tuple[str, str]] = []
    index = 0
    for i, depth in enumerate(depths):
        stage = f"stage{i}" if i else "stem"
        for j in range(1, depth + 1):
            rules.append((f"{stage}/conv{j}", f"features.{index}"))
            if batch_norm:
                rules.append((f"{stage}/norm{j}", f"features.{index + 1}"))
            index += 3 if batch_norm else 2  # convolution, perhaps norm, ReLU
        index += 1  # pool
    rules += [("hidden/linear1", "classifier.0"), ("hidden/linear2", "classifier.3")]
    return Family(tuple(rules), head="classifier.6")


def family_of(name: str) -> Family:
    """The table of a model.

    Raises:
      UserError: for a model that PyTorch's libraries do not have, such as the small networks of the studies.
    """
    if name.startswith("cifar_resnet"):
        return CIFAR_RESNET
    if name.startswith("resnet"):
        return RESNET
    if name.startswith("densenet"):
        return DENSENET
    if name.startswith("vgg"):
        options = model_options(name)
        return vgg_family(options["depths"], options["batch_norm"])
    raise UserError(f"{name} has no counterpart in PyTorch: ResNets, VGGs and DenseNets are converted.")


def from_torch(name: str, state_dict: Mapping[str, np.ndarray], **options: Any) -> Variables:
    """Variables of a model from a PyTorch state dict.

    Strict: each key finds its leaf and each leaf its key, or all that did not are named in one error. The number of
    classes is the file's; a state dict without a last layer gives a model without a head.

    Args:
      name: one of ``list_models()`` with a counterpart in PyTorch.
      state_dict: arrays by key with PyTorch's names and shapes, as ``read_torch_file`` returns them.
      **options: options of the architecture, as for ``build_model``.

    Returns:
      ``{"params": …, "batch_stats": …}``, numpy arrays: float32, or float64 where the file has that.

    Raises:
      UserError: for an unknown model, or a state dict that does not fit it.
    """
    family = family_of(name)
    given = {_current(key, family): array for key, array in state_dict.items()}
    if len(given) < len(state_dict):
        raise UserError(f"The state dict for {name} has a layer under an old and a new name; keep one of the two.")
    weight = given.get(f"{family.head}.weight")
    shapes = skeleton(name, 0 if weight is None else len(np.atleast_1d(weight)), **options)
    problems, leaves = [], {}
    used: set[str] = set()
    for path, shape in shapes.items():
        key = _key(path, family)
        if key is None:
            problems.append(f"{'/'.join(path)} has no counterpart in PyTorch")
        elif key not in given:
            problems.append(f"{key} is missing")
        else:
            used.add(key)
            expected = _torch_shape(path, shape, shapes)
            if np.shape(given[key]) != expected:
                problems.append(f"{key} has shape {np.shape(given[key])} where the model has {expected}")
            elif given[key].dtype.kind not in "fV":
                problems.append(f"{key} has type {given[key].dtype}, no floating-point numbers")
            else:
                leaves[path] = _to_ours(path, given[key], shapes)
    norms = {key.removesuffix("running_mean") + COUNTER for key in used if key.endswith(".running_mean")}
    problems += [f"{key} has no place" for key in given if key not in used and key not in norms]
    if problems:
        raise UserError(f"The state dict does not fit {name}: {'; '.join(problems)}.")
    return traverse_util.unflatten_dict(leaves)


def to_torch(name: str, variables: Mapping[str, Any], **options: Any) -> StateDict:
    """The inverse of ``from_torch``: a state dict that ``load_state_dict(strict=True)`` of the PyTorch model accepts.

    Args:
      name: one of ``list_models()`` with a counterpart in PyTorch.
      variables: ``params`` and ``batch_stats`` of the model, with a linear head of any size or without a head.
      **options: options of the architecture, as for ``build_model``.

    Returns:
      C-contiguous arrays by key, of the dtypes of ``variables``; ``num_batches_tracked`` is 0.

    Raises:
      UserError: if the variables are not those of the model, or a head has no counterpart; all leaves are named.
    """
    family = family_of(name)
    given = {path: np.asarray(leaf) for path, leaf in traverse_util.flatten_dict(dict(variables)).items()}
    bias = given.get(("params", HEAD, "linear", "bias"))
    shapes = skeleton(name, 0 if bias is None else len(np.atleast_1d(bias)), **options)
    problems = [f"{'/'.join(path)} is missing" for path in shapes if path not in given]
    problems += [f"{'/'.join(path)} has no counterpart in PyTorch" for path in given if path not in shapes]
    state_dict: StateDict = {}
    for path, shape in shapes.items():
        if path not in given:
            continue
        key = _key(path, family)
        if key is None:
            problems.append(f"{'/'.join(path)} has no counterpart in PyTorch")
        elif given[path].shape != shape:
            problems.append(f"{'/'.join(path)} has shape {given[path].shape} where the model has {shape}")
        else:
            state_dict[key] = _to_torch(path, given[path], shapes)
            if path[-1] == "var":
                state_dict[key.removesuffix("running_var") + COUNTER] = np.zeros((), np.int64)
    if problems:
        raise UserError(f"The variables do not fit {name}: {'; '.join(problems)}.")
    return state_dict


@functools.lru_cache(maxsize=64)
def _skeleton(name: str, num_classes: int, options: tuple[tuple[str, Any], ...]) -> tuple[tuple[Path, Shape], ...]:
    model = build_model(name, num_classes, **dict(options))
    size = max(model.least_size, 32)
    tree = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, size, size, 3)))
    return tuple((path, leaf.shape) for path, leaf in traverse_util.flatten_dict(dict(tree)).items())


def skeleton(name: str, num_classes: int, **options: Any) -> dict[Path, Shape]:
    """The shape of every leaf of a model's variables, without computing any.

    Args:
      name: one of ``list_models()``.
      num_classes: number of logits; 0 leaves the head away.
      **options: options of the architecture.
    """
    try:
        return dict(_skeleton(name, num_classes, tuple(sorted(options.items()))))
    except TypeError:  # options that cannot be hashed, a head's mapping say
        return dict(_skeleton.__wrapped__(name, num_classes, tuple(sorted(options.items()))))


# --- one leaf ---

_LEAVES = {"kernel": "weight", "scale": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var"}


def _key(path: Path, family: Family) -> str | None:
    """PyTorch's key of a leaf; ``None`` if it has none."""
    layer = "/".join(path[1:-1])
    if layer == f"{HEAD}/linear":
        return f"{family.head}.{_LEAVES[path[-1]]}"
    for pattern, name in family.rules:
        if match := re.fullmatch(pattern, layer):
            return f"{match.expand(name) if isinstance(name, str) else name(match)}.{_LEAVES[path[-1]]}"
    return None


def _current(key: str, family: Family) -> str:
    for pattern, replacement in family.old_names:
        key = re.sub(f"^{pattern}$", replacement, key)
    return key


def _maps_before(path: Path, shapes: Mapping[Path, Shape]) -> Shape | None:
    """(rows, columns, channels) that a dense layer reads flattened; ``None`` for any other leaf.

    Only VGG's first dense layer does. Its maps have as many channels as the widest convolution gives, which is the
    last one too; the rest of the inputs are rows and columns, as many of the one as of the other.
    """
    if path[1:] != ("hidden", "linear1", "kernel"):
        return None
    channels = max(shape[-1] for shape in shapes.values() if len(shape) == 4)
    bins = round((shapes[path][0] // channels) ** 0.5)
    return bins, bins, channels


def _torch_shape(path: Path, shape: Shape, shapes: Mapping[Path, Shape]) -> Shape:
    """The shape of a leaf in PyTorch."""
    if path[-1] != "kernel":
        return shape
    return (shape[1], shape[0]) if len(shape) == 2 else (shape[3], shape[2], shape[0], shape[1])


def _to_ours(path: Path, array: np.ndarray, shapes: Mapping[Path, Shape]) -> np.ndarray:
    if array.dtype.itemsize < 4:  # half precision is a way to store weights, not to keep them
        array = array.astype(np.float32)
    if path[-1] != "kernel":
        return array
    if maps := _maps_before(path, shapes):
        rows, columns, channels = maps
        array = array.reshape(-1, channels, rows, columns).transpose(2, 3, 1, 0).reshape(shapes[path])
    elif array.ndim == 2:
        array = array.T
    else:
        array = array.transpose(2, 3, 1, 0)  # OIHW to HWIO
    return np.ascontiguousarray(array)


def _to_torch(path: Path, array: np.ndarray, shapes: Mapping[Path, Shape]) -> np.ndarray:
    if path[-1] == "kernel":
        if maps := _maps_before(path, shapes):
            array = array.reshape(*maps, -1).transpose(3, 2, 0, 1).reshape(array.shape[1], array.shape[0])
        elif array.ndim == 2:
            array = array.T
        else:
            array = array.transpose(3, 2, 0, 1)  # HWIO to OIHW
    return np.ascontiguousarray(array)

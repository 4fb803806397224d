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
from jaxtl.models.fit import leaves, misfit, shown

StateDict = dict[str, np.ndarray]
Variables = dict[str, Any]
Path = tuple[str, ...]
Shape = tuple[int, ...]

WAY_OUT = "Take weights of the same architecture, and give the options that they were made with."

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


def from_torch(name: str, state_dict: Mapping[str, Any], **options: Any) -> Variables:
    """Variables of a model from a PyTorch state dict.

    Strict: each key finds its leaf and each leaf its key, or one error says which did not. The number of classes is
    the file's; a state dict without a last layer gives a model without a head.

    Args:
      name: one of ``list_models()`` with a counterpart in PyTorch.
      state_dict: arrays by key with PyTorch's names and shapes, as ``read_torch_file`` returns them; anything that
        numpy makes an array of will do, such as PyTorch's own tensors in main memory.
      **options: options of the architecture, as for ``build_model``.

    Returns:
      ``{"params": …, "batch_stats": …}``, numpy arrays: float32, or float64 where the file has that.

    Raises:
      UserError: for an unknown model, or a state dict that does not fit it.
    """
    family = family_of(name)
    given = {_current(key, family): array for key, array in _arrays(state_dict).items()}
    if len(given) < len(state_dict):
        raise UserError(f"The state dict for {name} has a layer under an old and a new name; keep one of the two.")
    weight = given.get(f"{family.head}.weight")
    shapes = skeleton(name, 0 if weight is None else len(np.atleast_1d(weight)), **options)
    keys = {path: _key(path, family) for path in shapes}
    wanted = {key: _torch_shape(path, shapes[path]) for path, key in keys.items() if key}
    counters = {key.removesuffix("running_mean") + COUNTER for key in wanted if key.endswith(".running_mean")}
    strange = [f"{'/'.join(path)} has no counterpart in PyTorch" for path, key in keys.items() if key is None]
    strange += [
        f"{key} has type {array.dtype}, no floating-point numbers"
        for key, array in given.items()
        if key in wanted and array.dtype.kind not in "fV"
    ]
    found = {key: array.shape for key, array in given.items() if key not in counters}
    if problems := misfit(found, wanted, strange):
        raise UserError(f"The state dict does not fit {name}: {problems}. {WAY_OUT}")
    return traverse_util.unflatten_dict({path: _to_ours(path, given[key], shapes) for path, key in keys.items() if key})


def to_torch(name: str, variables: Mapping[str, Any], **options: Any) -> StateDict:
    """The inverse of ``from_torch``: a state dict that ``load_state_dict(strict=True)`` of the PyTorch model accepts.

    Args:
      name: one of ``list_models()`` with a counterpart in PyTorch.
      variables: ``params`` and ``batch_stats`` of the model, with a linear head of any size or without a head.
      **options: options of the architecture, as for ``build_model``.

    Returns:
      C-contiguous arrays by key, of the dtypes of ``variables``; ``num_batches_tracked`` is 0.

    Raises:
      UserError: if the variables are not those of the model, or a head has no counterpart.
    """
    family = family_of(name)
    given = {leaf: np.asarray(array) for leaf, array in leaves(variables).items()}
    shapes = skeleton(name, classes_of(given), **options)
    strange = [f"{'/'.join(path)} has no counterpart in PyTorch" for path in shapes if _key(path, family) is None]
    problems = misfit(
        {leaf: array.shape for leaf, array in given.items()},
        {"/".join(path): shape for path, shape in shapes.items()},
        strange,
    )
    if problems:
        raise UserError(f"The variables do not fit {name}: {problems}. {WAY_OUT}")
    state_dict: StateDict = {}
    for path in shapes:
        if key := _key(path, family):
            state_dict[key] = _to_torch(path, given["/".join(path)], shapes)
            if path[-1] == "var":
                state_dict[key.removesuffix("running_var") + COUNTER] = np.zeros((), np.int64)
    return state_dict


def classes_of(given: Mapping[str, np.ndarray]) -> int:
    """The number of classes of variables, by the name of the leaf; 0 if they have no head."""
    bias = given.get(f"params/{HEAD}/linear/bias")
    return 0 if bias is None else bias.size


def check_fit(name: str, variables: Mapping[str, Any], source: str) -> None:
    """Compare names and shapes with those of a model without options.

    Raises:
      UserError: saying which leaves are missing, left over or of another shape.
    """
    given = leaves(variables)
    wanted = {"/".join(path): shape for path, shape in skeleton(name, classes_of(given)).items()}
    if problems := misfit({leaf: array.shape for leaf, array in given.items()}, wanted):
        raise UserError(f"{source} does not fit {name}: {problems}. {WAY_OUT}")


def _arrays(state_dict: Any) -> StateDict:
    """What a caller gave, as arrays by key.

    Raises:
      UserError: if it is no dictionary with names as keys, or holds something that is no array.
    """
    if not isinstance(state_dict, Mapping) or not all(isinstance(key, str) for key in state_dict):
        raise UserError(
            f"The state dict is of type {type(state_dict).__name__}, but it must have arrays by PyTorch's names, as "
            "jaxtl.weights.read_torch_file(path) returns them."
        )
    arrays = {}
    for key, value in state_dict.items():
        try:
            arrays[key] = np.asarray(value)
        except Exception as error:  # whatever stands there has its own reasons to be no array
            raise UserError(
                f"{shown(key)} in the state dict is of type {type(value).__name__}, which is no array ({error}); turn "
                "it into one: tensor.detach().cpu().float().numpy()."
            ) from error
    return arrays


@functools.lru_cache(maxsize=64)
def _skeleton(name: str, num_classes: int, options: tuple[tuple[str, Any], ...]) -> tuple[tuple[Path, Shape], ...]:
    model = build_model(name, num_classes, **dict(options))
    size = max(model.least_size, 32)
    tree = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, size, size, 3)))
    shapes = {path: leaf.shape for path, leaf in traverse_util.flatten_dict(dict(tree)).items()}
    return tuple(sorted(shapes.items(), key=lambda item: item[0][0] != "params"))  # parameters before statistics


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


def _torch_shape(path: Path, shape: Shape) -> Shape:
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

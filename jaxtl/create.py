"""An architecture and its variables in one call."""

import pathlib
import warnings
from collections.abc import Collection, Mapping
from types import NoneType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

from jaxtl.errors import UserError, expect
from jaxtl.models import Classifier, build_model
from jaxtl.models.classifier import HEAD
from jaxtl.models.fit import leaves
from jaxtl.runtime.files import user_path
from jaxtl.runtime.run_files import RunFiles
from jaxtl.train.checkpoint import read_best
from jaxtl.transfer.partition import transplant
from jaxtl.weights.convert import classes_of
from jaxtl.weights.hub import is_hub
from jaxtl.weights.store import is_tag, load, read_weights

LARGEST_SIDE = 10_000  # of an image that a network can be made for
HIDDEN = "hidden"  # the stage of dense layers before the head, of VGG and the small networks


def create_model(
    name: str,
    num_classes: int | None = None,
    *,
    weights: str | pathlib.Path | None = None,
    key: jax.Array,
    image_shape: tuple[int, int, int] = (32, 32, 3),
    new_head: bool | None = None,
    weights_dir: str | pathlib.Path | None = None,
    dtype: DTypeLike = jnp.float32,
    **options: Any,
) -> tuple[Classifier, dict[str, Any]]:
    """A model and its variables.

    Pretrained weights fill every leaf of the backbone, or an error names all that do not fit. ``new_head`` controls the
    pretrained head:

    - ``None``: kept if it has the shape of the model's, which needs the same number of classes; else the model's stays
      as initialised.
    - ``False``: kept; another number of classes is an error.
    - ``True``: ignored, even if it would fit. Where the weights end at the convolutions of a VGG, its dense layers are
      new too, and a warning says so.

    Args:
      name: one of ``list_models()``.
      num_classes: number of logits; with 0 the model has no head and returns features. ``None``: as many as the weights
        have.
      weights: tag of a card (``weights_for(name)``); a file of PyTorch, Keras or safetensors; ``hf:OWNER/NAME`` or
        ``hf:OWNER/NAME@REVISION``, a repository of timm's kind on the Hugging Face hub; the folder of a finished run of
        the same architecture; or ``None`` for random variables.
      key: PRNG key of the initialisation, ``jax.random.key(0)``.
      image_shape: (H, W, C) that the dense layers are sized for; a network without flattened maps takes any size later.
      new_head: see above.
      weights_dir: folder with downloaded files of weights; default ``$JAXTL_WEIGHTS``.
      dtype: dtype of the computation; variables are float32.
      **options: options of the architecture, for example ``dropout=0.3``. A stage that an option removes, such as VGG's
        with ``hidden=()``, is ignored in the weights too.

    Returns:
      The Linen module, and ``{"params": …}`` with ``"batch_stats"`` where it has batch norm.

    Raises:
      UserError: for a name, an option, a key or an image size that is invalid, or weights that cannot be read or do not
        fit.

    >>> import jax, jaxtl
    >>> model, variables = jaxtl.create_model("cnn", num_classes=10, key=jax.random.key(0))
    >>> model.apply(variables, jax.numpy.zeros((2, 32, 32, 3)), train=False).shape
    (2, 10)
    """
    _check_arguments(name, weights, key, options)
    expect("new_head", new_head, (bool, NoneType), "True, False or None")
    model = build_model(name, 0 if num_classes is None else num_classes, dtype, **options)
    example = np.zeros((1, *_checked_shape(image_shape)), np.float32)
    if weights is None:
        if num_classes is None:
            raise UserError("num_classes is missing; give the number of classes, or 0 for features alone.")
        return model, _random(model, key, example)
    source = _read(name, weights, weights_dir, options)
    if num_classes is None:
        if not (num_classes := classes_of(leaves(source))):
            raise UserError(f"{weights} has no head to take num_classes from; give it, or 0 for features alone.")
        model = build_model(name, num_classes, dtype, **options)
    removed = set(build_model(name, num_classes).stage_names) - {*model.stage_names, HEAD}
    target = jax.eval_shape(model.init, key, example)
    fresh = _starts_fresh(target["params"].get(HEAD), source.get("params", {}).get(HEAD), new_head)
    removed |= {HEAD} if fresh else set()
    source = {kind: _stages(tree, tree.keys() - removed) for kind, tree in source.items()}
    new = [HEAD] if fresh and num_classes else []
    if HIDDEN in model.stage_names and {*model.stage_names} - {*source.get("params", {}), HEAD} == {HIDDEN}:
        _check_dense_layers(str(weights), new_head)
        new.append(HIDDEN)
    if new:
        # Nothing else is asked of the compiled function, so nothing else is drawn.
        draw = jax.jit(lambda key: {kind: _stages(tree, new) for kind, tree in model.init(key, example).items()})
        source |= {kind: {**source.get(kind, {}), **drawn} for kind, drawn in draw(key).items()}
    return model, transplant(target, source)


def _check_dense_layers(weights: str, new_head: bool | None) -> None:
    """Warn that the dense layers before the head start from random values, for the weights have none.

    Raises:
      UserError: unless a new head is asked for.
    """
    if not new_head:
        raise UserError(
            f"{weights} lacks the dense layers before the head; pass new_head=True to start them from random values "
            "too, or the option hidden=() to put the head right on the convolutions."
        )
    warnings.warn(
        f"{weights} lacks the dense layers before the head: they start from random values, and a plan that trains the "
        "head alone leaves them so. The option hidden=() puts the head right on the convolutions instead.",
        stacklevel=3,
    )


def _random(model: Classifier, key: jax.Array, example: np.ndarray) -> dict[str, Any]:
    """Random variables, once they are there: a lack of memory shows late.

    Raises:
      UserError: they do not fit into memory.
    """
    try:
        variables: dict[str, Any] = jax.block_until_ready(jax.jit(model.init)(key, example))
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        sizes = jax.tree.leaves(jax.eval_shape(model.init, key, example))
        GB = sum(leaf.size * leaf.dtype.itemsize for leaf in sizes) / 1e9
        raise UserError(f"The model needs {GB:,.0f} GB for its variables alone; choose smaller options.") from error
    return variables


def _check_arguments(name: str, weights: Any, key: Any, options: Mapping[str, Any]) -> None:
    """Refuse what other libraries call by other names or types."""
    see = f"jaxtl.weights_for({name!r}) lists the tags."
    if "pretrained" in options:
        raise UserError(f"create_model has no argument 'pretrained'; pass weights=TAG: {see}")
    if not (weights is None or isinstance(weights, str | pathlib.Path)):
        raise UserError(
            f"weights is {weights!r}, but it is a tag, a file, the folder of a finished run, or None for random "
            f"variables: {see}"
        )
    is_array = isinstance(key, jax.Array)
    is_typed = is_array and jnp.issubdtype(key.dtype, jax.dtypes.prng_key) and key.shape == ()
    if not (is_typed or (is_array and key.dtype == jnp.uint32 and key.shape == (2,))):  # of jax.random.PRNGKey
        what = f"an array of shape {key.shape} and dtype {key.dtype}" if is_array else repr(key)
        raise UserError(f"key is {what}, but it is one key of JAX: pass key=jax.random.key(0), with any seed for 0.")


def _checked_shape(image_shape: Any) -> tuple[int, ...]:
    sides = list(image_shape) if isinstance(image_shape, tuple | list | np.ndarray) else []
    whole = [isinstance(side, int | np.integer) and not isinstance(side, bool) for side in sides]
    if len(sides) != 3 or not all(whole) or not all(1 <= side <= LARGEST_SIDE for side in sides):
        raise UserError(
            f"image_shape is {image_shape!r}, but it is (height, width, channels), each 1 to {LARGEST_SIDE:,}."
        )
    return tuple(map(int, sides))


def _read(
    name: str, weights: str | pathlib.Path, weights_dir: str | pathlib.Path | None, options: Mapping[str, Any]
) -> Mapping[str, Any]:
    """The variables that a card, a file, a repository or the folder of a run holds."""
    if is_tag(name, weights):
        return load(name, weights, weights_dir=weights_dir)
    if str(weights) and not is_hub(weights) and (folder := user_path(weights)).is_dir():
        files = RunFiles(folder)
        return read_best(files.checkpoints, files.tested())
    return read_weights(name, weights, **options)


def _stages(tree: Mapping[str, Any], names: Collection[str]) -> dict[str, Any]:
    return {name: stage for name, stage in tree.items() if name in names}


def _starts_fresh(head: Mapping[str, Any] | None, source: Mapping[str, Any] | None, new_head: bool | None) -> bool:
    """Whether the head of the weights is ignored, given the model's head (leaves with shapes; ``None``: no head).

    Raises:
      UserError: if the weights' head is to be kept but is not there or has another number of classes.
    """
    if head is None and new_head is False:
        raise UserError("new_head=False keeps the weights' head, but num_classes=0 removes it; drop one of the two.")
    if head is None or new_head:
        return True
    if new_head is None:
        return source is None or jax.tree.map(jnp.shape, source) != jax.tree.map(lambda leaf: leaf.shape, head)
    if source is None:
        raise UserError("The weights have no head to keep; pass new_head=True to start one.")
    classes, wanted = (tree["linear"]["kernel"].shape[1] for tree in (source, head))  # every head ends in that layer
    if classes != wanted:
        raise UserError(
            f"The weights have {classes} classes and the model {wanted}, so that their head cannot be kept: pass "
            f"new_head=True to start one for {wanted} classes, or num_classes={classes}."
        )
    return False

"""Names of models: what there is, and how a name becomes a module."""

import fnmatch
import inspect
import re
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

from jaxtl.errors import UserError, expect, nearest
from jaxtl.models import cnn, densenet, resnet, vgg
from jaxtl.models.classifier import Classifier
from jaxtl.models.options import checked

_MOST_CLASSES = 10_000_000
_FOR_224 = {**resnet.VARIANTS, **resnet.V1_VARIANTS, **densenet.VARIANTS, **vgg.VARIANTS}
_FOR_32 = {**cnn.VARIANTS, **resnet.CIFAR_VARIANTS, **densenet.CIFAR_VARIANTS, **vgg.CIFAR_VARIANTS}
MODELS: dict[str, Callable[..., Classifier]] = {**_FOR_224, **_FOR_32}
OWN = frozenset(MODELS)  # all but those that are registered


def register_model(name: str, build: Callable[..., Classifier]) -> None:
    """Add a network of one's own, which every function and config of this process then knows by its name.

    A run of it is loaded where it was registered too. A config file may register it: commands with that file know it.
    To register a name again replaces the network, as when a cell of a notebook runs again.

    Args:
      name: letters, digits, ``_``, ``-`` and ``.``; not that of a network of jaxtl.
      build: called as ``build(num_classes, dtype, **options)``. It returns a ``jaxtl.models.Classifier``, whose stages
        have names, and whose ``head_factory`` is ``None`` for 0 classes. Its keyword-only arguments with defaults are
        the options of the network, ``model.options.NAME`` in a config.

    Raises:
      UserError: the name is taken by a network of jaxtl or is invalid, or ``build`` is not a function of that kind.
    """
    if not isinstance(name, str) or not re.fullmatch(r"[\w.-]+", name):
        raise UserError(f"A network cannot be called {name!r}; take letters, digits, '_', '-' and '.'.")
    if name in OWN:
        raise UserError(f"The name {name!r} is taken by a network of jaxtl; choose another.")
    try:
        inspect.signature(build).bind(10, jnp.float32)
    except TypeError as error:
        raise UserError(
            f"The network {name!r} needs a function build(num_classes, dtype, *, option=default); "
            f"{build!r} cannot be called with (10, jnp.float32): {error}."
        ) from error
    MODELS[name] = build


def list_models(pattern: str = "*") -> list[str]:
    """The names of all models that match a shell pattern, sorted.

    >>> list_models("*cnn")
    ['bn_cnn', 'cnn', 'custom_cnn']
    """
    expect("The pattern", pattern, str, "a text, for example '*dense*'")
    return sorted(fnmatch.filter(MODELS, pattern))


def build_model(name: str, num_classes: int, dtype: DTypeLike = jnp.float32, **options: Any) -> Classifier:
    """The module of a name, without variables.

    Args:
      name: one of ``list_models()``.
      num_classes: number of logits; 0 leaves the head out.
      dtype: dtype of the computation; parameters are float32 in any case.
      **options: keyword arguments of the family's function, for example ``dropout=0.3``.

    Raises:
      UserError: for a name or an option that does not exist; it names the nearest.

    >>> build_model("cnn", 10).stage_names
    ('stem', 'stage1', 'hidden', 'head')
    """
    known(name)
    is_whole = isinstance(num_classes, int | np.integer) and not isinstance(num_classes, bool)
    if not is_whole or not 0 <= num_classes <= _MOST_CLASSES:
        raise UserError(
            f"num_classes is {num_classes!r}, but a model has 1 to {_MOST_CLASSES:,} classes, or 0 for features alone."
        )
    if not _is_float(dtype):
        raise UserError(f"dtype is {dtype!r}, but networks compute in floating point: jnp.float32, for example.")
    there = option_types(name)
    for option in options:
        if option not in there:
            raise UserError(f"{name} has no option {option!r}; it has: {', '.join(there)}.")
    values = {key: checked(f"{key} of {name}", key, there[key], value) for key, value in options.items()}
    model = MODELS[name](int(num_classes), dtype, **values)
    if not isinstance(model, Classifier):
        kind = type(model).__name__
        raise UserError(f"The function of {name!r} returns a {kind}, but must return a jaxtl.models.Classifier.")
    return model


def _is_float(dtype: Any) -> bool:
    try:
        return dtype is not None and jnp.issubdtype(jnp.dtype(dtype), jnp.floating)
    except TypeError:
        return False


def known(name: str) -> str:
    """The name itself.

    Raises:
      UserError: if there is no model of that name; it suggests the nearest.
    """
    if isinstance(name, str) and name in MODELS:
        return name
    raise UserError(f"There is no model {name!r}; {nearest(str(name), list_models())}")


def model_options(name: str) -> dict[str, Any]:
    """The options of a model and their defaults, for a name of ``list_models()``."""
    return {option.name: option.default for option in _options(name)}


def option_types(name: str) -> dict[str, Any]:
    """The options of a model and their annotations, for a name of ``list_models()``."""
    return {option.name: option.annotation for option in _options(name)}


def _options(name: str) -> list[inspect.Parameter]:
    parameters = inspect.signature(MODELS[name]).parameters.values()
    return [parameter for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY]


def native_size(name: str) -> int:
    """Height and width of the images that a network was designed for: 224 pixels for ImageNet's, else 32.

    Every network takes other sizes too, from its ``least_size`` on.

    >>> native_size("resnet50"), native_size("resnet50_cifar")
    (224, 32)
    """
    return 224 if name in _FOR_224 else 32

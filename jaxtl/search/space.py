"""Spaces to search: parameters with Optuna's distributions, and how their values become a config.

| text | distribution |
|---|---|
| ``1e-4..1e-1`` | uniform; whole numbers where the field is one |
| ``log:1e-4..1e-1`` | the same on a logarithmic scale |
| ``16..128:16`` | in steps |
| ``adam,adamw,sgd`` | a choice; tuples as Python writes them: ``(64,),(128,)`` |
"""

import ast
import contextlib
import dataclasses
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import optuna
from ml_collections import ConfigDict
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from jaxtl.config.fields import OPTIONS, find_field, read_text
from jaxtl.config.tree import Tree, assign, plain
from jaxtl.errors import UserError
from jaxtl.models import option_types

Apply = Callable[[ConfigDict, Mapping[str, Any]], None]

_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_RANGE = re.compile(rf"(?P<log>log:)?(?P<low>{_NUMBER})\.\.(?P<high>{_NUMBER})(?::(?P<step>{_NUMBER}))?")


@dataclasses.dataclass(frozen=True)
class Space:
    """What a search varies, beside a config that says all the rest.

    Attributes:
      parameters: by name, a distribution of Optuna or a text as the command line takes it. The path of a field, such as
        ``phases.0.learning_rate``, is written to the config; any other name is for ``apply``.
      apply: writes what is derived from the parameters to a config, in place: ``apply(config, params)``. It is called
        after the fields are written, and must do the same whenever it is given the same.
      final: fields that differ when the best trial's config is trained again: ``{"phases.0.epochs": 30}``.

    >>> Space({"phases.0.learning_rate": "log:1e-4..1e-1"}).parameters["phases.0.learning_rate"].log
    True
    """

    parameters: Mapping[str, BaseDistribution | str]
    apply: Apply | None = None
    final: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        read = {name: read_distribution(name, given) for name, given in self.parameters.items()}
        object.__setattr__(self, "parameters", read)


def read_distribution(name: str, given: Any, type_: Any = None) -> BaseDistribution:
    """The distribution that a text describes; one that is a distribution already stays as it is.

    Args:
      name: of the parameter, for the error.
      given: see the table above.
      type_: of the field, or ``None`` where it is not known: then the way that numbers are written tells.

    Raises:
      UserError: the text describes none.

    >>> read_distribution("batch_size", "16..64:16", int)
    IntDistribution(high=64, log=False, low=16, step=16)
    >>> read_distribution("model.options.hidden", "(64,),(128, 128)")
    CategoricalDistribution(choices=('(64,)', '(128, 128)'))
    """
    if isinstance(given, BaseDistribution):
        return given
    if not isinstance(given, str):
        raise UserError(f"{name} has the distribution {given!r}; give one of Optuna's, or a text such as '0..0.5'.")
    try:
        return _read_range(given, type_) or _read_choice(given, type_)
    except ValueError as error:
        raise UserError(f"{name}={given} cannot be drawn from: {' '.join(str(error).split())}") from error


def _read_range(text: str, type_: Any) -> BaseDistribution | None:
    if not (found := _RANGE.fullmatch(text.strip())):
        return None
    log, low, high, step = found.group("log", "low", "high", "step")
    if all(part.lstrip("+-").isdigit() for part in (low, high, step or "1")) and type_ is not float:
        first, last, by = int(low), int(high), int(step or 1)
        return IntDistribution(first, first + (last - first) // max(by, 1) * by, log=bool(log), step=by)
    return FloatDistribution(float(low), float(high), log=bool(log), step=float(step) if step else None)


def _read_choice(text: str, type_: Any) -> BaseDistribution:
    if ".." in text or text.startswith("log:") or not text.strip(" ,"):
        raise ValueError("it is neither a range nor a choice; write log:1e-4..1e-1, 0..0.5, 16..128:16 or adam,sgd.")
    try:
        values = ast.literal_eval(f"[{text}]")
    except (SyntaxError, ValueError):  # bare words
        values = [read_text(word.strip(), type_ or str) for word in text.split(",")]
    return categorical(*values)


def categorical(*values: Any) -> CategoricalDistribution:
    """A choice among values of any kind: Optuna stores simple ones, so a tuple is written as text.

    >>> categorical((64,), (64, 64), None)
    CategoricalDistribution(choices=('(64,)', '(64, 64)', None))
    """
    return CategoricalDistribution([repr(value) if isinstance(value, tuple | list) else value for value in values])


def draw(space: Space, seed: int, count: int) -> list[dict[str, Any]]:
    """The parameters of the first ``count`` trials of a random search: those of more trials begin with the same."""
    with quiet():
        study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed))
        return [study.ask(dict(space.parameters)).params for _ in range(count)]  # type: ignore[arg-type]


def is_field(path: str) -> bool:
    """Whether a parameter's name is the path of a field; any other name is for the space's ``apply``."""
    return find_field(path) is not None or path.startswith(f"{OPTIONS}.")


def typed(path: str, value: Any, model: str) -> Any:
    """A value as the field takes it: texts are read as the field's type, and lists are tuples."""
    type_ = type_of(path, model)
    if not isinstance(value, str) or type_ is str:
        return plain(value)
    if type_ is not None:
        return read_text(value, type_)
    try:
        return plain(ast.literal_eval(value))
    except (SyntaxError, ValueError):
        return value


def type_of(path: str, model: str) -> Any:
    """The type of a field, or of an option of a network; ``None`` where there is none of that name."""
    if field := find_field(path):
        return field.type
    return option_types(model).get(path.removeprefix(f"{OPTIONS}.")) if path.startswith(f"{OPTIONS}.") else None


def configure(config: Mapping[str, Any], space: Space, params: Mapping[str, Any]) -> Tree:
    """The config of a trial; the one that is given stays as it is.

    Args:
      config: as a config file gives it, with every phase that the space names.
      space: what is varied.
      params: a value for each parameter.

    Raises:
      Exception: whatever ``apply`` raises.
    """
    tree: Tree = plain(config)
    for path in sorted(filter(is_field, space.parameters), key=lambda path: path != "model.name"):
        assign(tree, path, typed(path, params[path], tree.get("model", {}).get("name", "cnn")))
    if space.apply:
        open_tree = ConfigDict({key: value for key, value in tree.items() if key != "phases"}, type_safe=False)
        open_tree.phases = tuple(ConfigDict(phase, type_safe=False) for phase in tree.get("phases", ()))
        space.apply(open_tree, params)
        tree = plain(open_tree)
    return tree


def finish(config: Mapping[str, Any], space: Space) -> Tree:
    """The config of the final training, from that of the best trial."""
    tree: Tree = plain(config)
    for path, value in space.final.items():
        assign(tree, path, plain(value))
    return tree


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep Optuna's log lines, and its warnings that a part of it may change, off the screen."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
            warnings.filterwarnings("ignore", message="The reported value is ignored", category=UserWarning)
            yield
    finally:
        optuna.logging.set_verbosity(before)

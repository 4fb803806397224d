"""Search spaces: parameters with Optuna's distributions, and how their values become a config.

| text | distribution |
|---|---|
| ``1e-4..1e-1`` | uniform; whole numbers where the field is one |
| ``log:1e-4..1e-1`` | the same on a logarithmic scale |
| ``16..128:16`` | in steps |
| ``adam,adamw,sgd`` | a choice; tuples as Python writes them: ``(64,),(128,)`` |
"""

import dataclasses
import re
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import optuna
from ml_collections import ConfigDict
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from jaxtl.config.fields import OPTIONS, find_field, read_literal, read_text
from jaxtl.config.tree import Tree, assign, plain
from jaxtl.errors import UserError
from jaxtl.models import option_types

_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_RANGE = re.compile(rf"(log:)?({_NUMBER})\.\.({_NUMBER})(?::({_NUMBER}))?")


@dataclasses.dataclass(frozen=True)
class Space:
    """What a search varies; the config has the values of everything else.

    Attributes:
      parameters: by name, a distribution of Optuna or a text as the command line takes it. The path of a field, such as
        ``phases.0.learning_rate``, is written to the config; any other name is for ``apply``.
      apply: changes a config in place by the parameters: ``apply(config, params)``. It is called after the fields are
        written, and must give the same config for the same parameters.
      final: fields that differ when the best trial's config is trained again: ``{"phases.0.epochs": 30}``.

    >>> Space({"phases.0.learning_rate": "log:1e-4..1e-1"}).parameters["phases.0.learning_rate"].log
    True
    """

    parameters: Mapping[str, BaseDistribution | str]
    apply: Callable[[ConfigDict, Mapping[str, Any]], None] | None = None
    final: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        read = {name: read_distribution(name, given) for name, given in self.parameters.items()}
        object.__setattr__(self, "parameters", read)

    def draw(self, seed: int, count: int) -> list[dict[str, Any]]:
        """The parameters of the first ``count`` trials of a random search; a longer search begins with the same."""
        quiet()
        study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed))
        return [study.ask(dict(self.parameters)).params for _ in range(count)]  # type: ignore[arg-type]

    def configure(self, config: Mapping[str, Any], params: Mapping[str, Any], *, final: bool = False) -> Tree:
        """The config of a trial, or of the final training after it. Raises whatever ``apply`` does."""
        tree: Tree = plain(config)
        for path in sorted(filter(is_field, self.parameters), key=lambda path: path != "model.name"):
            assign(tree, path, typed(path, params[path], tree.get("model", {}).get("name", "cnn")))
        if self.apply:
            open_tree = ConfigDict({key: value for key, value in tree.items() if key != "phases"}, type_safe=False)
            open_tree.phases = tuple(ConfigDict(phase, type_safe=False) for phase in tree.get("phases", ()))
            self.apply(open_tree, params)
            tree = plain(open_tree)
        for path, value in self.final.items() if final else ():
            assign(tree, path, plain(value))
        return tree


def read_distribution(name: str, given: Any, type_: Any = None) -> BaseDistribution:
    """The distribution that a text describes; one of Optuna's stays as it is.

    Args:
      name: of the parameter.
      given: see the table above.
      type_: of the field; ``None`` where it is not known, so that the spelling of the numbers decides.

    Raises:
      UserError: the text does not describe a distribution.

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
        found = _RANGE.fullmatch(given.strip())
        return _range(found, type_) if found else _choice(given, type_)
    except ValueError as error:
        raise UserError(f"{name}={given} cannot be drawn from: {' '.join(str(error).split())}") from error


def _range(found: re.Match[str], type_: Any) -> BaseDistribution:
    log, low, high, step = found.groups()
    if type_ is not float and all(part.lstrip("+-").isdigit() for part in (low, high, step or "1")):
        first, last, by = int(low), int(high), int(step or 1)
        return IntDistribution(first, first + (last - first) // max(by, 1) * by, log=bool(log), step=by)
    return FloatDistribution(float(low), float(high), log=bool(log), step=float(step) if step else None)


def _choice(text: str, type_: Any) -> BaseDistribution:
    if ".." in text or text.startswith("log:") or not text.strip(" ,"):
        raise ValueError("it is neither a range nor a choice; write log:1e-4..1e-1, 0..0.5, 16..128:16 or adam,sgd.")
    values = read_literal(f"[{text}]")
    if isinstance(values, str):  # bare words
        values = [read_text(word.strip(), type_ or str) for word in text.split(",")]
    # Optuna stores simple values only, so a tuple is written as text.
    return CategoricalDistribution([repr(value) if isinstance(value, tuple | list) else value for value in values])


def is_field(path: str) -> bool:
    """Whether a parameter's name is the path of a field; any other name is for the space's ``apply``."""
    return find_field(path) is not None or path.startswith(f"{OPTIONS}.")


def typed(path: str, value: Any, model: str) -> Any:
    """A value as the field takes it: texts are read as the field's type, and lists are tuples."""
    type_ = type_of(path, model)
    if not isinstance(value, str) or type_ is str:
        return plain(value)
    return read_text(value, type_) if type_ is not None else plain(read_literal(value))


def type_of(path: str, model: str) -> Any:
    """The type of a field, or of an option of a network; ``None`` where there is no field or option of that name."""
    if field := find_field(path):
        return field.type
    return option_types(model).get(path.removeprefix(f"{OPTIONS}.")) if path.startswith(f"{OPTIONS}.") else None


def quiet() -> None:
    """Keep Optuna's log lines, and its warnings about experimental parts, off the screen."""
    optuna.logging.set_verbosity(optuna.logging.CRITICAL)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    warnings.filterwarnings("ignore", message="The reported value is ignored", category=UserWarning)

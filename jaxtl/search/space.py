"""Search spaces: parameters with Optuna's distributions, how their values become a config, and what is wrong with them.

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

from jaxtl.config import check, repeats, variants
from jaxtl.config.data import has_validation
from jaxtl.config.fields import OPTIONS, SOURCE, find_field, no_field, read_literal, read_text
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
        study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed % 2**32))
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
    """The distribution that a text describes, see the table above; one of Optuna's stays as it is.

    Raises a ``UserError`` for any other text. Where the field's type is not known, the spelling of numbers decides.

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


# --- what is wrong with a space ---------------------------------------------------------------------------------------

DRAWS = 64  # configs that a space is judged by: one of them is valid if more than a few of a hundred are

# Fields of the data that decide what a value means: trials that differ in them cannot be compared.
OBJECTIVE = (
    *("name", "dir", "classes", "subset", "per_class", "validation", "folds", "fold", "split_seed"),
    *("test", "undecodable"),
)


def monitor_of(config: Mapping[str, Any]) -> str:
    """What trials are judged by: the ``monitor`` of the last phase."""
    return str(variants(config)[""]["phases"][-1]["monitor"])


def trial_faults(config: Mapping[str, Any], monitor: str) -> list[str]:
    """Why a config cannot be a trial: whatever ``jaxtl.config.check`` refuses, and another objective."""
    faults = check(config)
    if not faults and (theirs := monitor_of(config)) != monitor:
        return [f"The last phase's monitor is {theirs}, but the search judges by {monitor}; leave it as it is."]
    return faults


def space_faults(config: Mapping[str, Any], space: Space, *, draws: bool = True) -> list[str]:
    """All that is wrong with a space for a valid config, a sentence each; ``draws``: also what drawn configs show."""
    main, faults = variants(config)[""], []
    if main["model"]["weights"] == SOURCE:  # without its source, the main run alone has no valid weights
        return [
            "model.weights is 'source', which every trial would train again; train the source by itself and give "
            "its work folder as model.weights."
        ]
    if not has_validation(main["data"]):
        faults.append(
            "Trials are judged by validation images, but data.validation is 0; hold some out, for example 0.1."
        )
    if repeats(config):
        faults.append("Trials are judged on one fold: choose it by data.fold, or set data.folds to 0.")
    if not space.parameters:
        faults.append("The space is empty, so all trials would be the same; name a parameter.")
    for name in space.parameters:
        faults += _parameter_faults(main, space, name)
    for path, value in space.final.items():
        faults += [f"final: {fault}" for fault in _value_faults(main, path, value)]
    return faults or (_drawn_faults(config, space) if draws else [])


def _parameter_faults(config: Tree, space: Space, name: str) -> list[str]:
    if name in {f"data.{field}" for field in OBJECTIVE} or (name.startswith("phases.") and name.endswith(".monitor")):
        return [f"{name} decides what a trial is judged by, so that trials could not be compared; leave it as it is."]
    if not is_field(name):
        return [] if space.apply and "." not in name else [no_field(name)]
    if name.startswith(f"{OPTIONS}.") and (space.apply or "model.name" in space.parameters):
        return []  # of another network, perhaps: a trial whose network lacks it is refused when its turn comes
    distribution: Any = space.parameters[name]
    # Both ends, or every choice, show whether all values are valid.
    values = getattr(distribution, "choices", None) or (distribution.low, distribution.high)
    return next((faults for value in values if (faults := _value_faults(config, name, value))), [])


def _value_faults(config: Tree, path: str, value: Any) -> list[str]:
    """What is wrong with a config, valid before, once a field has this value."""
    if not is_field(path):
        return [no_field(path)]
    tree = plain(config)
    try:
        assign(tree, path, typed(path, value, tree["model"]["name"]))
    except (IndexError, TypeError):
        return [f"{path} does not exist: the config has {len(tree['phases'])} phase(s), which are counted from 0."]
    return check(tree)


def _drawn_faults(config: Mapping[str, Any], space: Space) -> list[str]:
    """What shows in drawn configs only: an ``apply`` that fails, and a space where no config is valid."""
    refused: list[str] = []
    for params in space.draw(0, DRAWS):
        try:
            tree = space.configure(config, params)
        except Exception as error:  # of a user's own function: they want its name and the reason
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            return [f"The function apply of the space fails for {params} ({reason}); correct it."]
        faults = trial_faults(tree, monitor_of(config))
        if not faults:
            final = Space({}, final=space.final).configure(config, {}, final=True)
            return [f"final: {fault}" for fault in check(final)]
        refused += faults[:1]
    return [f"None of {DRAWS} configs drawn from the space is valid; the first one fails because {refused[0]}"]

"""Spaces to search: parameters with their distributions, and how values of them become a config.

Space(
    {
        "phases.0.learning_rate": LogUniform(1e-4, 1e-1),
        "phases.0.optimizer": Choice(("adam", "sgd")),
        "layers": Integers(1, 4),
    },
    apply=write_layers,
    final={"phases.0.epochs": 30},
)
"""

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from jaxtl.config.tree import Tree, assign, plain


@dataclasses.dataclass(frozen=True)
class Uniform:
    """A real number, every one of ``[low, high]`` as likely as another."""

    low: float
    high: float

    def draw(self, rng: np.random.Generator) -> float:
        """One value."""
        return float(rng.uniform(self.low, self.high))

    def ends(self) -> tuple[float, ...]:
        """The values that show whether all of them will do."""
        return float(self.low), float(self.high)

    def fault(self) -> str | None:
        """What is wrong with the distribution, as the end of a sentence."""
        return _range_fault(self.low, self.high)


@dataclasses.dataclass(frozen=True)
class LogUniform:
    """A real number of ``[low, high]``, ``low > 0``, whose logarithm is uniform: every order of magnitude alike."""

    low: float
    high: float

    def draw(self, rng: np.random.Generator) -> float:
        """One value."""
        drawn = math.exp(rng.uniform(math.log(self.low), math.log(self.high)))
        return min(max(drawn, float(self.low)), float(self.high))  # what rounding put outside

    def ends(self) -> tuple[float, ...]:
        """The values that show whether all of them will do."""
        return float(self.low), float(self.high)

    def fault(self) -> str | None:
        """What is wrong with the distribution, as the end of a sentence."""
        return _range_fault(self.low, self.high) or _log_fault(self.low)


@dataclasses.dataclass(frozen=True)
class Integers:
    """A whole number of ``low, low + step, …``, up to ``high`` at most.

    Attributes:
      low: the least.
      high: the greatest, itself included where the steps meet it.
      step: between neighbours, 1 or more; 1 where ``log`` is set.
      log: every order of magnitude alike; ``low`` is 1 or more then.
    """

    low: int
    high: int
    step: int = 1
    log: bool = False

    @property
    def last(self) -> int:
        """The greatest number that the steps meet."""
        return self.low + (self.high - self.low) // self.step * self.step

    def draw(self, rng: np.random.Generator) -> int:
        """One value."""
        if self.log:  # each number owns the stretch of half a step around it
            drawn = math.exp(rng.uniform(math.log(self.low - 0.5), math.log(self.high + 0.5)))
            return min(max(round(drawn), self.low), self.high)
        return self.low + self.step * int(rng.integers((self.last - self.low) // self.step + 1))

    def ends(self) -> tuple[int, ...]:
        """The values that show whether all of them will do."""
        return self.low, self.last

    def fault(self) -> str | None:
        """What is wrong with the distribution, as the end of a sentence."""
        if any(type(value) is not int for value in (self.low, self.high, self.step)):
            return f"draws from {self.low!r}..{self.high!r} in steps of {self.step!r}, but they must be whole numbers."
        if self.step < 1 or (self.log and self.step != 1):
            return (
                f"has a step of {self.step}, but it must be {'1 on a logarithmic scale' if self.log else '1 or more'}."
            )
        return _range_fault(self.low, self.last) or (_log_fault(self.low) if self.log else None)


@dataclasses.dataclass(frozen=True)
class Choice:
    """One of several values of any kind, each as likely as another."""

    options: tuple[Any, ...]

    def draw(self, rng: np.random.Generator) -> Any:
        """One value."""
        return plain(self.options)[int(rng.integers(len(self.options)))]

    def ends(self) -> tuple[Any, ...]:
        """The values that show whether all of them will do."""
        options: tuple[Any, ...] = plain(self.options)
        return options

    def fault(self) -> str | None:
        """What is wrong with the distribution, as the end of a sentence."""
        if not isinstance(self.options, tuple | list) or len(self.options) < 2:
            return f"has {self.options!r} to choose from, but a choice needs a tuple of two values or more."
        named = [repr(option) for option in plain(self.options)]
        if twice := next((name for name in named if named.count(name) > 1), None):
            return f"names the choice {twice} more than once; name each of them once."
        return None

    @property
    def labels(self) -> tuple[str, ...]:
        """How a chart, a table or a file names the options."""
        return tuple(option if isinstance(option, str) else repr(option) for option in plain(self.options))


Distribution = Uniform | LogUniform | Integers | Choice
Apply = Callable[[ConfigDict, Mapping[str, Any]], None]


@dataclasses.dataclass(frozen=True)
class Space:
    """What a search varies, beside a config that says all the rest.

    Attributes:
      parameters: by name, the distribution. The path of a field, ``phases.0.learning_rate`` or
        ``model.options.dropout`` say, is written to the config by itself; any other name is for ``apply``.
      apply: writes what is derived from the parameters to a config, in place: ``apply(config, params)``. It is called
        after the fields are written, and must do the same whenever it is given the same.
      final: fields that differ when the best trial is trained anew: ``{"phases.0.epochs": 30}``.
    """

    parameters: Mapping[str, Distribution]
    apply: Apply | None = None
    final: Mapping[str, Any] = dataclasses.field(default_factory=dict)


def draw(space: Space, seed: int, number: int) -> dict[str, Any]:
    """The parameters of one trial of a random search: a function of seed, number and the space alone."""
    return {name: draw_one(space, name, seed, number) for name in space.parameters}


def draw_one(space: Space, name: str, seed: int, number: int) -> Any:
    """One parameter of ``draw``; what the others are is nothing to it."""
    return space.parameters[name].draw(np.random.default_rng([seed, number, *name.encode()]))


def configure(
    config: Mapping[str, Any], space: Space, is_field: Callable[[str], bool], params: Mapping[str, Any]
) -> Tree:
    """The config of a trial; the one that is given stays as it is.

    Args:
      config: as a config file gives it, every phase that the space names written out.
      space: what is varied.
      is_field: whether a parameter's name is the path of a field.
      params: a value for each parameter.

    Raises:
      IndexError: a path counts beyond the last phase.
      Exception: whatever ``apply`` raises.
    """
    tree: Tree = plain(config)
    for path in filter(is_field, space.parameters):
        assign(tree, path, plain(params[path]))
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


def described(space: Space) -> dict[str, dict[str, Any]]:
    """The distributions as JSON values, by the parameters' names."""
    return {
        name: {"distribution": type(distribution).__name__, **dataclasses.asdict(distribution)}
        for name, distribution in space.parameters.items()
    }


def _range_fault(low: Any, high: Any) -> str | None:
    if any(isinstance(end, bool) or not isinstance(end, int | float) or not math.isfinite(end) for end in (low, high)):
        return f"ranges from {low!r} to {high!r}, but both ends must be finite numbers."
    if low >= high:
        return f"has an empty range, {low} to {high}; the lower end comes first."
    return None


def _log_fault(low: float) -> str | None:
    return None if low > 0 else f"starts at {low}, but a logarithmic scale needs a lower end above 0."

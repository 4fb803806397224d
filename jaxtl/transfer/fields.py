"""Fields: default, meaning and check in one line. Flags, help, checks and docs are made from it."""

import dataclasses
import math
import textwrap
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeVar

from jaxtl.errors import nearest

T = TypeVar("T")
MOST = 1_000_000  # of things that are counted


class Check(NamedTuple):
    """Which values of the right type a field takes.

    Attributes:
      allowed: the values in words, for the help; empty: any.
      fault: what is wrong with a value, as the end of a sentence that begins with the field; ``None`` if nothing is.
    """

    allowed: str = ""
    fault: Callable[[Any], str | None] = lambda value: None


ANY = Check()


@dataclasses.dataclass(frozen=True)
class Field:
    """A field of a config.

    Attributes:
      default: the value where a config says nothing; its type is the type of the field.
      doc: meaning and unit.
      check: finds what is wrong with a value of the right type.
    """

    default: Any
    doc: str
    check: Check = ANY

    @property
    def type(self) -> Any:
        """The type as an annotation; a tuple has the elements of the default, or strings."""
        if isinstance(self.default, tuple):
            return tuple[type(self.default[0]) if self.default else str, ...]  # type: ignore[misc]
        return Mapping[str, Any] if isinstance(self.default, Mapping) else type(self.default)


def field(default: T, doc: str, check: Check = ANY) -> T:
    """The same as a field of a dataclass."""
    metadata = {"field": Field(default, doc, check)}
    if isinstance(default, dict):
        return dataclasses.field(default_factory=default.copy, metadata=metadata)  # type: ignore[return-value]
    return dataclasses.field(default=default, metadata=metadata)


def fields_of(cls: type) -> dict[str, Field]:
    """The fields of a dataclass whose defaults are written as ``field(...)``; those that it inherits come last."""
    own_first = sorted(dataclasses.fields(cls), key=lambda each: each.name not in cls.__annotations__)
    return {each.name: each.metadata["field"] for each in own_first}


def documented(cls: type[T]) -> type[T]:
    """The dataclass with its fields in its docstring."""
    lines = [
        f"  {name}: {field.doc}{f'; {field.check.allowed}' * bool(field.check.allowed)}."
        for name, field in fields_of(cls).items()
    ]
    wrapped = "\n".join(textwrap.fill(line, 116, subsequent_indent="    ") for line in ["Attributes:", *lines])
    cls.__doc__ = f"{cls.__doc__}\n{textwrap.indent(wrapped, '    ')}\n"
    return cls


# --- checks ----------------------------------------------------------------------------------------------------------


def one_of(*choices: str) -> Check:
    """The value is one of the choices; the nearest is suggested."""
    return Check(
        f"one of {', '.join(choices)}",
        lambda value: None if value in choices else f"is {value!r}, which does not exist; {nearest(value, choices)}",
    )


def within(low: float, high: float = math.inf, *, open_low: bool = False, open_high: bool = False) -> Check:
    """The value lies between the bounds."""
    interval = f"{'(' if open_low else '['}{low}, {high}{')' if open_high else ']'}"
    allowed = f"{'more than' if open_low else 'at least'} {low}" if high == math.inf else f"in {interval}"

    def fault(value: float) -> str | None:
        if (value > low if open_low else value >= low) and (value < high if open_high else value <= high):
            return None
        return f"is {value}, but must {'be' if high == math.inf else 'lie'} {allowed}."

    return Check(allowed, fault)

"""Whether variables fit a model: names and shapes compared, and the differences in words."""

from collections.abc import Iterable, Mapping
from typing import Any

from flax import traverse_util

from jaxtl.errors import UserError

Shape = tuple[int, ...]


def leaves(variables: Any) -> dict[str, Any]:
    """The leaves of variables by name, ``params/stem/conv/kernel``, parameters first.

    Raises:
      UserError: if they are not a nested dictionary.
    """
    if not isinstance(variables, Mapping):
        raise UserError(
            f"The variables are of type {type(variables).__name__}, but a model's are a dictionary: "
            '{"params": …, "batch_stats": …}.'
        )
    flat = traverse_util.flatten_dict(dict(variables))
    named = {"/".join(map(str, path)): leaf for path, leaf in flat.items()}
    return dict(sorted(named.items(), key=lambda item: not item[0].startswith("params/")))


MOST_NAMED = 8  # differences of one kind; a network of another kind gives hundreds


def misfit(given: Mapping[str, Shape], wanted: Mapping[str, Shape], others: Iterable[str] = ()) -> str | None:
    """How names and shapes differ from those of a model, in words; ``None`` if they do not.

    The first ``MOST_NAMED`` differences of each kind are named, and the others counted.

    Args:
      given: the shape of each leaf that there is.
      wanted: the shape of each leaf of the model.
      others: faults of other kinds.

    >>> misfit({"a": (2,), "c": (1,)}, {"a": (3,), "b": (1,)})
    '0 of 2 keys fit: b is missing; c has no place; a has shape (2,) where the model has (3,)'
    """
    both = [name for name in wanted if name in given]
    kinds = (
        [f"{shown(name)} is missing" for name in wanted if name not in given],
        [f"{shown(name)} has no place" for name in given if name not in wanted],
        [
            f"{shown(name)} has shape {given[name]} where the model has {wanted[name]}"
            for name in both
            if given[name] != wanted[name]
        ],
        list(others),
    )
    if not any(kinds):
        return None
    fitting = sum(given[name] == wanted[name] for name in both)
    faults = []
    for kind in kinds:
        faults += kind[:MOST_NAMED]
        if len(kind) > MOST_NAMED:
            faults.append(f"and {len(kind) - MOST_NAMED} more like this")
    return f"{fitting} of {len(wanted)} keys fit: {'; '.join(faults)}"


def shown(text: str, most: int = 120) -> str:
    """Text from a file as a message shows it: on one line, and not endless."""
    short = text if len(text) <= most else f"{text[: most - 20]} … {text[-10:]}"
    return short if short.isprintable() else short.encode("unicode_escape").decode()

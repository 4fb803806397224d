"""User errors: one sentence in place of a traceback; and what such sentences need: the nearest name, short lists."""

import argparse
import difflib
import reprlib
from collections.abc import Iterable, Sequence
from typing import Any


class UserError(ValueError, argparse.ArgumentTypeError):  # argparse then prints the sentence of an argument's type
    """A user error: a mistake of the person who runs jaxtl, not of the program.

    The message is one sentence: what is wrong, where, why, and the way out. Commands print it without a
    traceback and exit with status 2; code that imports jaxtl catches it like any ``ValueError``.
    """


def expect(name: str, value: Any, kinds: type | tuple[type, ...], what: str) -> None:
    """Refuse an argument of another type; True and False are not numbers, unless ``kinds`` has ``bool``.

    Raises:
      UserError: it is of another type.

    >>> expect("top", 3, int, "a whole number")
    """
    is_flag = isinstance(value, bool) and bool not in (kinds if isinstance(kinds, tuple) else (kinds,))
    if is_flag or not isinstance(value, kinds):
        raise UserError(f"{name} is {reprlib.repr(value)} ({type(value).__name__}), but must be {what}.")


def closest(name: str, known: Iterable[str]) -> str | None:
    """The known name that a wrong one was meant to be: it is misspelt, or shortened; ``None`` if none is near.

    >>> closest("epoch", ["epochs", "flip"]), closest("lr", ["flip", "learning_rate"]), closest("opt", ["optimizer"])
    ('epochs', 'learning_rate', 'optimizer')
    """
    name, known = str(name), list(known)
    initials = [word for word in known if "_" in word and name.lower() == "".join(part[:1] for part in word.split("_"))]
    misspelt = difflib.get_close_matches(name.lower(), known, n=1)
    begun = [word for word in known if len(name) > 2 and word.startswith(name.lower())]
    return next(iter([*initials, *misspelt, *begun]), None)


def nearest(name: str, known: Iterable[str]) -> str:
    """The way out for a name that is not known, as the end of a sentence.

    >>> nearest("cifar", ["cifar10", "digits"]), nearest("x", ["cifar10", "digits"])
    ("did you mean 'cifar10'?", 'choose one of: cifar10, digits.')
    """
    known = list(known)
    near = closest(name, known)
    return f"did you mean {near!r}?" if near else f"choose one of: {', '.join(known)}."


def listed(names: Sequence[str], most: int = 3) -> str:
    """The first names of a list, and how many more there are.

    >>> listed("abc"), listed("abcdef")
    ('a, b, c', 'a, b, c and 3 more')
    """
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more

"""Distributions as the command line writes them.

| text | means |
|---|---|
| ``1e-4..1e-1`` | uniform; whole numbers where the field is one |
| ``log:1e-4..1e-1`` | the same on a logarithmic scale |
| ``16..128:16`` | whole numbers in steps |
| ``adam,adamw,sgd`` | a choice; values with commas of their own as Python writes them: ``(64,),(128,)`` |
"""

import ast
import re
from typing import Any

from jaxtl.config.fields import read_text
from jaxtl.errors import UserError
from jaxtl.search.space import Choice, Distribution, Integers, LogUniform, Uniform

_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_RANGE = re.compile(rf"(?P<log>log:)?(?P<low>{_NUMBER})\.\.(?P<high>{_NUMBER})(?::(?P<step>\d+))?")


def read_distribution(name: str, text: str, type_: Any) -> Distribution:
    """The distribution that a text describes.

    Args:
      name: of the parameter, for the error.
      text: see above.
      type_: of the field, or ``None`` where it is not known: then the way that numbers are written tells.

    Raises:
      UserError: the text describes none.

    >>> read_distribution("batch_size", "16..64:16", int), read_distribution("layers", "1..3", None)
    (Integers(low=16, high=64, step=16, log=False), Integers(low=1, high=3, step=1, log=False))
    >>> read_distribution("model.options.hidden", "(64,),(128, 128)", None)
    Choice(options=((64,), (128, 128)))
    """
    if found := _RANGE.fullmatch(text.strip()):
        log, low, high, step = found.group("log", "low", "high", "step")
        whole = low.lstrip("+-").isdigit() and high.lstrip("+-").isdigit()
        if step and not whole:
            raise UserError(
                f"--space {name}={text} has a step, but its ends are no whole numbers; write 16..128:16 say."
            )
        if whole and type_ is not float:
            return Integers(int(low), int(high), int(step or 1), bool(log))
        return (LogUniform if log else Uniform)(float(low), float(high))
    if ".." in text or text.startswith("log:") or not text.strip():
        raise UserError(
            f"--space {name}={text} is no range and no choice; write log:1e-4..1e-1, 0..0.5, 16..128:16 or adam,sgd."
        )
    try:
        return Choice(tuple(ast.literal_eval(f"[{text}]")))
    except (SyntaxError, ValueError):  # bare words
        words = [word.strip() for word in text.split(",")]
        return Choice(tuple(word if type_ is None else read_text(word, type_) for word in words))


def split_space(argv: list[str], flag: str) -> tuple[list[tuple[str, str]], list[str]]:
    """The (name, text) pairs of ``--space NAME=TEXT`` and ``--space=NAME=TEXT``, and the other arguments.

    Raises:
      UserError: a flag without a name or a text.

    >>> split_space(["--space", "seed=1..9", "--trials", "3"], "--space")
    ([('seed', '1..9')], ['--trials', '3'])
    """
    pairs, others, rest = [], [], list(argv)
    while rest:
        argument = rest.pop(0)
        if argument == flag and rest:
            argument = f"{flag}={rest.pop(0)}"
        if argument != flag and not argument.startswith(f"{flag}="):
            others.append(argument)
            continue
        name, equals, text = argument.removeprefix(flag).removeprefix("=").partition("=")
        if not name or not equals:
            raise UserError(f"{argument} lacks a name or a value; write {flag} phases.0.learning_rate=… say.")
        pairs.append((name, text))
    return pairs, others

"""File formats of weights, and the two errors of a file that is not what it was."""

from jaxtl.errors import UserError
from jaxtl.models.fit import shown

_LONGEST = 500  # letters of a reason: names in a damaged file can be of any length


def truncated(source: str, what: str) -> UserError:
    """The error of a file that was cut short."""
    return UserError(f"{source} is truncated: {shown(what, _LONGEST)}; get the file again.")


def damaged(source: str, what: str) -> UserError:
    """The error of a file whose bytes contradict each other."""
    return UserError(f"{source} is altered or damaged: {shown(what, _LONGEST)}; get the file again.")

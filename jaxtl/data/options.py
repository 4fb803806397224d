"""How a collection of images of any size becomes a data set of one size."""

import dataclasses
import os
from collections.abc import Callable
from numbers import Integral, Real
from typing import Any, Literal, get_args

from jaxtl.data.decode import Fit
from jaxtl.errors import UserError

Stream = Literal["auto", "always", "never"]

# For each option its type, also of NumPy; whether a value is allowed; and which are.
_Allowed = tuple[type | tuple[type, ...], Callable[[Any], bool], str]
_COUNT: _Allowed = (Integral, lambda value: value >= 0, "a whole number of 0 or more")
_ALLOWED: dict[str, _Allowed] = {
    "size": _COUNT,
    "fit": (str, lambda value: value in get_args(Fit), f"one of {', '.join(get_args(Fit))}"),
    "labels": ((str, os.PathLike), lambda value: True, "a text or a pathlib.Path"),
    "channels": (Integral, lambda value: value in (1, 3), "1 or 3"),
    "test": (Real, lambda value: 0 < value < 1, "a number in (0, 1)"),
    "split_seed": _COUNT,
    "undecodable": (Real, lambda value: 0 <= value <= 1, "a number in [0, 1]"),
    "stream": (str, lambda value: value in get_args(Stream), f"one of {', '.join(get_args(Stream))}"),
    "workers": _COUNT,
}


@dataclasses.dataclass(frozen=True)
class ImageOptions:
    """How images of any size are read; data sets of one size ignore it.

    Attributes:
      size: height and width to decode to, in pixels; 0: as they are, which must then be the same for all.
      fit: how non-square images are resized, see ``jaxtl.data.decode.read_image``.
      labels: a CSV file of paths and labels of a folder's images, see ``jaxtl.data.labels``; "": folders are classes.
      channels: of image files in a folder: 3 for RGB, 1 for grey.
      test: share of the images held out for the test where the collection has no test split, in (0, 1).
      split_seed: seed of that split.
      undecodable: share of all files that may be undecodable and are then skipped; more are refused; in [0, 1].
      stream: decode images when they are needed, epoch after epoch, instead of once into memory: ``"auto"`` where
        they would take more than a quarter of the memory.
      workers: processes that decode streamed images; 0: one a core.

    Raises:
      UserError: a value is invalid.
    """

    size: int = 0
    fit: Fit = "crop"
    labels: str = ""
    channels: int = 3
    test: float = 0.2
    split_seed: int = 0
    undecodable: float = 0.05
    stream: Stream = "auto"
    workers: int = 0

    def __post_init__(self) -> None:
        for name, (kind, is_allowed, words) in _ALLOWED.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, kind) or not is_allowed(value):
                raise UserError(f"{name} is {value!r}, but must be {words}.")
        object.__setattr__(self, "labels", os.fsdecode(self.labels))

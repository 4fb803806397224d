"""How a collection of images of any size becomes a data set of one size."""

import dataclasses
from typing import Literal, get_args

from jaxtl.data.decode import Fit
from jaxtl.errors import UserError, expect

Stream = Literal["auto", "always", "never"]


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
        for field in dataclasses.fields(self):
            value, kind = getattr(self, field.name), type(field.default)
            expect(field.name, value, (int, float) if kind is float else kind, f"like its default, {field.default!r}")
        right = {
            "size": self.size >= 0,
            "fit": self.fit in get_args(Fit),
            "channels": self.channels in (1, 3),
            "test": 0 < self.test < 1,
            "split_seed": self.split_seed >= 0,
            "undecodable": 0 <= self.undecodable <= 1,
            "stream": self.stream in get_args(Stream),
            "workers": self.workers >= 0,
        }
        for name, fits in right.items():
            if not fits:
                raise UserError(f"{name} is {getattr(self, name)!r}; help(jaxtl.ImageOptions) says what it may be.")

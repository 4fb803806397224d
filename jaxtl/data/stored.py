"""Images that lie encoded in files: what reads one of them, and what stands for an array of them."""

import dataclasses
import hashlib
from collections.abc import Callable
from typing import Any, Literal, Protocol

import numpy as np

from jaxtl.data.decode import Fit, Undecodable, read_sized
from jaxtl.errors import UserError

Sizes = Literal["any", "same", "fixed"]


class Source(Protocol):
    """Encoded images and their labels, by position; it pickles, so that other processes can read them."""

    def __len__(self) -> int:
        """N."""

    @property
    def ids(self) -> np.ndarray:
        """What each image is called, see ``jaxtl.data.Dataset``: int64 or str ``[N]``."""

    @property
    def labels(self) -> np.ndarray:
        """The class of each image, int32 ``[N]``."""

    def chosen(self, indices: np.ndarray) -> "Source":
        """Those at some positions."""

    def name(self, position: int) -> str:
        """What the image is called, as text that can be printed."""

    def file(self, position: int) -> str:
        """The file that holds it, relative to the folder of the data set."""

    def content(self, position: int) -> bytes:
        """The encoded image; raises ``Undecodable`` where it cannot be read."""


@dataclasses.dataclass(frozen=True)
class ImageReader:
    """Reads the image at a position; it pickles.

    Attributes:
      source: the encoded images.
      shape: (H, W, C) of every image once it is read.
      fit: see ``jaxtl.data.decode.read_image``.
      sizes: ``"any"``: images are resized to that size; ``"same"``: they must have it, because no size was asked for;
        ``"fixed"``: the data set promises it, and another size is a fault of that image.
      place: the data set, for error messages.
    """

    source: Source
    shape: tuple[int, int, int]
    fit: Fit
    sizes: Sizes
    place: str

    def decode(self, content: bytes, position: int) -> tuple[np.ndarray, tuple[int, int]]:
        """The image of a content, uint8 ``shape``, and its (height, width) before it was resized.

        Raises:
          Undecodable: it is not an image, or its size is not the one promised.
          UserError: no size was asked for, and it has another than the first image.
        """
        H, W, C = self.shape
        image, original = read_sized(content, (H, W) if self.sizes == "any" else None, fit=self.fit, channels=C)
        height, width, _ = image.shape
        if (height, width) != (H, W) and self.sizes == "same":
            raise UserError(
                f"The images of {self.place} have different sizes ({self.source.name(position)} has {width} x {height} "
                f"pixels, the first one {W} x {H}); set data.size to resize them to one."
            )
        if (height, width) != (H, W):
            raise Undecodable(f"it has {width} x {height} pixels instead of {W} x {H}")
        return image, original

    def __call__(self, position: int) -> np.ndarray:
        """The image at a position.

        Raises:
          UserError: it cannot be decoded any more.
        """
        try:
            return self.decode(self.source.content(position), position)[0]
        except Undecodable as error:
            raise UserError(
                f"{self.source.name(position)} of {self.place} could be decoded when the run began, but cannot be now: "
                f"{error}; restore it and run the same command again."
            ) from error


def pixel_digest(image: np.ndarray) -> bytes:
    """16 bytes, equal for images with equal pixels."""
    return hashlib.blake2b(image.tobytes(), digest_size=16).digest()


class StoredImages:
    """Stands for an array of images, uint8 ``[N, H, W, C]``, of which nothing is held in memory.

    One index gives a decoded image, a slice or an array of indices gives the images chosen, still stored;
    ``np.asarray`` decodes them all. It pickles, so that other processes can be handed it.

    Attributes:
      shape: (N, H, W, C).
      dtype: uint8.
      ndim: 4.
      digests: bytes ``[N]``, of the pixels, see `pixel_digest`.
      workers: how many processes decode a stream of them; 0: one a core.
    """

    dtype = np.dtype(np.uint8)
    ndim = 4

    def __init__(
        self,
        read: Callable[[int], np.ndarray],
        positions: np.ndarray,
        image_shape: tuple[int, int, int],
        digests: np.ndarray,
        workers: int = 0,
    ) -> None:
        """The images that ``read(position)`` gives at ``positions``, int64 ``[N]``; for the rest see the class."""
        self._read, self._positions, self.digests, self.workers = read, positions, digests, workers
        self.shape = (len(positions), *image_shape)

    def __len__(self) -> int:
        return len(self._positions)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, int | np.integer):
            return self._read(int(self._positions[index]))
        return StoredImages(self._read, self._positions[index], self.shape[1:], self.digests[index], self.workers)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        images = np.empty(self.shape, np.uint8)
        for i in range(len(self)):
            images[i] = self[i]
        return images if dtype is None else images.astype(dtype, copy=False)

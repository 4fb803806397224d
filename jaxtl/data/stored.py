"""Images that lie in files and are decoded when they are asked for: for data sets that outgrow memory."""

from collections.abc import Callable
from typing import Any

import numpy as np


class StoredImages:
    """Stands for an array of images, uint8 ``[N, H, W, C]``, of which nothing is held in memory.

    One index gives a decoded image, a slice or an array of indices gives the images chosen, still stored;
    ``np.asarray`` decodes them all. It pickles, so that other processes can be handed it.

    Attributes:
      shape: (N, H, W, C).
      dtype: uint8.
      ndim: 4.
      nbytes: what the decoded images would take.
      digests: bytes ``[N]``, equal where two images have the same content.
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
        """Images that a reader finds.

        Args:
          read: gives the image at a position, uint8 ``image_shape``; it must pickle.
          positions: int64 ``[N]``, what the reader is asked for.
          image_shape: (H, W, C).
          digests: see the class.
          workers: see the class.
        """
        self._read, self._positions, self.digests, self.workers = read, positions, digests, workers
        self.shape = (len(positions), *image_shape)

    @property
    def nbytes(self) -> int:  # noqa: D102
        return int(np.prod(self.shape, dtype=np.int64))

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

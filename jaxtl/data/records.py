"""Examples of tensorflow-datasets in array_record files, read without TensorFlow.

Source: https://github.com/google/array_record. A record is a serialised ``tf.train.Example`` message.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np

from jaxtl.data.decode import Fit, Undecodable, read_image
from jaxtl.errors import UserError

_AT_ONCE = 64  # records in memory while the labels are read


class Records:
    """The records of one split; small enough to hand to other processes, each of which opens the files anew."""

    def __init__(self, files: Sequence[str], place: str) -> None:
        """The records of files.

        Args:
          files: paths in the order of their records, each with the records to take of it: ``"PATH[0:100]"``.
          place: the folder of the data set, for error messages.
        """
        self._files, self._place = tuple(files), place
        self._source: Any = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_source": None}

    def features(self, positions: Sequence[int]) -> list[Any]:
        """For each position the features of the record, by name: ``["image"].bytes_list.value[0]`` say.

        Raises:
          UserError: a file is missing or damaged.
        """
        # Only here, because it takes long and few programs need it.
        from tensorflow_datasets.proto import tf_example_pb2

        try:
            if self._source is None:
                from array_record.python.array_record_data_source import ArrayRecordDataSource

                self._source = ArrayRecordDataSource(list(self._files))
            contents = self._source.__getitems__(list(positions))
            return [tf_example_pb2.Example.FromString(content).features.feature for content in contents]
        except Exception as error:  # the reader promises no narrower type
            why = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
            raise UserError(
                f"The data set in {self._place} cannot be read ({why}): a file is missing or damaged; delete that "
                "folder and prepare it again."
            ) from error

    def labels(self, name: str, count: int) -> Iterator[int]:
        """The value of an integer feature in the first ``count`` records."""
        for start in range(0, count, _AT_ONCE):
            for features in self.features(range(start, min(start + _AT_ONCE, count))):
                yield features[name].int64_list.value[0]


class RecordReader:
    """Reads the image of a record; it pickles."""

    def __init__(
        self,
        records: Records,
        positions: np.ndarray,
        feature: str,
        image_shape: tuple[int, int, int],
        fit: Fit,
        *,
        sizes: Literal["any", "same", "fixed"],
        place: str,
    ) -> None:
        """The images of some records.

        Args:
          records: the split.
          positions: int64 [N], which of its records.
          feature: the name of the feature that is the image.
          image_shape: (H, W, C) of every image.
          fit: see ``jaxtl.data.decode.read_image``.
          sizes: ``"any"``: images are brought to that size; ``"same"``: they must have it, as no size was asked for;
            ``"fixed"``: the data set says that they have it, and another one is a fault of that image.
          place: the data set and its split, for error messages.
        """
        self._records, self._positions, self._feature = records, positions, feature
        self._shape, self._fit, self._sizes, self._place = image_shape, fit, sizes, place

    def content(self, index: int) -> bytes:
        """The encoded image."""
        (features,) = self._records.features([int(self._positions[index])])
        values = features[self._feature].bytes_list.value
        return values[0] if values else b""

    def decode(self, content: bytes, index: int) -> np.ndarray:
        """The image of a content, uint8 ``image_shape``.

        Raises:
          Undecodable: it is none, or has not the size that the data set says.
          UserError: no size was asked for, and it has another than the first image.
        """
        H, W, C = self._shape
        image = read_image(content, (H, W) if self._sizes == "any" else None, fit=self._fit, channels=C)
        height, width, _ = image.shape
        if (height, width) != (H, W) and self._sizes == "same":
            raise UserError(
                f"The images of {self._place} have different sizes (the one at {self._positions[index]} has {width} x "
                f"{height} pixels, the first one {W} x {H}); set data.size to bring them to one."
            )
        if (height, width) != (H, W):
            raise Undecodable(f"it has {width} x {height} pixels instead of {W} x {H}")
        return image

    def __call__(self, index: int) -> np.ndarray:
        """The image at an index.

        Raises:
          UserError: it cannot be decoded any more.
        """
        try:
            return self.decode(self.content(index), index)
        except Undecodable as error:
            raise UserError(
                f"{self._place}[{self._positions[index]}] could be decoded when the run began, but no more: {error}; "
                "restore the data set and run the same command again."
            ) from error

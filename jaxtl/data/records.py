"""Examples of tensorflow-datasets in array_record files, read without TensorFlow.

Source: https://github.com/google/array_record. A record is a serialised ``tf.train.Example`` message.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxtl.errors import UserError

_AT_ONCE = 64  # records in memory while the labels are read


class Shard(NamedTuple):
    """A file of records, of which those from ``start`` up to ``stop`` count."""

    path: str
    start: int
    stop: int


class Records:
    """The records of one split; small enough to hand to other processes, each of which opens the files again."""

    def __init__(self, shards: Sequence[Shard], place: str) -> None:
        """The records of ``shards``, in their order; ``place``, the folder of the data set, is for error messages."""
        self.shards, self._place = tuple(shards), place
        self._source: Any = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_source": None}

    def __len__(self) -> int:
        return sum(stop - start for _, start, stop in self.shards)

    def features(self, positions: Sequence[int]) -> list[Any]:
        """For each position the features of the record, by name: ``["image"].bytes_list.value[0]`` for example.

        Raises:
          UserError: a file is missing or damaged.
        """
        # Only here, because it takes long and few programs need it.
        from tensorflow_datasets.proto import tf_example_pb2

        try:
            if self._source is None:
                from array_record.python.array_record_data_source import ArrayRecordDataSource

                self._source = ArrayRecordDataSource([f"{path}[{start}:{stop}]" for path, start, stop in self.shards])
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


@dataclasses.dataclass(frozen=True)
class RecordSource:
    """The images of some records, as a ``jaxtl.data.stored.Source``.

    Attributes:
      records: the split.
      split: its name.
      positions: int64 [N], which of its records.
      feature: the name of the feature that is the image.
    """

    records: Records
    split: str
    positions: np.ndarray
    feature: str

    def name(self, position: int) -> str:
        """The split and the place in it: ``train[17]``."""
        return f"{self.split}[{self.positions[position]}]"

    def file(self, position: int) -> str:
        """The file that holds the record, relative to the folder of the data set."""
        starts = np.cumsum([0, *(stop - start for _, start, stop in self.records.shards)])
        shard = int(np.searchsorted(starts, self.positions[position], "right")) - 1
        return Path(self.records.shards[shard].path).name

    def content(self, position: int) -> bytes:
        """The encoded image."""
        (features,) = self.records.features([int(self.positions[position])])
        values = features[self.feature].bytes_list.value
        return values[0] if values else b""

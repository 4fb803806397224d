"""What a comparison takes of a finished run."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np


class FinishedRun(NamedTuple):
    """A finished run, as it is compared with others of any kind.

    Attributes:
      name: what tables and charts call it; no other run of the comparison has it.
      folder: where it is, for the reader.
      model: name of its network.
      device: what it was trained on.
      reported: the figure that the study reported for it; may be empty.
      accuracy: on the test images, in [0, 1].
      precision: macro mean, in [0, 1].
      recall: macro mean, in [0, 1].
      f1: macro mean, in [0, 1].
      train_s: seconds of training.
      inference_s: seconds for all its test images.
      params_total: number of parameters.
      params_trained: number of those that any phase trained.
      class_names: K names.
      confusion: int [K, K], counts; rows are true classes, columns predicted ones.
      history: lines of ``metrics.jsonl``.
      test_images: (index, true class) of N test images.
      right: bool [N], which of them it got right.
    """

    name: str
    folder: str
    model: str
    device: str
    reported: str
    accuracy: float
    precision: float
    recall: float
    f1: float
    train_s: float
    inference_s: float
    params_total: int
    params_trained: int
    class_names: tuple[str, ...]
    confusion: np.ndarray
    history: Sequence[Mapping[str, Any]]
    test_images: tuple[tuple[str, str], ...]
    right: np.ndarray

"""Which of two runs is better, told from the same test images, and how sure that is when many pairs are looked at."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from jaxtl.report.statistics import holm, mcnemar, paired_difference_interval
from jaxtl.report.text import p_value


class Difference(NamedTuple):
    """Accuracy of one run minus that of another, on the same test images.

    Attributes:
      difference: in [-1, 1].
      interval: its 95 % interval, (low, high).
      p_value: of McNemar's exact test, two-sided, for this pair alone.
      p_holm: the same, corrected for all pairs that were looked at with it.
    """

    difference: float
    interval: tuple[float, float]
    p_value: float
    p_holm: float


def differences(pairs: Iterable[tuple[np.ndarray, np.ndarray]]) -> list[Difference]:
    """Test every pair, and correct the p-values for there being several.

    Args:
      pairs: (bool [N], bool [N]): which test images each of the two got right, in the same order.

    Raises:
      ValueError: the vectors of a pair differ in length, or are empty.
    """
    pairs = list(pairs)
    p_values = [mcnemar(right, other) for right, other in pairs]
    return [
        Difference(float(right.mean() - other.mean()), paired_difference_interval(right, other), p, corrected)
        for (right, other), p, corrected in zip(pairs, p_values, holm(p_values), strict=True)
    ]


def in_words(name: str, other: str, found: Difference, *, tests: int) -> str:
    """A sentence that says which of two runs is better, by how much, and whether chance explains it.

    Args:
      name: the run whose accuracy comes first in the difference.
      other: the run whose accuracy is subtracted.
      found: the difference.
      tests: how many pairs were tested with it; the corrected p-value is told where it is more than one.
    """
    better, worse, sign = (name, other, 1) if found.difference > 0 else (other, name, -1)
    low, high = sorted(100 * sign * end for end in found.interval)
    p = found.p_value if tests == 1 else found.p_holm
    chance = f"p {p_value(p)}" if p < 0.001 else f"p = {p_value(p)}"
    correction = f", corrected for {tests} tests by Holm's method" if tests > 1 else ""
    sentence = (
        f"On the same test images “{better}” is {100 * abs(found.difference):.1f} percentage points more accurate "
        f"than “{worse}” (95 % interval {low:.1f} to {high:.1f}; exact McNemar test, {chance}{correction})."
    )
    return sentence if p < 0.05 else sentence + " Chance alone could explain a difference of this size."


def groups(keys: Sequence[object]) -> list[list[int]]:
    """Positions of equal keys, group by group, each where its first member stands.

    >>> groups(["a", "b", "a"])
    [[0, 2], [1]]
    """
    found: list[list[int]] = []
    for i, key in enumerate(keys):
        group = next((group for group in found if keys[group[0]] == key), None)
        if group is None:
            found.append([i])
        else:
            group.append(i)
    return found

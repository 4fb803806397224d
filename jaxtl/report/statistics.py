"""How good is a classifier, and how sure can we be? Pure functions of counts and of right/wrong vectors."""

from collections.abc import Mapping, Sequence
from math import sqrt
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

BINS = 10  # of confidence


def calibration(confidence: np.ndarray, right: np.ndarray) -> tuple[np.ndarray, float]:
    """Whether confidence can be believed: accuracy by confidence, and the expected calibration error (ECE).

    Source: C. Guo, G. Pleiss, Y. Sun, K. Q. Weinberger (2017), On calibration of modern neural networks, equation 3;
    bins of equal width.

    Args:
      confidence: float [N], probability of the predicted class, in [0, 1].
      right: bool [N], whether it is right.

    Returns:
      float [10, 3]: images, mean confidence and accuracy of each bin, NaN where it has no image; and the ECE, the
      mean distance of the two, weighed by images, in [0, 1].
    """
    confidence, right = np.asarray(confidence, float), np.asarray(right, bool)
    place = np.clip((confidence * BINS).astype(int), 0, BINS - 1)
    count = np.bincount(place, minlength=BINS).astype(float)
    sums = [np.bincount(place, values, BINS) for values in (confidence, right)]
    mean, accuracy = (np.divide(values, count, out=np.full(BINS, np.nan), where=count > 0) for values in sums)
    return np.stack([count, mean, accuracy], 1), float(np.abs(sums[0] - sums[1]).sum() / max(len(right), 1))


def wilson_interval(correct: int, n: int) -> tuple[float, float]:
    """95 % score interval for an accuracy of ``correct`` out of ``n`` independent examples.

    Unlike the textbook ``p +- z sqrt(p (1 - p) / n)`` it stays inside [0, 1] and does not collapse at 0 or 100 %.

    Source: E. B. Wilson (1927), Probable inference, the law of succession, and statistical inference, Journal of the
    American Statistical Association 22, 209-212.

    Raises:
      ValueError: not 0 <= correct <= n, or n < 1.
    """
    from scipy.stats import binomtest  # type: ignore[import-untyped]  # no start should wait for its import

    if not 0 <= correct <= n or n < 1:  # of which SciPy 1.18 gives NaN
        raise ValueError(f"{correct} of {n} examples cannot be right")
    interval = binomtest(correct, n).proportion_ci(0.95, method="wilson")
    return float(interval.low), float(interval.high)


def accuracy_interval(test: Mapping[str, Any]) -> tuple[float, float]:
    """The 95 % interval of ``test`` {accuracy, n} of a summary."""
    return wilson_interval(round(test["accuracy"] * test["n"]), test["n"])


class Spread(NamedTuple):
    """What several draws of one quantity tell of it."""

    n: int  # draws
    mean: float
    sd: float  # standard deviation of single draws, with n - 1
    low: float  # interval of the mean
    high: float


def spread(values: Sequence[float], bounds: tuple[float, float] = (-np.inf, np.inf)) -> Spread:
    """Mean, standard deviation, and Student's 95 % interval of the mean, cut at the bounds, of two or more draws.

    Source: Student (1908), The probable error of a mean, Biometrika 6, 1-25.
    """
    from scipy.stats import t

    n, mean, sd = len(values), float(np.mean(values)), float(np.std(values, ddof=1))
    half = float(t.ppf(0.975, n - 1)) * sd / sqrt(n)
    return Spread(n, mean, sd, max(mean - half, bounds[0]), min(mean + half, bounds[1]))


def mcnemar(correct_a: npt.ArrayLike, correct_b: npt.ArrayLike) -> float:
    """Two-sided p-value that two classifiers are equally accurate, tested on the same examples.

    Only the discordant examples speak: were the classifiers equally good, each of them would be A's or B's success
    with probability one half. The binomial test is exact, so it holds for few discordant examples too.

    Source: Q. McNemar (1947), Note on the sampling error of the difference between correlated proportions or
    percentages, Psychometrika 12, 153-157.

    Args:
      correct_a: bool [N], whether A is right, example by example.
      correct_b: bool [N], the same examples in the same order, for B.

    Raises:
      ValueError: the two are not vectors of one length, or are empty.
    """
    from scipy.stats import binomtest

    _, only_a, only_b, _ = _paired_counts(correct_a, correct_b)
    return float(binomtest(only_a, only_a + only_b).pvalue) if only_a + only_b else 1.0


def paired_difference_interval(correct_a: npt.ArrayLike, correct_b: npt.ArrayLike) -> tuple[float, float]:
    """95 % interval for accuracy of A minus accuracy of B on the same examples.

    The two Wilson intervals are combined as if they were the sides of a triangle whose angle is the correlation of
    the two classifiers: two that fail on the same pictures are compared more sharply than by separate intervals.

    Source: R. G. Newcombe (1998), Improved confidence intervals for the difference between binomial proportions based
    on paired data, Statistics in Medicine 17, 2635-2650, method 10.

    Args:
      correct_a, correct_b: as ``mcnemar`` takes them.

    Raises:
      ValueError: the two are not vectors of one length, or are empty.
    """
    both, only_a, only_b, neither = _paired_counts(correct_a, correct_b)
    n = both + only_a + only_b + neither
    right_a, right_b = both + only_a, both + only_b
    low_a, high_a = wilson_interval(right_a, n)
    low_b, high_b = wilson_interval(right_b, n)
    a, b = right_a / n, right_b / n

    association = float(both * neither - only_a * only_b)
    if association > 0:  # Newcombe's continuity correction; a negative association is left as it is
        association = max(association - n / 2, 0.0)
    margins = right_a * (n - right_a) * right_b * (n - right_b)
    phi = association / sqrt(margins) if margins else 0.0

    below = sqrt((a - low_a) ** 2 - 2 * phi * (a - low_a) * (high_b - b) + (high_b - b) ** 2)
    above = sqrt((high_a - a) ** 2 - 2 * phi * (high_a - a) * (b - low_b) + (b - low_b) ** 2)
    return a - b - below, a - b + above


def holm(p_values: Sequence[float]) -> list[float]:
    """Correct p-values of several tests, so that the chance of any false rejection among them stays below the level.

    The smallest is multiplied by the number of tests, the next by one less, and so on; none falls below one before
    it, and none exceeds 1. It assumes nothing of how the tests depend on each other, and rejects whatever Bonferroni's
    correction does.

    Source: S. Holm (1979), A simple sequentially rejective multiple test procedure, Scandinavian Journal of
    Statistics 6, 65-70.

    Args:
      p_values: M values in [0, 1]; M may be 0. The corrected values have the same order.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    p = np.asarray(p_values, float)
    order = np.argsort(p, kind="stable")
    corrected = np.empty(len(p))
    corrected[order] = np.maximum.accumulate(np.minimum(1.0, p[order] * np.arange(len(p), 0, -1)))
    return corrected.tolist()


def _paired_counts(correct_a: npt.ArrayLike, correct_b: npt.ArrayLike) -> tuple[int, int, int, int]:
    """Examples that (both, only A, only B, neither) got right, as Python integers, which do not overflow."""
    a, b = np.asarray(correct_a, dtype=bool), np.asarray(correct_b, dtype=bool)
    if a.ndim != 1 or a.shape != b.shape or a.size == 0:
        raise ValueError(f"need two vectors of one length > 0, got shapes {a.shape} and {b.shape}")
    return int((a & b).sum()), int((a & ~b).sum()), int((~a & b).sum()), int((~a & ~b).sum())

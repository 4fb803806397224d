"""How good is a classifier, and how sure can we be? Pure functions of counts and of right/wrong vectors."""

from collections.abc import Sequence
from math import sqrt
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt


def classification_scores(confusion: np.ndarray) -> dict[str, Any]:
    """Accuracy and macro precision, recall and F1 of a confusion matrix.

    A quotient without a denominator (a class that was never predicted, or never occurs) counts 0, and every class
    weighs the same in the macro mean: scikit-learn's ``precision_recall_fscore_support(labels=range(K),
    average="macro", zero_division=0)``.

    Args:
      confusion: int [K, K], counts; rows are true classes, columns predicted ones.

    Returns:
      ``accuracy``, ``precision``, ``recall``, ``f1``: floats in [0, 1]; ``per_class``: one
      ``{"precision", "recall", "f1", "support"}`` a class, in class order.

    Raises:
      ValueError: the matrix is not square, has a negative count, or counts nothing.
    """
    confusion = np.asarray(confusion)
    if confusion.ndim != 2 or confusion.shape[0] != confusion.shape[1]:
        raise ValueError(f"a confusion matrix is square, got shape {confusion.shape}")
    if (confusion < 0).any() or confusion.sum() == 0:
        raise ValueError("a confusion matrix needs counts >= 0 and at least one example")

    right = np.diagonal(confusion)
    predicted, support = confusion.sum(axis=0), confusion.sum(axis=1)
    precision = _quotient(right, predicted)
    recall = _quotient(right, support)
    f1 = _quotient(2 * right, predicted + support)  # = 2PR / (P + R), without the intermediate 0 / 0
    return {
        "accuracy": float(right.sum() / confusion.sum()),
        "precision": float(precision.mean()),
        "recall": float(recall.mean()),
        "f1": float(f1.mean()),
        "per_class": [
            {"precision": float(p), "recall": float(r), "f1": float(f), "support": int(s)}
            for p, r, f, s in zip(precision, recall, f1, support, strict=True)
        ],
    }


def wilson_interval(correct: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Score interval for an accuracy of ``correct`` out of ``n`` independent examples.

    Unlike the textbook ``p +- z sqrt(p (1 - p) / n)`` it stays inside [0, 1] and does not collapse at 0 or 100 %.

    Source: E. B. Wilson (1927), Probable inference, the law of succession, and statistical inference, Journal of the
    American Statistical Association 22, 209-212.

    Raises:
      ValueError: not 0 <= correct <= n, n < 1, or confidence outside (0, 1).
    """
    if not (n >= 1 and 0 <= correct <= n):
        raise ValueError(f"need 0 <= correct <= n and n >= 1, got correct={correct}, n={n}")
    z = _normal_quantile(confidence)
    p = correct / n
    centre = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half_width = z * sqrt(p * (1 - p) / n + z**2 / (4 * n**2)) / (1 + z**2 / n)
    # At the ends the interval reaches 0 or 1 exactly; floating point would miss it by an ulp.
    low = 0.0 if correct == 0 else max(0.0, centre - half_width)
    high = 1.0 if correct == n else min(1.0, centre + half_width)
    return low, high


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
    from scipy import special  # type: ignore[import-untyped]  # a training should not wait for its import

    _, only_a, only_b, _ = _paired_counts(correct_a, correct_b)
    # At one half the distribution is symmetric: the two tails are alike, and overlap where both counts are the same.
    return min(1.0, 2 * float(special.bdtr(min(only_a, only_b), only_a + only_b, 0.5)))


def paired_difference_interval(
    correct_a: npt.ArrayLike, correct_b: npt.ArrayLike, confidence: float = 0.95
) -> tuple[float, float]:
    """Interval for accuracy of A minus accuracy of B on the same examples.

    The two Wilson intervals are combined as if they were the sides of a triangle whose angle is the correlation of
    the two classifiers: two that fail on the same pictures are compared more sharply than by separate intervals.

    Source: R. G. Newcombe (1998), Improved confidence intervals for the difference between binomial proportions based
    on paired data, Statistics in Medicine 17, 2635-2650, method 10.

    Args:
      correct_a: bool [N], whether A is right, example by example.
      correct_b: bool [N], the same examples in the same order, for B.
      confidence: coverage in (0, 1).

    Raises:
      ValueError: the two are not vectors of one length, or are empty, or confidence is outside (0, 1).
    """
    both, only_a, only_b, neither = _paired_counts(correct_a, correct_b)
    n = both + only_a + only_b + neither
    right_a, right_b = both + only_a, both + only_b
    low_a, high_a = wilson_interval(right_a, n, confidence)
    low_b, high_b = wilson_interval(right_b, n, confidence)
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
      p_values: M values in [0, 1]; M may be 0.

    Returns:
      M corrected values, in the order of the arguments.

    Raises:
      ValueError: a value lies outside [0, 1].

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    p = np.asarray(p_values, float)
    if not ((p >= 0) & (p <= 1)).all():
        raise ValueError(f"p-values lie in [0, 1], got {list(p_values)}")
    order = np.argsort(p, kind="stable")
    steps = np.minimum(1.0, p[order] * np.arange(len(p), 0, -1))
    corrected = np.empty(len(p))
    corrected[order] = np.maximum.accumulate(steps)
    return corrected.tolist()


def _quotient(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """Elementwise float64 quotient, 0 where the denominator is 0."""
    return np.divide(numerator, denominator, out=np.zeros(len(numerator)), where=denominator > 0)


def _normal_quantile(confidence: float) -> float:
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie in (0, 1), got {confidence}")
    return NormalDist().inv_cdf((1 + confidence) / 2)


def _paired_counts(correct_a: npt.ArrayLike, correct_b: npt.ArrayLike) -> tuple[int, int, int, int]:
    """Examples that (both, only A, only B, neither) got right, as Python integers, which do not overflow."""
    a, b = np.asarray(correct_a, dtype=bool), np.asarray(correct_b, dtype=bool)
    if a.ndim != 1 or a.shape != b.shape or a.size == 0:
        raise ValueError(f"need two vectors of one length > 0, got shapes {a.shape} and {b.shape}")
    return int((a & b).sum()), int((a & ~b).sum()), int((~a & b).sum()), int((~a & ~b).sum())

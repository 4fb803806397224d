import math

import numpy as np
import pytest
from scipy.stats import ttest_1samp
from sklearn.calibration import calibration_curve

from jaxtl.report import statistics


def pairs(both: int, only_a: int, only_b: int, neither: int) -> tuple[np.ndarray, np.ndarray]:
    cells = [(True, True)] * both + [(True, False)] * only_a + [(False, True)] * only_b + [(False, False)] * neither
    a, b = np.array(cells).T
    return a, b


def test_calibration_by_hand():
    confidence, right = np.array([0.05, 0.95, 0.95, 0.91, 1.0]), np.array([False, True, True, False, True])
    bins, error = statistics.calibration(confidence, right)
    assert bins[0].tolist() == [1, 0.05, 0] and np.isnan(bins[1, 1:]).all()
    assert bins[9].tolist() == pytest.approx([4, 0.9525, 0.75])
    assert error == pytest.approx((1 * 0.05 + 4 * (0.9525 - 0.75)) / 5)


def test_accuracy_by_confidence_agrees_with_scikit_learn():
    rng = np.random.default_rng(0)
    confidence = rng.random(1000)
    right = rng.random(1000) < confidence**2
    bins, error = statistics.calibration(confidence, right)
    accuracy, mean = calibration_curve(right, confidence, n_bins=10)
    np.testing.assert_allclose(bins[:, 1:], np.stack([mean, accuracy], 1))
    assert error == pytest.approx(np.average(abs(mean - accuracy), weights=bins[:, 0]))
    assert statistics.calibration(np.ones(5), np.ones(5, bool))[1] == 0


# R. G. Newcombe (1998), Two-sided confidence intervals for the single proportion, Statistics in Medicine 17, table I.
@pytest.mark.parametrize(
    ("correct", "n", "expected"),
    [
        (81, 263, (0.2553, 0.3662)),
        (15, 148, (0.0624, 0.1605)),
        (0, 20, (0.0, 0.1611)),
        (1, 29, (0.0061, 0.1718)),
    ],
)
def test_wilson_interval_has_the_published_values(correct, n, expected):
    low, high = statistics.wilson_interval(correct, n)
    assert (low, high) == pytest.approx(expected, abs=5e-5)
    mirrored = statistics.wilson_interval(n - correct, n)
    assert mirrored == pytest.approx((1 - high, 1 - low))


def test_wilson_interval_reaches_the_ends():
    assert statistics.wilson_interval(0, 7)[0] == 0.0
    assert statistics.wilson_interval(7, 7)[1] == 1.0


@pytest.mark.parametrize(("correct", "n"), [(-1, 5), (6, 5), (0, 0)])
def test_wilson_interval_refuses_impossible_counts(correct, n):
    with pytest.raises(ValueError, match="cannot be right"):
        statistics.wilson_interval(correct, n)


@pytest.mark.parametrize(("only_a", "only_b"), [(0, 1), (3, 9), (12, 2), (40, 40), (100, 60)])
def test_mcnemar_is_the_exact_binomial_tail(only_a, only_b):
    n, k = only_a + only_b, min(only_a, only_b)
    tail = sum(math.comb(n, i) for i in range(k + 1)) / 2**n
    assert statistics.mcnemar(*pairs(50, only_a, only_b, 5)) == pytest.approx(min(1.0, 2 * tail))


def test_mcnemar_of_identical_classifiers_is_one():
    assert statistics.mcnemar(*pairs(5, 0, 0, 3)) == 1.0


# The example with cells 36, 12, 2, 0 of Newcombe (1998), paired data, method 10.
def test_paired_difference_interval_has_the_published_value():
    assert statistics.paired_difference_interval(*pairs(36, 12, 2, 0)) == pytest.approx((0.0569, 0.3404), abs=1e-4)


def test_paired_difference_interval_is_antisymmetric_and_contains_the_difference():
    a, b = pairs(700, 120, 60, 120)
    low, high = statistics.paired_difference_interval(a, b)
    assert low < 0.06 < high
    assert statistics.paired_difference_interval(b, a) == pytest.approx((-high, -low))


def test_paired_difference_interval_covers_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(0)
    cells = rng.choice(4, p=[0.6, 0.2, 0.1, 0.1], size=(1000, 150))  # true difference 0.1
    hits = 0
    for cell in cells:
        low, high = statistics.paired_difference_interval(cell <= 1, (cell == 0) | (cell == 2))
        hits += low <= 0.1 <= high
    assert 0.93 < hits / len(cells) < 0.98


@pytest.mark.parametrize("function", [statistics.mcnemar, statistics.paired_difference_interval])
def test_paired_statistics_refuse_unpaired_vectors(function):
    with pytest.raises(ValueError, match="one length"):
        function([True, False], [True])
    with pytest.raises(ValueError, match="one length"):
        function([], [])


# Worked by hand: sorted, times 4, 3, 2, 1 (for four values), never below the one before, at most 1.
@pytest.mark.parametrize(
    ("p_values", "expected"),
    [
        ([0.01, 0.02, 0.03, 0.04], [0.04, 0.06, 0.06, 0.06]),
        ([0.04, 0.001, 0.03, 0.005], [0.06, 0.004, 0.06, 0.015]),
        ([0.5, 0.9, 0.7], [1.0, 1.0, 1.0]),
        ([0.03], [0.03]),
        ([], []),
    ],
)
def test_holm_has_the_values_worked_by_hand(p_values, expected):
    assert statistics.holm(p_values) == pytest.approx(expected)


def test_holm_keeps_false_rejections_below_the_level():
    """Ten tests without an effect: the chance of any p below 0.05 is 40 % uncorrected, at most 5 % corrected."""
    p = np.random.default_rng(0).random((2000, 10))
    any_rejected = np.mean([min(statistics.holm(row)) < 0.05 for row in p])
    assert 0.035 < any_rejected < 0.065
    assert (p.min(axis=1) < 0.05).mean() > 0.35


def test_the_interval_across_draws_is_students():
    values = [0.71, 0.74, 0.72, 0.78]
    found = statistics.spread(values)
    expected = ttest_1samp(values, 0).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    assert (found.n, found.mean, found.sd) == (4, pytest.approx(0.7375), pytest.approx(np.std(values, ddof=1)))
    assert statistics.spread([0.9, 1.0], bounds=(0, 1))[3:] == (pytest.approx(0.95 - 12.706 * 0.05, abs=1e-3), 1)

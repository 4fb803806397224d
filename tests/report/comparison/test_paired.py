import numpy as np
import pytest

from jaxtl.report import statistics
from jaxtl.report.comparison.paired import differences, groups


def test_every_pair_is_tested_and_corrected():
    rng = np.random.default_rng(0)
    best, middle, last = (rng.random(400) < accuracy for accuracy in (0.9, 0.8, 0.6))
    pairs = [(best, middle), (best, last), (last, middle)]
    found = differences(pairs)
    assert [f.difference for f in found] == pytest.approx([a.mean() - b.mean() for a, b in pairs])
    assert [f.p_value for f in found] == [statistics.mcnemar(a, b) for a, b in pairs]
    assert [f.p_holm for f in found] == statistics.holm([f.p_value for f in found])
    for f, (a, b) in zip(found, pairs, strict=True):
        assert f.interval == statistics.paired_difference_interval(a, b)
        assert f.interval[0] < f.difference < f.interval[1]


def test_a_single_pair_needs_no_correction_and_no_pair_no_test():
    (alone,) = differences([(np.array([True, True, False]), np.array([False, True, False]))])
    assert alone.p_holm == alone.p_value == 1.0
    assert differences([]) == []


def test_groups_keep_the_order_of_their_first_members():
    assert groups([("1", "cat"), ("2", "dog"), ("1", "cat"), ("3", "dog"), ("2", "dog")]) == [[0, 2], [1, 4], [3]]
    assert groups([]) == []

import pytest

from jaxtl.report import text


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0.4213, "0.42 s"),
        (9.94, "9.9 s"),
        (9.99, "10 s"),
        (59.7, "1 min 0 s"),
        (725, "12 min 5 s"),
        (3599.8, "1 h 00 min"),
        (11220, "3 h 07 min"),
        (None, "—"),
        (float("nan"), "—"),
    ],
)
def test_duration(seconds, expected):
    assert text.duration(seconds) == expected


def test_speed():
    assert [text.speed(value) for value in (1234.4, 10.4, 4.62)] == ["1,234 images/s", "10 images/s", "4.6 images/s"]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0.775, "0.7750"),
        (2.302585, "2.303"),
        (12345.6, "1.235e+04"),
        (1234.0, "1234"),
        (None, "—"),
        (float("inf"), "—"),
    ],
)
def test_loss(value, expected):
    assert text.loss(value) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0, "0"), (650, "650"), (2050, "2.05 k"), (999_999, "1 M"), (26_494_090, "26.5 M"), (1.3e9, "1.3 G"), (None, "—")],
)
def test_compact(value, expected):
    assert text.compact(value) == expected


@pytest.mark.parametrize(
    ("difference", "expected"), [(-0.0126, "-1.26"), (0.5, "+50.00"), (0.0, "0.00"), (-0.00001, "0.00")]
)
def test_points(difference, expected):
    assert text.points(difference) == expected


@pytest.mark.parametrize(
    ("p", "expected"), [(0.0, "< 0.001"), (0.00099, "< 0.001"), (0.001, "0.001"), (0.0456, "0.046"), (1.0, "1")]
)
def test_p_value(p, expected):
    assert text.p_value(p) == expected


@pytest.mark.parametrize(("count", "expected"), [(1, "1 image"), (0, "0 images"), (1797, "1,797 images")])
def test_counted(count, expected):
    assert text.counted(count, "image") == expected

import numpy as np
import pytest

from jaxtl.report.plots.labels import line_to, place_labels

BOUNDS = (0.0, 0.0, 400.0, 300.0)


def around(points, radius=4.0):
    return [(x - radius, y - radius, x + radius, y + radius) for x, y in points]


def overlap(a, b):
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def test_a_label_that_has_room_stands_to_the_right():
    assert place_labels([(100, 100)], [(50, 10)], [], BOUNDS, gap=8) == [(108, 95, 158, 105)]


def test_a_label_at_the_right_edge_stands_to_the_left():
    assert place_labels([(380, 100)], [(50, 10)], [], BOUNDS, gap=8) == [(322, 95, 372, 105)]


def test_an_obstacle_is_avoided():
    (box,) = place_labels([(100, 100)], [(50, 10)], [(110, 90, 300, 110)], BOUNDS, gap=8)
    assert box[2] == 92, "to the left of the point, since the right is taken"


@pytest.mark.parametrize("seed", range(5))
def test_labels_of_a_crowd_cover_nothing_and_stay_inside(seed):
    points = [tuple(point) for point in np.random.default_rng(seed).normal((200, 150), 30, (18, 2))]
    obstacles = around(points)
    boxes = place_labels(points, [(60, 11)] * 18, obstacles, BOUNDS)
    for i, box in enumerate(boxes):
        assert not any(overlap(box, other) for other in [*boxes[:i], *obstacles])
        assert box[0] >= 0 and box[1] >= 0 and box[2] <= 400 and box[3] <= 300
        assert box[2] - box[0] == pytest.approx(60) and box[3] - box[1] == pytest.approx(11)
    assert boxes == place_labels(points, [(60, 11)] * 18, obstacles, BOUNDS)


@pytest.mark.parametrize("seed", range(5))
def test_the_line_to_a_label_crosses_no_other_label(seed):
    points = [tuple(point) for point in np.random.default_rng(seed).normal((200, 150), (60, 35), (14, 2))]
    boxes = place_labels(points, [(60, 11)] * 14, around(points), BOUNDS)
    lines = [line_to(point, box) for point, box in zip(points, boxes, strict=True)]
    assert max(len(line) for line in lines) > 5, "some labels are not beside their points"
    for i, line in enumerate(lines):
        assert not any(overlap(box, part) for part in line for box in boxes[:i] + boxes[i + 1 :])


def test_a_point_that_comes_twice_has_two_places():
    first, second = place_labels([(100, 100)] * 2, [(50, 10)] * 2, around([(100, 100)]), BOUNDS)
    assert not overlap(first, second)


def test_where_nothing_is_free_the_least_is_covered():
    (box,) = place_labels([(50, 50)], [(40, 10)], [(0, 0, 100, 100), (0, 0, 100, 60)], (0, 0, 100, 100))
    assert box[1] >= 58, "where one obstacle lies, not two"
    assert place_labels([], [], [], BOUNDS) == []

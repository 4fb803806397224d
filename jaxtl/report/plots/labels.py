"""Where to write names beside points, so that they cover neither each other nor what is drawn.

All lengths are in one unit, say points; a box is (left, bottom, right, top).
"""

from collections.abc import Iterator, Sequence

import numpy as np

Box = tuple[float, float, float, float]

# Directions from the point to its label in degrees, the most readable first; and how many distances are tried.
DIRECTIONS = (0, 180, 45, -45, 135, -135, 90, -90, 20, -20, 160, -160, 65, -65, 115, -115)
STEPS = 24
CROSSING = 0.01  # what covering a line counts, beside covering anything else


def place_labels(
    points: Sequence[tuple[float, float]],
    sizes: Sequence[tuple[float, float]],
    obstacles: Sequence[Box],
    bounds: Box,
    *,
    gap: float = 8.0,
    step: float = 9.0,
) -> list[Box]:
    """Put a label near each point: the nearest of many places around it that is free.

    Labels keep clear of the straight lines that may lead to other labels, and their own line does not cross a label.
    Points are served from the top downwards, and the result depends on the arguments alone. Where nothing is free the
    place that covers the least is taken.

    Args:
      points: N points to label.
      sizes: (width, height) of each label.
      obstacles: boxes that no label may touch, those of the points themselves too.
      bounds: the box that labels stay inside.
      gap: from a point to the nearest edge of its label.
      step: how much farther away the next place is that is tried.

    Returns:
      N boxes.
    """
    blocked, labels, lines = _array(obstacles), _array([]), _array([])
    placed: dict[int, Box] = {}
    for i in sorted(range(len(points)), key=lambda i: (-points[i][1], points[i][0], i)):
        best, least = (0.0, 0.0, 0.0, 0.0), np.inf
        for box in _candidates(points[i], sizes[i], gap, step):
            here = _array([box])
            covered = _overlap(here, blocked) + _overlap(here, labels) + _outside(box, bounds)
            if covered < least:  # a crossed line is ugly, a covered name is lost
                covered += CROSSING * (_overlap(here, lines) + _overlap(line_to(points[i], box), labels))
            if covered < least:
                best, least = box, covered
            if covered == 0:
                break
        placed[i] = best
        labels = np.concatenate([labels, _array([best])])
        lines = np.concatenate([lines, line_to(points[i], best)])
    return [placed[i] for i in range(len(points))]


def line_to(point: tuple[float, float], box: Box, width: float = 2.0) -> np.ndarray:
    """The line from a point to the nearest point of its label: small boxes [P, 4], the ends left out."""
    end = np.clip(point, box[:2], box[2:])
    count = int(np.hypot(*(end - point)) // width)
    centres = np.asarray(point) + np.linspace(0, 1, count + 2)[1:-1, None] * (end - point)
    return np.concatenate([centres - width / 2, centres + width / 2], axis=1)


def _candidates(point: tuple[float, float], size: tuple[float, float], gap: float, step: float) -> Iterator[Box]:
    (x, y), (width, height) = point, size
    for distance in gap + step * np.arange(STEPS):
        for angle in np.deg2rad(DIRECTIONS):
            # The nearest edge or corner is that far away; straight ahead the label is centred.
            across, up = distance * np.cos(angle), distance * np.sin(angle)
            left = x - width / 2 if abs(across) < 1e-9 else x + across - (width if across < 0 else 0)
            bottom = y - height / 2 if abs(up) < 1e-9 else y + up - (height if up < 0 else 0)
            yield float(left), float(bottom), float(left + width), float(bottom + height)


def _array(boxes: Sequence[Box]) -> np.ndarray:
    """[M, 4], also where M is 0."""
    return np.array(boxes, float).reshape(-1, 4)


def _overlap(boxes: np.ndarray, others: np.ndarray) -> float:
    """Area that boxes [P, 4] and others [M, 4] have in common, summed over all pairs."""
    low = np.maximum(boxes[:, None, :2], others[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    return float((high - low).clip(min=0).prod(axis=-1).sum())


def _outside(box: Box, bounds: Box) -> float:
    """Area of the box beyond the bounds."""
    if box[0] >= bounds[0] and box[1] >= bounds[1] and box[2] <= bounds[2] and box[3] <= bounds[3]:
        return 0.0
    return (box[2] - box[0]) * (box[3] - box[1]) - _overlap(_array([box]), _array([bounds]))

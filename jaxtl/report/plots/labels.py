"""Where to write names beside points, so that they cover neither each other nor what is drawn.

All lengths are in one unit, say points; a box is (left, bottom, right, top).
"""

from collections.abc import Iterator, Sequence

import numpy as np

Box = tuple[float, float, float, float]

# Directions from the point to its label, the most readable first, as (x, y); and how far away, in steps.
DIRECTIONS = ((1, 0), (-1, 0), (1, 1), (1, -1), (-1, 1), (-1, -1), (0, 1), (0, -1))
STEPS = 24


def place_labels(
    points: Sequence[tuple[float, float]],
    sizes: Sequence[tuple[float, float]],
    obstacles: Sequence[Box],
    bounds: Box,
    *,
    gap: float = 8.0,
    step: float = 9.0,
) -> list[Box]:
    """Put a label near each point: the nearest place in eight directions that is free.

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
    taken = list(obstacles)
    placed: dict[int, Box] = {}
    for i in sorted(range(len(points)), key=lambda i: (-points[i][1], points[i][0], i)):
        blocked = np.array(taken, float).reshape(-1, 4)
        best: tuple[float, Box] | None = None
        for box in _candidates(points[i], sizes[i], gap, step):
            covered = _overlap(box, blocked) + _outside(box, bounds)
            if best is None or covered < best[0]:
                best = covered, box
            if covered == 0:
                break
        assert best is not None
        placed[i] = best[1]
        taken.append(best[1])
    return [placed[i] for i in range(len(points))]


def _candidates(point: tuple[float, float], size: tuple[float, float], gap: float, step: float) -> Iterator[Box]:
    (x, y), (width, height) = point, size
    for distance in gap + step * np.arange(STEPS):
        for right, up in DIRECTIONS:
            reach = distance if right * up == 0 else distance / 2**0.5  # the corner, not the sides, is that far away
            left = x - width / 2 if right == 0 else x + reach if right > 0 else x - reach - width
            bottom = y - height / 2 if up == 0 else y + reach if up > 0 else y - reach - height
            yield left, bottom, left + width, bottom + height


def _overlap(box: Box, others: np.ndarray) -> float:
    """Area of the box that the others cover, those that overlap each other counted again. Others: [M, 4]."""
    width = np.minimum(box[2], others[:, 2]) - np.maximum(box[0], others[:, 0])
    height = np.minimum(box[3], others[:, 3]) - np.maximum(box[1], others[:, 1])
    return float((width.clip(min=0) * height.clip(min=0)).sum())


def _outside(box: Box, bounds: Box) -> float:
    """Area of the box beyond the bounds."""
    inside = _overlap(box, np.array([bounds], float))
    return max((box[2] - box[0]) * (box[3] - box[1]) - inside, 0.0) if not _within(box, bounds) else 0.0


def _within(box: Box, bounds: Box) -> bool:
    return box[0] >= bounds[0] and box[1] >= bounds[1] and box[2] <= bounds[2] and box[3] <= bounds[3]

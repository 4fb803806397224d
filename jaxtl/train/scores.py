"""Accuracy, precision, recall and F1 from a confusion matrix."""

from typing import Any

import numpy as np


def classification_scores(confusion: np.ndarray) -> dict[str, Any]:
    """Accuracy and macro precision, recall and F1 of a confusion matrix.

    Macro means are over the classes that have test images, each of which weighs the same. A quotient without a
    denominator counts 0: the precision of a class that was never predicted. It is what scikit-learn gives by
    ``precision_recall_fscore_support(labels=classes_with_images, average="macro", zero_division=0)``. Macro recall is
    what scikit-learn calls balanced accuracy.

    Args:
      confusion: int [K, K], counts; rows are true classes, columns predicted ones.

    Returns:
      ``accuracy``, ``precision``, ``recall``, ``f1``: floats in [0, 1]; ``per_class``: one
      ``{"precision", "recall", "f1", "support"}`` a class, in class order.
    """
    right, predicted, support = np.diagonal(confusion), confusion.sum(axis=0), confusion.sum(axis=1)
    scores = {
        "precision": right / np.maximum(predicted, 1),
        "recall": right / np.maximum(support, 1),
        "f1": 2 * right / np.maximum(predicted + support, 1),  # = 2PR / (P + R), without the intermediate 0 / 0
    }
    lines = zip(*(values.tolist() for values in scores.values()), support.tolist(), strict=True)
    return {
        "accuracy": float(right.sum() / confusion.sum()),
        **{name: float(values[support > 0].mean()) for name, values in scores.items()},
        "per_class": [dict(zip((*scores, "support"), line, strict=True)) for line in lines],
    }

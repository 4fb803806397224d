import numpy as np
import pytest
from sklearn.metrics import precision_recall_fscore_support

from jaxtl.train.scores import classification_scores


def labels_of(confusion: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The label vectors that a confusion matrix was counted from."""
    true, predicted = np.indices(confusion.shape)
    return np.repeat(true.ravel(), confusion.ravel()), np.repeat(predicted.ravel(), confusion.ravel())


@pytest.mark.parametrize("num_classes", [1, 2, 5, 10, 100])
@pytest.mark.parametrize("density", [0.1, 0.5, 1.0])  # sparse ones have empty rows and columns
def test_scores_agree_with_scikit_learn(num_classes, density):
    rng = np.random.default_rng(num_classes)
    confusion = rng.integers(0, 30, (num_classes, num_classes)) * (rng.random((num_classes, num_classes)) < density)
    confusion[0, 0] += 1
    true, predicted = labels_of(confusion)
    classes = range(num_classes)
    scores = classification_scores(confusion)

    tested = np.unique(true)  # a class without test images has no share in the macro means
    macro = precision_recall_fscore_support(true, predicted, labels=tested, average="macro", zero_division=0)
    assert [scores["precision"], scores["recall"], scores["f1"]] == pytest.approx(macro[:3], abs=1e-12)
    assert scores["accuracy"] == pytest.approx((true == predicted).mean())
    for name, expected in zip(
        ("precision", "recall", "f1", "support"),
        precision_recall_fscore_support(true, predicted, labels=classes, zero_division=0),
        strict=True,
    ):
        np.testing.assert_allclose([line[name] for line in scores["per_class"]], expected, atol=1e-12)


def test_a_class_that_is_never_predicted_counts_zero_and_one_without_test_images_not_at_all():
    scores = classification_scores(np.array([[3, 1, 0], [2, 0, 0], [0, 0, 0]]))
    assert scores["per_class"][1] == {"precision": 0.0, "recall": 0.0, "f1": 0.0, "support": 2}
    assert scores["per_class"][2] == {"precision": 0.0, "recall": 0.0, "f1": 0.0, "support": 0}
    assert scores["accuracy"] == 0.5
    assert scores["precision"] == pytest.approx(3 / 5 / 2)
    perfect = classification_scores(np.diag([5, 7, 0]))
    assert (perfect["accuracy"], perfect["f1"], perfect["recall"]) == (1.0, 1.0, 1.0)

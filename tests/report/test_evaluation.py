"""Sentences on figures that would otherwise pass for good ones."""

import numpy as np
import pytest

from jaxtl.report.evaluation import majority, remarks_on
from jaxtl.report.html import on_training

NAMES = ["daisy", "rose", "tulip"]


def test_the_majority_baseline_is_the_largest_class_of_the_test_images():
    assert majority(np.array([[1, 1, 0], [5, 0, 1], [0, 0, 2]]), NAMES) == {"class": "rose", "accuracy": 0.6}


def test_a_model_that_has_learned_is_not_remarked_upon():
    assert remarks_on(np.diag([50, 40, 30]) + 1, NAMES) == []


def test_a_collapsed_model_is_told():
    found = remarks_on(np.array([[17, 0, 0], [24, 0, 0], [20, 0, 0]]), NAMES)
    assert found == [
        "The model is no better than always naming “rose”, which gets 39.34 % of the test images right: it may not "
        "have learned at all. Try a lower learning rate, more epochs, or other weights to start from.",
        "The model names 1 of 3 classes; it never names “rose”, “tulip”.",
    ]


def test_a_model_that_is_barely_better_than_the_majority_is_told():
    (found,) = remarks_on(np.array([[5, 4, 3], [3, 5, 4], [4, 3, 5]]), NAMES)
    assert found.startswith("The test cannot tell the model from always naming “daisy”, which gets 33.33 %")


def test_classes_without_test_images_are_named_and_many_are_counted():
    confusion = np.zeros((9, 9), int)
    confusion[0, 0] = confusion[1, 1] = 100
    (found,) = remarks_on(confusion, [f"c{i}" for i in range(9)])
    assert found == (
        "Without test images, and so left out of the macro means: “c2”, “c3”, “c4”, “c5”, “c6” and 2 more."
    )


@pytest.mark.parametrize("right", [0, 5])
def test_images_of_one_class_alone_have_no_baseline_to_beat(right):
    confusion = np.array([[right, 5], [0, 0]])
    assert not any("always naming" in sentence for sentence in remarks_on(confusion, NAMES[:2]))


def test_what_training_did_about_rare_classes_is_told_by_phase():
    plain = {"balanced_sampling": False, "class_weights": "none", "ema": 0.0}
    assert on_training([plain, {}]) == []
    assert on_training([plain, {**plain, "balanced_sampling": True, "ema": 0.99}, {"class_weights": "balanced"}]) == [
        "Phase 1 drew every class equally often (balanced_sampling): its training curves do, too.",
        "Phase 1 validated and kept the moving average of its weights (ema=0.99).",
        "Phase 2 weighted its loss by class (class_weights: balanced), but not its curves.",
    ]
    (told,) = on_training([{"class_weights": {"daisy": 20.0, "rose": 0.5}}])
    assert "(class_weights: daisy 20, rose 0.5)" in told

import numpy as np
import pytest

from jaxtl.report.compared_runs import FinishedRun
from jaxtl.train.scores import classification_scores


def _finished(name, right, **changes):
    right = np.asarray(right, bool)
    labels, classes = np.arange(len(right)) % 2, ("cat", "dog")
    confusion = np.zeros((2, 2), np.int64)
    np.add.at(confusion, (labels, np.where(right, labels, 1 - labels)), 1)
    scores = classification_scores(confusion)
    curve = [{"epoch": e, "train_accuracy": e / 4, "val_accuracy": e / 5} for e in (1, 2, 3)]
    fields = {
        "folder": f"runs/{name}",
        "description": f"how {name} was trained",
        "model": "cnn",
        "device": "cpu",
        "reported": "",
        **{score: scores[score] for score in ("accuracy", "precision", "recall", "f1")},
        "train_s": 90.0,
        "inference_s": 0.5,
        "params_total": 26_500_000,
        "params_trained": 2050,
        "per_class": 0,
        "class_names": classes,
        "confusion": confusion,
        "history": curve,
        "test_images": tuple((str(i), classes[label]) for i, label in enumerate(labels)),
        "right": right,
    }
    return FinishedRun(name, **{**fields, **changes})


@pytest.fixture(scope="session")
def finished():
    """``finished(name, right, **fields)``: a run that got those test images right."""
    return _finished

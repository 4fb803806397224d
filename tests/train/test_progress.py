import json

import pytest

from jaxtl.train.progress import Progress, best_epoch, out_of_patience


def lines(values, monitor="val_loss", start=1):
    return [{"epoch": epoch, monitor: value} for epoch, value in enumerate(values, start=start)]


@pytest.mark.parametrize(
    ("monitor", "values", "best"),
    [
        ("val_loss", [0.5, 0.3, 0.4], 2),
        ("val_accuracy", [0.5, 0.3, 0.4], 1),
        ("val_accuracy", [0.5, 0.8, 0.4], 2),
        ("val_loss", [0.5, 0.3, 0.3], 2),  # the earliest of equals
        ("val_accuracy", [0.7, 0.7, 0.7], 1),
        ("val_f1", [0.5, 0.8, 0.4], 2),
        ("val_balanced_accuracy", [0.5, 0.8, 0.4], 2),
        ("val_loss", [None, None], None),
        ("val_loss", [], None),
    ],
)
def test_best_epoch(monitor, values, best):
    assert best_epoch(lines(values, monitor), monitor) == best


def test_epochs_are_named_by_number_and_not_by_place():
    assert best_epoch(lines([0.5, 0.3, 0.4], start=11), "val_loss") == 12


@pytest.mark.parametrize(
    ("monitor", "values", "patience", "out"),
    [
        ("val_loss", [0.5, 0.6], 2, False),
        ("val_loss", [0.5, 0.6, 0.7], 2, True),
        ("val_loss", [0.5, 0.6, 0.4], 2, False),
        ("val_loss", [0.5, 0.5, 0.5], 2, True),  # an equal value is nothing better
        ("val_accuracy", [0.5, 0.6, 0.7], 2, False),
        ("val_accuracy", [0.5, 0.4, 0.3], 2, True),
        ("val_loss", [0.1, 0.9, 0.9, 0.9, 0.9], 0, False),  # 0 switches it off
        ("val_loss", [None, None, None], 1, False),
        ("val_loss", [], 1, False),
    ],
)
def test_out_of_patience(monitor, values, patience, out):
    assert out_of_patience(lines(values, monitor), monitor, patience) is out


def test_patience_starts_anew_in_every_phase():
    progress = Progress(
        phase=1,
        history=[{"phase_index": 0, "epoch": 1, "val_loss": 0.1}]
        + [{"phase_index": 1, "epoch": epoch, "val_loss": 0.9} for epoch in (2, 3)],
    )
    assert [line["epoch"] for line in progress.lines()] == [2, 3]
    assert best_epoch(progress.lines(), "val_loss") == 2
    assert not out_of_patience(progress.lines(), "val_loss", 2)


def test_progress_survives_json():
    progress = Progress(phase=1, step=3, total_step=8, seconds=1.5, compile_s=2.5, history=lines([0.1]))
    assert Progress(**json.loads(json.dumps(vars(progress)))) == progress

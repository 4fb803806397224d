import io
import re

import numpy as np
import pytest
from rich.console import Console

from jaxtl.report.console import RunConsole

LINE = {
    "phase": "head+stem",
    "epoch": 2,
    "train_loss": 1.23456,
    "train_accuracy": 0.5,
    "val_loss": 2.0,
    "val_accuracy": 0.25,
    "learning_rate": 0.001,
    "images_per_s": 1234.5,
    "seconds": 61.0,
}
SUMMARY = {
    "test": {"accuracy": 0.5, "loss": 1.5, "precision": 0.51, "recall": 0.52, "f1": 0.53, "n": 100},
    "time": {"compile_s": 2.0, "train_s": 90.0, "inference_s": 0.5, "total_s": 100.0},
    "params": {"total": 12345, "trainable": 45},
    "best_epoch": 7,
    "epochs_run": 9,
    "comparison": {"runs": [{"name": "this run", "accuracy": 0.5}, {"name": "scratch", "accuracy": 0.25}]},
}


def shown(terminal):
    """A console and what it has printed so far."""
    screen = io.StringIO()
    console = RunConsole(Console(file=screen, force_terminal=terminal, width=120, color_system=None))
    return console, screen


def an_epoch(console):
    console.on_epoch_start("head+stem", 2, 5, 1000)
    console.on_images(100)
    console.on_images(400)
    console.on_images(1000)
    console.on_epoch_end(LINE)


def test_what_is_no_terminal_gets_lines_and_no_control_characters():
    console, screen = shown(terminal=False)
    console.say("[bold]\\ is no markup")
    console.parameters({"stem": {"kernel": np.ones((3, 3, 1, 4), np.float32)}})
    console.on_compile("train step", 1.5)
    an_epoch(console)
    console.summary("a run", SUMMARY, "runs/a/report/index.html")
    text = screen.getvalue()
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f]", text)
    assert "[bold]\\ is no markup" in text
    assert "ETA" not in text
    assert len([line for line in text.splitlines() if line.startswith("Epoch")]) == 1


def test_parameters_are_listed_with_shape_and_total():
    console, screen = shown(terminal=False)
    console.parameters({"stem": {"kernel": np.ones((3, 3, 1, 4), np.float32)}, "head": {"bias": np.zeros(5)}})
    text = screen.getvalue()
    assert re.search(r"stem/kernel +\| \(3, 3, 1, 4\)", text)
    assert "Total: 41" in text


def test_a_long_line_is_not_broken():
    console, screen = shown(terminal=False)
    console.say("word " * 100)
    assert screen.getvalue().count("\n") == 1


def test_the_compile_time_is_told():
    console, screen = shown(terminal=False)
    console.on_compile("train step", 1.5)
    assert screen.getvalue() == "Compiled the train step in 1.5 s.\n"


def test_an_epoch_is_one_line():
    console, screen = shown(terminal=False)
    an_epoch(console)
    assert screen.getvalue() == (
        "Epoch   2/5  head+stem  train loss 1.2346 accuracy 50.00 %  val loss 2.0000 accuracy 25.00 %  lr 0.001  "
        "1,234 images/s  1 min 1 s\n"
    )


def test_an_epoch_without_validation():
    console, screen = shown(terminal=False)
    console.on_epoch_start("all", 1, 1, 10)
    console.on_epoch_end({**LINE, "val_loss": None, "val_accuracy": None})
    assert "val" not in screen.getvalue()
    assert "train loss 1.2346" in screen.getvalue()


def test_every_line_is_handed_on_to_be_kept():
    console, _ = shown(terminal=False)
    kept = []
    console.keep_line = kept.append
    an_epoch(console)
    assert kept == [LINE]


def test_a_terminal_shows_a_bar_with_rate_and_eta():
    console, screen = shown(terminal=True)
    console.on_epoch_start("head+stem", 2, 5, 1000)
    console.on_images(100)
    console.on_images(400)
    console._bar.refresh()
    bar = screen.getvalue()
    assert "Epoch 2/5 (head+stem)" in bar
    assert "40 %" in bar
    assert re.search(r"[\d,]+ images/s", bar)
    assert re.search(r"ETA \d:\d\d:\d\d|ETA -:--:--", bar)
    console.on_epoch_end(LINE)
    assert console._bar is None
    assert "Epoch   2/5  head+stem  train loss 1.2346" in screen.getvalue()


def test_a_resumed_epoch_does_not_count_what_was_done_before(monkeypatch):
    """From image 900 on, 100 images in two seconds: 50 a second, not 500."""
    now = iter([0.0, 10.0, 12.0])
    monkeypatch.setattr("jaxtl.report.console.time.perf_counter", lambda: next(now))
    console, _ = shown(terminal=True)
    console.on_epoch_start("all", 1, 1, 1000)
    console.on_images(900)
    console.on_images(1000)
    assert console._bar.tasks[0].fields["rate"] == "50 images/s"
    console.close()


def test_closing_takes_the_bar_away_and_may_be_repeated():
    console, screen = shown(terminal=True)
    console.on_epoch_start("all", 1, 1, 10)
    console.close()
    console.close()
    assert screen.getvalue().endswith("\x1b[2K")  # the line is erased
    console.on_images(5)  # no bar: nothing happens


@pytest.mark.parametrize(
    "row",
    [
        r"test accuracy +│ 50\.00 % \(95 % interval 40\.\d+ % to 59\.\d+ %\)",
        r"test loss +│ 1\.5",
        r"macro precision, recall, F1 +│ 51\.00 %, 52\.00 %, 53\.00 %",
        r"epochs run, tested +│ 9, 7",
        r"parameters, trained +│ 12,345, 45",
        r"time to train +│ 1 min 30 s",
        r"time to test 100 images +│ 0\.5 s",
        r"scratch, test accuracy +│ 25\.00 %",
        r"report +│ runs/a/report/index\.html",
    ],
)
def test_the_closing_table(row):
    console, screen = shown(terminal=False)
    console.summary("a run", SUMMARY, "runs/a/report/index.html")
    assert "a run" in screen.getvalue()
    assert re.search(row, screen.getvalue())


def test_passes_whose_features_are_kept_are_told_with_the_time_they_saved():
    console, screen = shown(terminal=False)
    console.on_pass_start("Features of training images", 1000)
    console.on_images(500)
    console.on_pass_end("training", 1, 1000, 52.0)
    console.on_pass_end("training", 8, 1000, 52.0)
    console.on_time_saved(5, 1, 208.0)
    console.on_time_saved(5, 8, -156.0)
    assert screen.getvalue().splitlines() == [
        "The backbone ran over the 1,000 training images in 52 s; their features are kept.",
        "The backbone ran over the 1,000 training images, 8 views of each in 52 s; their features are kept.",
        "The backbone ran 1 time over the images, not 5 times, which saved about 3 min 28 s.",
        "The backbone ran 8 times over the images, not 5 times, which saved no time; more epochs or fewer views would.",
    ]


def test_a_pass_has_a_bar_on_a_terminal():
    console, screen = shown(terminal=True)
    console.on_pass_start("Features of training images", 1000)
    console.on_images(100)
    console.on_images(400)
    console.close()
    assert "Features of training images" in screen.getvalue()


def test_a_pass_amid_an_epoch_leaves_no_bar_behind():
    console, _ = shown(terminal=True)
    console.on_epoch_start("head", 1, 5, 1000)
    console.on_pass_start("Features of validation images", 100)
    console.close()
    assert console.console._live_stack == []

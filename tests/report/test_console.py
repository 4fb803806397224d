import io
import re
import sys
import types

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
    "val_f1": 0.2,
    "learning_rate": 0.001,
    "images_per_s": 1234.5,
    "seconds": 61.0,
}
SUMMARY = {
    "test": {
        "accuracy": 0.5,
        "loss": 1.5,
        "precision": 0.51,
        "recall": 0.52,
        "f1": 0.53,
        "top5": 0.9,
        "n": 100,
        "majority": {"class": "[b]rose", "accuracy": 0.3},
        "remarks": ["Nobody was named [b]daisy."],
    },
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


def test_parameters_are_listed_by_stage_and_once():
    console, screen = shown(terminal=False)
    net = {"stem": {"kernel": np.ones((3, 3, 1, 4), np.float32), "bias": np.ones(4)}, "head": {"bias": np.zeros(5)}}
    console.parameters(net)
    first = screen.getvalue()
    assert re.search(r"stem +40", first) and re.search(r"head +5", first) and re.search(r"in all +45", first)
    console.parameters(net)
    assert screen.getvalue()[len(first) :] == "The network has 45 parameters, in stages as above.\n"
    console.parameters({**net, "head": {"bias": np.zeros(6)}})
    assert re.search(r"head +6", screen.getvalue())


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
        "Epoch   2/5  head+stem  train loss 1.2346 accuracy 50.00 %  val loss 2.0000 accuracy 25.00 % F1 20.00 %  lr "
        "0.001  1,234 images/s  1 min 1 s\n"
    )


def test_an_epoch_without_validation():
    console, screen = shown(terminal=False)
    console.on_epoch_start("all", 1, 1, 10)
    console.on_epoch_end({**LINE, "val_loss": None, "val_accuracy": None, "val_f1": None})
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


def test_a_title_with_brackets_is_shown_as_it_is():
    console, screen = shown(terminal=True)
    console.on_pass_start("cnn [/best]", 3)
    console._bar.refresh()
    console.close()
    assert "cnn [/best]" in screen.getvalue()


def test_a_resumed_epoch_does_not_count_what_was_done_before(monkeypatch):
    """From image 900 on, 100 images in two seconds: 50 a second, not 500."""
    now = iter([10.0, 12.0])
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
        r"true class among the top 5 +│ 90\.00 %",
        r"always naming \[b\]rose +│ 30\.00 %",
        r"Nobody was named \[b\]daisy\.",
        r"test loss +│ 1\.5",
        r"macro precision, recall, F1 +│ 51\.00 %, 52\.00 %, 53\.00 %",
        r"epochs run, tested +│ 9, 7",
        r"parameters, trained +│ 12,345, 45",
        r"time to train +│ 1 min 30 s",
        r"time to test 100 images +│ 0\.5 s",
        r"\nscratch +[━╸-]+ +25\.00 %",
        r"report +│ runs/a/report/index\.html",
    ],
)
def test_the_closing_table(row):
    console, screen = shown(terminal=False)
    console.summary("a run", SUMMARY, "runs/a/report/index.html")
    assert "a run" in screen.getvalue()
    assert re.search(row, screen.getvalue())


def test_remarks_are_counted_with_an_example_and_none_is_silent():
    console, screen = shown(terminal=False)
    console.remarks([], "runs/a/remarks.csv")
    console.remarks([("a.jpg", "it is empty", "skipped")], "runs/a/remarks.csv")
    console.remarks([("a.jpg", "it is empty", "skipped"), ("b.jpg", "it is odd", "kept")], "runs/a/remarks.csv")
    assert screen.getvalue().splitlines() == [
        f"{number} on the images in runs/a/remarks.csv, for example a.jpg: it is empty (skipped)."
        for number in ("1 remark", "2 remarks")
    ]


def test_passes_whose_features_are_kept_are_told_with_the_time_they_saved():
    console, screen = shown(terminal=False)
    console.on_pass_start("Features of training images", 1000)
    console.on_images(500)
    console.on_pass_end("training", 1, 1000, 52.0)
    console.on_pass_end("training", 8, 1000, 52.0)
    console.on_time_saved(5, 1, 208.0)
    console.on_time_saved(5, 8, -156.0)
    console.on_time_saved(1, 1, 0.0)
    assert screen.getvalue().splitlines() == [
        "Computed the features of the 1,000 training images in 52 s.",
        "Computed the features of the 1,000 training images, 8 views of each, in 52 s.",
        "Keeping features saved about 3 min 28 s: the backbone ran once over the training images and not 5 times.",
        "Keeping features saved no time: the backbone ran 8 times over the training images for 5 epochs.",
        "Keeping features saved no time: the backbone ran once over the training images for 1 epoch.",
    ]


def test_why_features_are_not_kept_and_for_whom_a_run_waits():
    console, screen = shown(terminal=False)
    console.on_pass_awaited()
    console.on_pass_unkept("training", 24_000, 196_608_000, 0.1e9)
    console.on_pass_unkept("validation", 1, 8_192, 0.1e9)
    ending = "more than keep_features_gb=0.1, so they are not kept on disk."
    assert screen.getvalue().splitlines() == [
        "Waiting for another process that computes the same features.",
        f"The features of the 24,000 training images take 0.1966 GB, {ending}",
        f"The features of the 1 validation image take 8.192e-06 GB, with those before {ending}",
    ]


# --- many epochs, pipes and notebooks ---


@pytest.fixture
def clock(monkeypatch):
    """Seconds that pass when a test says so."""
    now = [0.0]
    monkeypatch.setattr("jaxtl.report.console.time.monotonic", lambda: now[0])
    monkeypatch.setattr("jaxtl.report.console.time.perf_counter", lambda: now[0])
    return now


def epochs(console, count, phases=("head", "all"), wait=lambda: None):
    for epoch in range(1, count + 1):
        phase = phases[2 * epoch > count] if len(phases) > 1 else phases[0]
        console.on_epoch_start(phase, epoch, count, 10)
        wait()
        console.on_epoch_end({**LINE, "epoch": epoch, "phase": phase})


def printed(screen):
    return [int(line.split()[1].split("/")[0]) for line in screen.getvalue().splitlines() if line.startswith("Epoch")]


def test_few_epochs_are_all_printed_and_many_fast_ones_are_thinned_out(clock):
    console, screen = shown(terminal=False)
    epochs(console, 30)
    assert printed(screen) == list(range(1, 31))
    console, screen = shown(terminal=False)
    epochs(console, 200)
    lines = printed(screen)
    assert len(lines) < 15 and {1, 101, 200} <= set(lines), "the first of each phase, and the last"


def test_slow_epochs_are_all_printed(clock):
    console, screen = shown(terminal=False)

    def wait():
        clock[0] += 31.0

    epochs(console, 100, wait=wait)
    assert printed(screen) == list(range(1, 101))


def test_a_pipe_hears_of_a_long_pass_every_half_minute(clock):
    console, screen = shown(terminal=False)
    console.on_pass_start("Features of training images", 1000)
    for done in range(0, 1000, 10):
        console.on_images(done)
        clock[0] += 1.0
    lines = screen.getvalue().splitlines()
    assert len(lines) == 3
    assert lines[0] == "Features of training images: 300 of 1,000 images, 10 images/s"


def test_a_notebook_has_one_live_line(clock, monkeypatch):
    """In place of IPython's display: what it is given, and updates of it."""
    given = []

    class Handle:
        def update(self, data, raw):
            given.append(("update", data["text/plain"]))

    def display(data, raw, display_id):
        given.append(("display", data["text/plain"]))
        return Handle()

    monkeypatch.setitem(sys.modules, "IPython", types.SimpleNamespace())
    monkeypatch.setitem(sys.modules, "IPython.display", types.SimpleNamespace(display=display))
    console, screen = shown(terminal=False)
    console.console.is_jupyter = True
    monkeypatch.setattr(console.console, "print", lambda text, **_: screen.write(f"{text}\n"))

    def wait():
        clock[0] += 0.5

    epochs(console, 300, wait=wait)
    console.close()
    assert [kind for kind, _ in given].count("display") == 1
    assert len(printed(screen)) <= 15 and len(given) > 100
    assert given[-1] == ("update", ""), "nothing is left of it"


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

import struct
import subprocess
import sys
from io import BytesIO

import numpy as np
import pytest
from PIL import Image
from tensorboardX.proto import event_pb2

from jaxtl.report import plots, tensorboard

HISTORY = [
    {
        "phase": "all",
        "epoch": epoch,
        "train_loss": 1.0 / epoch,
        "train_accuracy": 0.5,
        "val_loss": None if epoch == 1 else 2.0 / epoch,
        "val_accuracy": 0.25,
        "learning_rate": 0.1,
        "images_per_s": 100.0,
    }
    for epoch in (1, 2, 3)
]


def read(folder):
    """{tag: [(step, scalar or decoded picture)]} of every event file in a folder (TFRecord framing, by hand)."""
    found = {}
    for path in sorted(folder.glob("events.out.tfevents.*")):
        record = BytesIO(path.read_bytes())
        while header := record.read(12):
            (length,) = struct.unpack("<Q", header[:8])
            event = event_pb2.Event.FromString(record.read(length))
            assert len(record.read(4)) == 4  # checksum
            for value in event.summary.value:
                kind = value.WhichOneof("value")
                if kind == "image":
                    shown = np.asarray(Image.open(BytesIO(value.image.encoded_image_string)))
                else:
                    shown = value.simple_value if kind == "simple_value" else value.tensor.float_val[0]
                found.setdefault(value.tag, []).append((event.step, shown))
    return found


def test_events_are_the_history(tmp_path):
    tensorboard.write_events(tmp_path / "tb", HISTORY, {}, {"test/accuracy": 0.75})
    assert read(tmp_path / "tb") == {
        "loss/train": [(1, 1.0), (2, 0.5), (3, pytest.approx(1 / 3))],
        "loss/validation": [(2, 1.0), (3, pytest.approx(2 / 3))],
        "accuracy/train": [(1, 0.5), (2, 0.5), (3, 0.5)],
        "accuracy/validation": [(1, 0.25), (2, 0.25), (3, 0.25)],
        "learning_rate": [(step, pytest.approx(0.1)) for step in (1, 2, 3)],
        "images_per_s": [(1, 100.0), (2, 100.0), (3, 100.0)],
        "test/accuracy": [(3, 0.75)],
    }


def test_writing_again_replaces_the_points_and_leaves_other_files(tmp_path):
    folder = tmp_path / "tb"
    tensorboard.write_events(folder, HISTORY[:2], {}, {})
    (folder / "events.out.tfevents.1.another").write_bytes(b"")
    (folder / "notes.txt").write_text("mine")
    for _ in range(2):
        tensorboard.write_events(folder, HISTORY, {}, {})
    assert [step for step, _ in read(folder)["loss/train"]] == [1, 2, 3]
    assert len(list(folder.iterdir())) == 2
    assert (folder / "notes.txt").read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["tb"]


def test_figures_are_pictures_at_the_last_epoch(tmp_path):
    figure = plots.curves(HISTORY)
    size, dpi, before = figure.get_size_inches().copy(), figure.dpi, plots.png(figure)
    tensorboard.write_events(tmp_path / "tb", HISTORY, {"Learning curves": figure}, {})
    ((step, picture),) = read(tmp_path / "tb")["figures/learning_curves"]
    assert step == 3
    assert picture.shape == (round(100 * size[1]), round(100 * size[0]), 3)
    assert picture.min() < 50  # something is drawn
    assert picture.max() == 255
    assert figure.dpi == dpi
    assert plots.png(figure) == before


def test_an_empty_history_is_an_empty_log(tmp_path):
    tensorboard.write_events(tmp_path / "tb", [], {}, {})
    assert read(tmp_path / "tb") == {}


def test_tensorflow_is_not_imported():
    code = "import sys, jaxtl.report.tensorboard; sys.exit('tensorflow' in sys.modules or 'torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


FULL_DISK = """
import pathlib, resource, signal, sys
from jaxtl.report.tensorboard import write_events
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))  # no file may grow beyond it: as on a disk without room
try:
    write_events(pathlib.Path(sys.argv[1]), [{"epoch": e, "train_loss": 1.0} for e in range(1, 200)], {}, {})
except OSError as error:
    print(error.strerror)
"""


def test_a_full_disk_is_an_error_and_nothing_waits_for_a_writer(tmp_path):
    folder = tmp_path / "tb"
    tensorboard.write_events(folder, HISTORY, {}, {})
    before = read(folder)
    ended = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(folder)], capture_output=True, text=True, timeout=60, check=True
    )
    assert ended.stdout == "File too large\n" and ended.stderr == ""
    assert read(folder) == before and [path.name for path in tmp_path.iterdir()] == ["tb"]

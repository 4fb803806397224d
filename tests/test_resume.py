"""Whatever ends a run in the middle, the same command brings it to the end that it would have had."""

import errno
import io
import json
import os
import random
import signal
import struct
import subprocess
import sys
import time

import jax
import pytest
from tensorboardX.proto import event_pb2

from jaxtl.report.console import RunConsole

pytestmark = pytest.mark.usefixtures("compiled_once", "no_pictures")

# The loop looks up, and saves, after every step: a process can be met in the middle of any save and any epoch.
EVERY_STEP = "import sys, jaxtl.main, jaxtl.report.figures, jaxtl.train.sync; jaxtl.train.sync.SYNC_S = 0.0; "
NO_PICTURES = "jaxtl.report.figures.draw = lambda **kwargs: {}; "
RUN = "sys.exit(jaxtl.main.main(sys.argv[1:]))"
TIMES = ("seconds", "images_per_s")
OFTEN = ("--config.checkpoint_every_s=0",)


def start(*arguments, prelude=""):
    """The command in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-c", EVERY_STEP + NO_PICTURES + prelude + RUN, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ
        | {
            "JAX_COMPILATION_CACHE_DIR": jax.config.jax_compilation_cache_dir,
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
        },
    )


def killed(workdir, *arguments, part="", rng):
    """Start the command, and kill it a few steps after it has saved something in a part of its folder."""
    before = last_step(workdir / part)
    process = start(*arguments, "--workdir", workdir)
    goal = before + rng.randint(1, 10)
    while last_step(workdir / part) < goal:
        assert process.poll() is None, process.stdout.read()
        time.sleep(0.001)
    time.sleep(rng.uniform(0, 0.05))  # about the time of a save, and so in the midst of one
    process.kill()
    said = process.communicate()[0]
    assert process.returncode == -signal.SIGKILL, said
    assert not (workdir / part / "summary.json").exists()
    assert (f"from step {before}." in said) == (before > 0)


def last_step(folder):
    """The step of the last finished save of a run, 0 before the first."""
    names = (path.name for path in (folder / "checkpoints" / "last").glob("*"))
    return max((int(name) for name in names if name.isdigit()), default=0)


def results(workdir):
    """What does not depend on time of a finished run."""
    summary = json.loads((workdir / "summary.json").read_text())
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return {
        **{field: summary[field] for field in ("test", "params", "best_epoch", "epochs_run")},
        "predictions": (workdir / "predictions.csv").read_bytes(),
        "history": [{field: value for field, value in line.items() if field not in TIMES} for line in lines],
    }


def tensorboard_points(workdir):
    """(tag, step) of every scalar of the event files."""
    points = []
    for path in (workdir / "tensorboard").iterdir():
        record = io.BytesIO(path.read_bytes())
        while header := record.read(12):
            event = event_pb2.Event.FromString(record.read(struct.unpack("<Q", header[:8])[0]))
            points += [(value.tag, event.step) for value in event.summary.value]
            record.read(4)
    return points


def assert_clean(workdir, epochs):
    """No epoch twice, no point twice, nothing left over of the processes that died."""
    numbers = [json.loads(line)["epoch"] for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    assert numbers == list(range(1, epochs + 1))
    points = tensorboard_points(workdir)
    assert len(points) == len(set(points))
    assert [step for tag, step in points if tag == "loss/train"] == numbers
    assert not [path for path in workdir.rglob("*") if path.name.startswith(".") or "tmp" in path.name]


@pytest.mark.processes
def test_killed_at_random_moments(command, tiny_config, tmp_path):
    arguments = ("--config", tiny_config, *OFTEN, "--config.phases.0.epochs=8")
    assert command(*arguments, "--workdir", tmp_path / "straight").status == 0
    rng = random.Random(2)
    broken = tmp_path / "broken"
    for _ in range(3):
        killed(broken, *arguments, rng=rng)
    outcome = command(*arguments, "--workdir", broken)
    assert outcome.status == 0
    assert results(broken) == results(tmp_path / "straight")
    assert_clean(broken, epochs=8)


@pytest.mark.processes
def test_killed_in_the_source_and_in_the_baseline(command, transfer_config, tmp_path):
    arguments = ("--config", transfer_config, *OFTEN, "--config.source.phases.0.epochs=8")
    assert command(*arguments, "--workdir", tmp_path / "straight").status == 0
    rng = random.Random(3)
    broken = tmp_path / "broken"
    killed(broken, *arguments, part="source", rng=rng)
    killed(broken, *arguments, part="baselines/scratch", rng=rng)
    assert (broken / "source" / "summary.json").exists()
    assert command(*arguments, "--workdir", broken).status == 0
    for part, epochs in (("source", 8), ("baselines/scratch", 4), ("", 4)):
        assert results(broken / part) == results(tmp_path / "straight" / part), part
        assert_clean(broken / part, epochs)
    comparisons = [
        json.loads((workdir / "summary.json").read_text())["comparison"] for workdir in (broken, tmp_path / "straight")
    ]
    for found in comparisons:
        for row in found["runs"]:
            del row["train_s"], row["inference_s"], row["folder"]
    assert comparisons[0] == comparisons[1]


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_in_mid_epoch_saves_and_ends(command, tiny_config, tmp_path, monkeypatch, number, status):
    arguments = ("--config", tiny_config, "--config.phases.0.epochs=3")
    assert command(*arguments, "--workdir", tmp_path / "straight").status == 0

    def ask_for_the_end(self, phase, epoch, epochs, images):
        if epoch == 2:
            os.kill(os.getpid(), number)

    with monkeypatch.context() as patch:
        patch.setattr(RunConsole, "on_epoch_start", ask_for_the_end)
        stopped = command(*arguments, "--workdir", tmp_path / "broken")
    assert stopped.status == status
    assert f"Stopped by {number.name} in epoch 2; all is saved: run the same command again to go on." in stopped.err
    (save,) = (tmp_path / "broken" / "checkpoints" / "last").iterdir()
    assert save.name == "7", "six steps of the first epoch, and the one during which the signal came"
    assert not (tmp_path / "broken" / "summary.json").exists()

    again = command(*arguments, "--workdir", tmp_path / "broken")
    assert again.status == 0
    assert "Going on after epoch 1, from step 7." in again.out
    assert results(tmp_path / "broken") == results(tmp_path / "straight")
    assert_clean(tmp_path / "broken", epochs=3)


@pytest.mark.parametrize("damage", ["truncated", "one bit"])
def test_a_damaged_checkpoint_is_refused_in_one_sentence(command, tiny_config, tmp_path, monkeypatch, damage):
    def ask_for_the_end(self, *args):
        os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(RunConsole, "on_epoch_start", ask_for_the_end)
        assert command("--config", tiny_config, "--workdir", tmp_path).status == 143
    files = [path for path in (tmp_path / "checkpoints" / "last").rglob("*") if path.is_file()]
    largest = max(files, key=lambda path: path.stat().st_size)
    content = bytearray(largest.read_bytes())
    content[len(content) // 2] ^= 1
    largest.write_bytes(content[:1000] if damage == "truncated" else content)
    refused = command("--config", tiny_config, "--workdir", tmp_path)
    time.sleep(0.3)  # reads that are still under way complain to the hook that the command has set, not to a later test
    assert refused.status == 2
    assert refused.err.startswith(f"jaxtl: The checkpoint in {tmp_path / 'checkpoints'} is damaged")
    assert refused.err.endswith("remove the run folder and run the same command again: it trains from the start.\n")
    assert refused.err.count("\n") == 1


def test_a_second_ctrl_c_ends_at_once_and_without_traceback(command, tiny_config, tmp_path, monkeypatch):
    def ask_twice(self, *args):
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(RunConsole, "on_epoch_start", ask_twice)
    stopped = command("--config", tiny_config, "--workdir", tmp_path)
    assert stopped.status == 130
    assert stopped.err == "Stopped at once; the same command goes on from the last checkpoint.\n"


def test_the_checkpoints_of_another_run_are_refused(command, tiny_config, tmp_path):
    for seed in (0, 1):
        assert command("--config", tiny_config, "--workdir", tmp_path / str(seed), f"--config.seed={seed}").status == 0
    (tmp_path / "0" / "summary.json").unlink()
    (tmp_path / "0" / "checkpoints").rename(tmp_path / "own")
    (tmp_path / "1" / "checkpoints").rename(tmp_path / "0" / "checkpoints")
    stopped = command("--config", tiny_config, "--workdir", tmp_path / "0")
    assert stopped.status == 2
    assert "are of another run: their epochs are not those of metrics.jsonl" in stopped.err


# --- full disk -------------------------------------------------------------------------------------------------------

# Room for no checkpoint, from the Nth save on.
FULL_FROM = """
import resource
from jaxtl.train.checkpoint import Checkpoints
saves, save_last = [], Checkpoints.save_last
def save(*arguments):
    saves.append(1)
    if len(saves) == {0}:
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
    save_last(*arguments)
Checkpoints.save_last = save
"""


@pytest.mark.processes
def test_a_disk_that_is_full(command, tiny_config, tmp_path):
    """A limit on the size of files: every write beyond it fails, below Python too, where orbax writes."""
    arguments = ("--config", tiny_config, *OFTEN)
    assert command(*arguments, "--workdir", tmp_path / "straight").status == 0
    broken = tmp_path / "broken"
    for full_from in (1, 3):
        process = start(*arguments, "--workdir", broken, prelude=FULL_FROM.format(full_from))
        said = process.communicate()[0]
        assert process.returncode == 2, said
        assert "Traceback" not in said
        last = said.splitlines()[-1]
        assert last.startswith(f"jaxtl: The checkpoint in {broken / 'checkpoints'} cannot be written")
        assert os.strerror(errno.EFBIG) in last
        assert "free some space or repair the folder and run the same command again" in last
        assert (last_step(broken) > 0) == (full_from > 1)

    assert command(*arguments, "--workdir", broken).status == 0
    assert results(broken) == results(tmp_path / "straight")
    assert_clean(broken, epochs=2)


@pytest.mark.parametrize(
    "method",
    [
        "runs.folder.RunFolder.write_split",
        "runs.folder.RunFolder.append_line",
        "train.checkpoint.Checkpoints.save_last",  # its epoch has a line already, and must not get a second one
        "runs.folder.RunFolder.write_predictions",
        "runs.folder.RunFolder.write_summary",
    ],
)
def test_a_file_that_cannot_be_written(command, tiny_config, tmp_path, monkeypatch, method):
    arguments = ("--config", tiny_config, "--config.phases.0.epochs=1", "--workdir", tmp_path)

    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(f"jaxtl.{method}", full)
        stopped = command(*arguments)
    assert stopped.status == 2
    assert stopped.err == (
        f"jaxtl: The work folder {tmp_path} cannot be written or read (No space left on device); free some space or "
        "repair the folder and run the same command again: it continues from the last checkpoint.\n"
    )
    assert not (tmp_path / "summary.json").exists()
    assert command(*arguments).status == 0
    assert_clean(tmp_path, epochs=1)

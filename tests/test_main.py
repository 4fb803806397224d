"""The command as a person meets it: what it accepts, how it refuses, and that nothing is lost."""

import json
import re
import urllib.error

import numpy as np
import pytest

import jaxtl.experiment
from tests.conftest import edit

pytestmark = pytest.mark.usefixtures("compiled_once", "no_pictures")


def content(path):
    return {file: file.read_bytes() for file in path.rglob("*") if file.is_file()}


@pytest.fixture
def no_data(monkeypatch):
    """A run that gets as far as reading data fails the test."""
    monkeypatch.setattr(jaxtl.experiment, "load_splits", lambda *args, **kwargs: pytest.fail("data were read"))


def refused(outcome):
    """What the one message of a refusal says; no traceback, nothing else on stderr."""
    assert outcome.status == 2
    said = outcome.err.strip()  # the bar of a download that did not begin leaves an empty line
    assert said.startswith("jaxtl: ")
    assert "Traceback" not in said
    return said


# --- usage -----------------------------------------------------------------------------------------------------------


def test_without_arguments_it_tells_how_to_call_it(command):
    outcome = command()
    assert outcome.status == 2
    assert "--config FILE" in outcome.err
    assert "--help-fields" in outcome.err


def test_help_tells_of_fields_and_how_to_list_them(command):
    outcome = command("--help")
    assert outcome.status == 0
    assert "--config.phases.0.epochs=1" in outcome.out
    assert "--help-fields" in outcome.out


def test_help_fields_lists_them(command):
    outcome = command("--help-fields")
    assert outcome.status == 0
    for path in ("data.validation", "phases.0.learning_rate", "checkpoint_every_s"):
        assert path in outcome.out
    assert "phases.0.keep = 'best'  (one of best, last)\n" in outcome.out


@pytest.mark.parametrize(
    ("flag", "named", "hint"),
    [
        ("--confg.seed=3", "--confg.seed=3", "did you mean --config.seed?"),
        ("--conf=x.py", "--conf=x.py", "--help lists the flags, jaxtl fields those of the config."),
        ("seed=3", "seed=3", "did you mean --config.seed?"),
        ("--config.seed=1 2", "2", "--help lists the flags, jaxtl fields those of the config."),
        ("--epochs=3", "--epochs=3", "did you mean --config.phases.0.epochs?"),
        ("--lr 0.1", "--lr", "did you mean --config.phases.0.learning_rate?"),
        ("--batch-size 8", "--batch-size", "did you mean --config.batch_size?"),
    ],
)
def test_a_flag_that_does_not_exist_is_refused(command, tiny_config, no_data, flag, named, hint):
    assert refused(command("--config", tiny_config, *flag.split())) == f"jaxtl: There is no argument {named}; {hint}"


# --- bad configs -----------------------------------------------------------------------------------------------------


def test_all_problems_of_flags_and_file_in_one_message(command, tiny_config, tmp_path, no_data):
    flags = ("--config.sed=3", "--config.seed=x", "--config.data.validation=2", "--config.phases.0.epochs", "0")
    said = refused(command("--config", tiny_config, "--workdir", tmp_path / "w", *flags))
    assert said.splitlines() == [
        f"jaxtl: {tiny_config} has 4 problems:",
        "  sed does not exist; did you mean seed?",
        "  seed is 'x' (str), but must be a whole number; the default is 0.",
        "  data.validation is 2.0, but must lie in [0, 1).",
        "  phases.0.epochs is 0, but must lie in [1, 1000000].",
    ]
    assert not (tmp_path / "w").exists()


def test_problems_of_assignments_in_the_file(command, tmp_path, no_data):
    mine = tmp_path / "mine.py"
    mine.write_text(
        "from jaxtl.config import *\ndef get_config():\n    c = default_config()\n"
        "    c.sed = 3\n    c.batch_size = 'many'\n    c.phases[0].learning_rate = -1.0\n    return c\n"
    )
    said = refused(command("--config", mine))
    assert len(said.splitlines()) == 4
    for word in ("sed does not exist", "batch_size is 'many'", "phases.0.learning_rate is -1.0"):
        assert word in said


def test_a_config_file_that_calls_exit(command, tmp_path, no_data):
    mine = tmp_path / "mine.py"
    mine.write_text("import sys\n\ndef get_config():\n    sys.exit(3)\n")
    assert refused(command("--config", mine)) == (
        f"jaxtl: The config file {mine}, line 4, fails with SystemExit: 3; correct its get_config()."
    )


def test_a_config_file_that_does_not_exist(command, tmp_path):
    assert "There is no config file" in refused(command("--config", tmp_path / "nope.py"))


# --- what a command changes ------------------------------------------------------------------------------------------


def test_flags_change_the_resolved_config(command, tiny_config, tmp_path):
    flags = (
        "--config.seed=3",
        "--config.phases.0.epochs",
        "1",
        "--model.options.hidden=4,",
        "--data.test_subset",
        "50",
    )
    assert command("--config", tiny_config, "--workdir", tmp_path, *flags).status == 0
    config = json.loads((tmp_path / "config.json").read_text())["config"]
    assert config["seed"] == 3
    assert config["phases"][0]["epochs"] == 1
    assert config["model"]["options"] == {"blocks": [[4]], "hidden": [4]}
    assert config["data"]["test_subset"] == 50
    assert config["name"] == "tiny, data.test_subset=50, model.options.hidden=(4,)"
    assert json.loads((tmp_path / "summary.json").read_text())["epochs_run"] == 1


def test_the_seed_changes_the_result(command, tiny_config, tmp_path):
    for seed in (0, 0, 1):
        workdir = tmp_path / str(len(list(tmp_path.iterdir())))
        command("--config", tiny_config, "--workdir", workdir, f"--config.seed={seed}", "--config.phases.0.epochs=1")
    losses = [json.loads((tmp_path / name / "summary.json").read_text())["test"]["loss"] for name in "012"]
    assert losses[0] == losses[1] != losses[2]


def test_the_work_folder_defaults_to_the_name_of_the_config(command, tiny_config, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert command("--config", tiny_config, "--config.phases.0.epochs=1").status == 0
    assert (tmp_path / "runs" / "tiny" / "summary.json").exists()


# --- the work folder -------------------------------------------------------------------------------------------------


def test_a_finished_run_is_shown_and_not_touched(command, tiny_config, tmp_path, request):
    arguments = ("--config", tiny_config, "--workdir", tmp_path)
    assert command(*arguments).status == 0
    before = content(tmp_path)
    request.getfixturevalue("no_data")
    again = command(*arguments)
    assert again.status == 0
    assert "is finished: nothing was trained" in again.out
    assert re.search(r"test accuracy +│ \d", again.out)
    assert content(tmp_path) == before
    for change in (
        lambda summary: summary["time"].pop("train_s"),
        lambda summary: summary["test"].update(n=0),
        lambda summary: summary["test"].update(accuracy="high"),
        lambda summary: summary.update(comparison=[]),
    ):
        edit("summary.json", change)(tmp_path)
        assert "summary.json cannot be used" in refused(command(*arguments))
        (tmp_path / "summary.json").write_bytes(before[tmp_path / "summary.json"])


def test_another_config_is_refused_and_the_run_left_as_it_is(command, tiny_config, tmp_path):
    arguments = ("--config", tiny_config, "--workdir", tmp_path)
    assert command(*arguments, "--config.phases.0.epochs=1").status == 0
    before = content(tmp_path)
    said = refused(command(*arguments, "--config.seed=1"))
    assert "phases.0.epochs: 1 -> 2; seed: 0 -> 1" in said
    assert content(tmp_path) == before


@pytest.mark.parametrize("place", ["file", "file/w", "/proc/jaxtl/w"])
def test_a_work_folder_that_cannot_be_made(command, tiny_config, tmp_path, no_data, place):
    (tmp_path / "file").write_text("mine")
    said = refused(command("--config", tiny_config, "--workdir", tmp_path / place))
    assert "choose another with --workdir" in said
    assert (tmp_path / "file").read_text() == "mine"


def test_a_mistake_in_the_data_leaves_the_folder_free(command, tiny_config, tmp_path):
    arguments = ("--config", tiny_config, "--workdir", tmp_path, "--config.phases.0.epochs=1")
    refused(command(*arguments, "--config.data.per_class=5000"))
    assert command(*arguments).status == 0


# --- data ------------------------------------------------------------------------------------------------------------

CIFAR = ("--config.data.name=cifar10", "--config.data.subset=0", "--config.data.test_subset=0")


def test_missing_data_without_leave_to_download(command, tiny_config, tmp_path):
    flags = (*CIFAR, f"--config.data.dir={tmp_path}", "--config.data.download=false")
    said = refused(command("--config", tiny_config, "--workdir", tmp_path / "w", *flags))
    assert f"CIFAR-10 is not in {tmp_path}; put cifar-10-batches-py" in said
    assert "or allow downloads" in said


def test_missing_data_without_network(command, tiny_config, tmp_path, monkeypatch):
    def no_network(*args, **kwargs):
        raise urllib.error.URLError(OSError(101, "Network is unreachable"))

    monkeypatch.setattr("urllib.request.urlopen", no_network)
    flags = (*CIFAR, f"--config.data.dir={tmp_path / 'data'}")
    said = refused(command("--config", tiny_config, "--workdir", tmp_path / "w", *flags))
    assert "Network is unreachable" in said
    assert f"put it at {tmp_path / 'data' / 'cifar-10-python.tar.gz'}" in said


@pytest.mark.parametrize("damage", ["truncated", "altered"])
def test_a_damaged_batch_file_is_named(command, tiny_config, tmp_path, damage):
    """A binary edition of ten images."""
    raw = np.zeros((10, 3073), np.uint8).tobytes()
    folder = tmp_path / "cifar-10-batches-bin"
    folder.mkdir()
    for name in (*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"):
        (folder / name).write_bytes(raw[:-1] if damage == "truncated" else raw)
    flags = (*CIFAR, f"--config.data.dir={tmp_path}")
    said = refused(command("--config", tiny_config, "--workdir", tmp_path / "w", *flags))
    assert f"{folder / 'data_batch_1.bin'} is truncated or altered" in said
    assert ("label 10 of image 7 is outside 0..9" if damage == "label" else "MD5") in said


def test_more_images_than_there_are(command, tiny_config, tmp_path, no_data):
    flags = ("--config.data.subset=900", "--config.data.test_subset=900")
    said = refused(command("--config", tiny_config, "--workdir", tmp_path / "w", *flags))
    assert "data.subset is 900, but digits has 899 train images" in said
    assert "data.test_subset is 900, but digits has 898 test images" in said


def test_too_few_images_to_validate_on(command, tiny_config, tmp_path):
    said = refused(command("--config", tiny_config, "--workdir", tmp_path, "--config.data.per_class=1"))
    assert "data.validation=0.1 holds out none of the 10 training images" in said


# --- a loss that is not a number -------------------------------------------------------------------------------------


def test_nan_stops_the_run(command, tiny_config, tmp_path):
    flags = ("--config.phases.0.learning_rate=1e30",)
    said = refused(command("--config", tiny_config, "--workdir", tmp_path, *flags))
    assert "The loss is not a number any more in epoch 1" in said
    assert "nothing had been saved yet; lower the learning rate" in said
    assert not (tmp_path / "summary.json").exists()


def test_nan_keeps_the_last_good_checkpoint(command, tmp_path):
    """The first phase is sound and saved; the second diverges."""
    mine = tmp_path / "mine.py"
    mine.write_text(
        "import jaxtl.config\ndef get_config():\n    c = jaxtl.config.default_config()\n    c.data.name = 'digits'\n"
        "    c.data.subset = 100\n    c.model.options = {'blocks': ((4,),), 'hidden': (8,)}\n    c.batch_size = 32\n"
        "    c.phases = tuple(jaxtl.config.phase(epochs=1, learning_rate=rate) for rate in (1e-3, 1e30))\n"
        "    return c\n"
    )
    arguments = ("--config", mine, "--workdir", tmp_path / "w")
    said = refused(command(*arguments))
    checkpoints = tmp_path / "w" / "checkpoints"
    assert "in epoch 2 (phase 'all', learning rate 1e+30), so training stopped and the last good checkpoint" in said
    saved = content(checkpoints)
    assert {path.parts[len(checkpoints.parts)] for path in saved} == {"last", "best"}
    assert [path.name for path in (checkpoints / "best").iterdir()] == ["1"]
    refused(command(*arguments))  # it goes on from the good checkpoint, and comes to the same end
    assert content(checkpoints) == saved


def test_nan_of_the_very_last_step_is_noticed(command, tiny_config, tmp_path):
    """One step in all: its loss is sound, and no loss of a later step tells what its update did to the weights."""
    one_step = ("--config.batch_size=200", "--config.phases.0.epochs=1", "--config.phases.0.learning_rate=1e30")
    said = refused(command("--config", tiny_config, "--workdir", tmp_path / "a", *one_step))
    assert "The loss is not a number any more in epoch 1" in said
    unwatched = (*one_step, "--config.data.validation=0", "--config.phases.0.keep=last")
    said = refused(command("--config", tiny_config, "--workdir", tmp_path / "b", *unwatched))
    assert "on the test images is not a number" in said

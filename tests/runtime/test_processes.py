"""Several processes compute what one computes, stop together, go on together, and end together."""

import json
import os
import pathlib
import signal
import subprocess
import sys

import filelock
import numpy as np
import pytest

from jaxtl.errors import UserError
from jaxtl.runtime.processes import cluster_arguments
from jaxtl.train.checkpoint import flatten, read_best

SCRIPT = pathlib.Path(__file__).with_name("processes_script.py")
ROOT = pathlib.Path(__file__).parents[2]
TIMES = ("seconds", "images_per_s")

# Kept features, batch norm, a last batch that is short, a choice of the best epoch, balanced draws, averages, and
# accumulated gradients.
CONFIG = """
from jaxtl.config import default_config, phase

def get_config():
    config = default_config()
    config.name = "several"
    config.data.name = "digits"
    config.data.subset = 205
    config.data.test_subset = 101
    config.model.options = {"blocks": ((4,),), "hidden": (), "norm": "after_pool"}
    config.batch_size = 32
    config.phases = (
        phase(train=("head",), epochs=1, learning_rate=0.01, crop=1, cached_views=2, balanced_sampling=True),
        phase(epochs=2, learning_rate=0.01, crop=1, balanced_sampling=True, ema=0.9, accumulate=2),
    )
    return config
"""


@pytest.fixture(scope="module")
def several(tmp_path_factory):
    """The folder in which the runs of this module have taken place; each has two devices."""
    return take_place(
        tmp_path_factory,
        job("alone", 1),
        job("two", 2),
        job("stop_one", 2, "one_stopped", stop=[1]),
        job("alone_goes_on", 1, "one_stopped"),
        job("mistake_of_one", 2, fault=wrong("experiment.load_splits")),
        job("crash", 2, fault=wrong("train.stepper.Stepper.loss_is_finite", "RuntimeError")),
        job("missing", 2, started=1),
    )


@pytest.fixture(scope="module")
def more(several, tmp_path_factory):
    """The same folder, in which further runs have taken place."""
    return take_place(
        tmp_path_factory,
        job("host", 2, on_device=False),
        job("stop_both", 2, "both_stopped", stop=[0, 1]),
        job("two_go_on", 2, "both_stopped"),
        job("killed", 2, kill=[1]),
        job("mistake_of_both", 2, fault=wrong("experiment._check_splits", processes=(0, 1))),
    )


def job(log, processes, workdir=None, *, started=None, **change):
    """A run of `processes_script.py`."""
    return {
        "log": log,
        "processes": processes,
        "started": started or processes,
        "devices": 2 // processes,
        "arguments": ["--config", "config.py", "--workdir", workdir or log],
        "change": change,
    }


def wrong(place, kind="UserError", processes=(1,)):
    return {"place": place, "kind": kind, "processes": processes}


def take_place(tmp_path_factory, *jobs):
    """The folder in which the jobs have taken place, once for all workers of pytest."""
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    folder = shared / "several"
    folder.mkdir(exist_ok=True)
    environment = {
        **os.environ,
        "JAX_PLATFORMS": "cpu",
        "PYTHONPATH": str(ROOT),
        "JAX_COMPILATION_CACHE_DIR": str(folder / "compiled"),  # the runs compile the same programs
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }
    with filelock.FileLock(folder / "lock"):
        if not (folder / f"{jobs[-1]['log']}.status").exists():
            (folder / "config.py").write_text(CONFIG)
            subprocess.run([sys.executable, SCRIPT, json.dumps(jobs)], check=True, env=environment, cwd=folder)
    return folder


def statuses(folder, log):
    return json.loads((folder / f"{log}.status").read_text())


def said(folder, log, stream):
    """What each process printed."""
    return [path.read_text() for path in sorted(folder.glob(f"{log}.[0-9].{stream}"))]


def results(workdir):
    """What does not depend on time of a finished run."""
    summary = json.loads((workdir / "summary.json").read_text())
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return {
        **{field: summary[field] for field in ("test", "params", "best_epoch", "epochs_run")},
        "history": [{field: value for field, value in line.items() if field not in TIMES} for line in lines],
        "predictions": (workdir / "predictions.csv").read_text(),
        "files": sorted(path.name for path in workdir.iterdir()),
    }


def assert_the_same(workdir, expected):
    """Not a bit differs: two devices add in the same order wherever they are."""
    assert results(workdir) == results(expected)
    weights, wanted = (flatten(read_best(run / "checkpoints")) for run in (workdir, expected))
    assert weights.keys() == wanted.keys()
    for path, leaf in wanted.items():
        np.testing.assert_array_equal(weights[path], leaf, err_msg=path)


@pytest.mark.processes
@pytest.mark.parametrize("run", ["two", "one_stopped"])
def test_two_processes_compute_what_one_computes(several, run):
    assert_the_same(several / run, several / "alone")


@pytest.mark.processes
@pytest.mark.parametrize("run", ["host", "both_stopped"])
def test_they_do_so_from_host_memory_and_after_a_signal_to_both(more, run):
    assert_the_same(more / run, more / "alone")


@pytest.mark.processes
def test_the_first_process_alone_talks(several):
    assert statuses(several, "two") == [0, 0]
    first, second = said(several, "two", "out")
    assert "on 2 x " in first
    assert "Epoch   3/3" in first
    assert "Epoch" not in second
    assert said(several, "two", "err") == ["", ""]


def assert_stopped(folder, log):
    assert statuses(folder, log) == [143, 143]
    first, second = said(folder, log, "err")
    assert first == "Stopped by SIGTERM in epoch 2; all is saved: run the same command again to go on.\n"
    assert second == ""


@pytest.mark.processes
def test_a_signal_to_one_stops_all(several):
    assert_stopped(several, "stop_one")


@pytest.mark.processes
def test_a_signal_to_both_stops_both(more):
    assert_stopped(more, "stop_both")


@pytest.mark.processes
def test_one_goes_on_where_two_were_stopped(several):
    assert statuses(several, "alone_goes_on") == [0]
    assert "Going on after epoch 1, from step 7." in said(several, "alone_goes_on", "out")[0]


@pytest.mark.processes
def test_two_go_on_where_two_were_stopped(more):
    assert statuses(more, "two_go_on") == [0, 0]
    assert "Going on after epoch 1, from step 7." in said(more, "two_go_on", "out")[0]


def assert_told_once(folder, log):
    assert statuses(folder, log) == [2, 2]
    assert "".join(said(folder, log, "err")) == "jaxtl: This is wrong; fix it.\n"


@pytest.mark.processes
def test_a_mistake_ends_all_and_is_told_once(several):
    assert_told_once(several, "mistake_of_one")


@pytest.mark.processes
def test_a_mistake_that_all_make_is_told_once(more):
    assert_told_once(more, "mistake_of_both")


@pytest.mark.processes
def test_a_fault_in_the_midst_of_training_ends_all(several):
    assert statuses(several, "crash") == [1, 1]
    text = "".join(said(several, "crash", "err"))
    assert text.count("Traceback") == 1
    assert text.endswith("RuntimeError: This is wrong; fix it.\n")


@pytest.mark.processes
def test_a_process_that_is_killed_ends_the_other(more):
    other, killed = statuses(more, "killed")
    assert killed == -signal.SIGKILL
    assert other not in (0, -signal.SIGALRM)


@pytest.mark.processes
def test_a_process_that_does_not_come_is_one_sentence(several):
    assert statuses(several, "missing") == [2]
    assert said(several, "missing", "err") == [
        "jaxtl: The processes of the run did not find each other (not within 2 seconds); start all of them, with the "
        "same JAXTL_COORDINATOR=HOST:PORT that every host can reach.\n"
    ]


EXPLICIT = {"JAXTL_COORDINATOR": "node1:9876", "JAXTL_PROCESSES": "2", "JAXTL_PROCESS": "0"}


@pytest.mark.parametrize(
    ("environment", "method"),
    [
        ({"SLURM_JOB_ID": "7", "SLURM_NTASKS": "4"}, None),  # an allocation, no step of it
        ({"SLURM_JOB_ID": "7", "SLURM_NTASKS": "4", "SLURM_STEP_NUM_TASKS": "1"}, None),  # its interactive shell
        ({"SLURM_JOB_ID": "7", "SLURM_NTASKS": "4", "SLURM_STEP_NUM_TASKS": "4"}, "slurm"),
        ({"OMPI_COMM_WORLD_SIZE": "1"}, None),
        ({"OMPI_COMM_WORLD_SIZE": "2", "OMPI_MCA_orte_hnp_uri": "1.0;tcp://10.0.0.1:5"}, "ompi"),
        ({**EXPLICIT, "SLURM_STEP_NUM_TASKS": "4"}, "deactivate"),
    ],
)
def test_who_computes_together_is_read_from_the_environment(environment, method):
    found = cluster_arguments(environment)
    assert (found and found["cluster_detection_method"]) == method


def test_jax_finds_out_by_itself_where_it_is_asked_to():
    assert cluster_arguments({"JAXTL_COORDINATOR": "auto"}) == {}


@pytest.mark.parametrize(
    "changed",
    [
        *({"JAXTL_PROCESS": "2"}, {"JAXTL_PROCESS": ""}, {"JAXTL_PROCESS": "²"}, {"JAXTL_PROCESSES": "two"}),
        *({"JAXTL_COORDINATOR": "node1"}, {"JAXTL_COORDINATOR": "node1:٩"}),
    ],
)
def test_variables_that_contradict_each_other_are_one_sentence(changed):
    with pytest.raises(
        UserError, match=r"JAXTL_COORDINATOR=.* do not say which process of how many this is; set them to"
    ):
        cluster_arguments({**EXPLICIT, **changed})


def test_open_mpi_that_does_not_say_where_to_meet_is_one_sentence():
    with pytest.raises(UserError, match="set JAXTL_COORDINATOR=HOST:PORT"):
        cluster_arguments({"OMPI_COMM_WORLD_SIZE": "2"})

"""Runs of `jaxtl.main` by several processes, one run after another; `test_processes.py` starts it as a script.

The processes are forks of this one, which has imported everything and not yet used JAX: imports cost more than runs.
"""

import functools
import json
import os
import pathlib
import signal
import socket
import sys
import traceback

import sklearn.datasets  # noqa: F401 - the digits, whose reader would import it in every process

import jaxtl.main
import jaxtl.report.figures
import jaxtl.runs.folder
import jaxtl.runtime.processes
import jaxtl.train.checkpoint
import jaxtl.train.examples
import jaxtl.train.extract
from jaxtl.errors import UserError
from jaxtl.report.console import RunConsole


def run_all(jobs):
    """Jobs are dictionaries: see `test_processes.py`."""
    for job in jobs:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        children = [fork(job, number, port) for number in range(job["started"])]
        statuses = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
        pathlib.Path(f"{job['log']}.status").write_text(json.dumps(statuses))


def fork(job, number, port):
    """Start a process of a run; it gives its standard output and error to ``LOG.NUMBER.out`` and ``.err``."""
    if child := os.fork():
        return child
    status = 1
    try:
        for name, stream in (("out", 1), ("err", 2)):
            os.dup2(os.open(f"{job['log']}.{number}.{name}", os.O_CREAT | os.O_WRONLY | os.O_TRUNC), stream)
        signal.alarm(job.get("seconds", 300))  # a process that hangs fails its test
        flags = os.environ.get("XLA_FLAGS", "")
        os.environ["XLA_FLAGS"] = f"{flags} --xla_force_host_platform_device_count={job['devices']}"
        if job["processes"] > 1:
            os.environ["JAXTL_COORDINATOR"] = f"127.0.0.1:{port}"
            os.environ["JAXTL_PROCESSES"], os.environ["JAXTL_PROCESS"] = str(job["processes"]), str(number)
        if job["started"] < job["processes"]:  # who waits for the others gives up soon
            jaxtl.runtime.processes._START_TIMEOUT_S = 2
        change(number, **job.get("change", {}))
        status = jaxtl.main.main([] if number else job["arguments"])  # the others are told
    except SystemExit as error:
        status = error.code
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def change(number, *, stop=(), kill=(), fault=None, on_device=True):
    """What is different in process ``number`` of this run."""
    jaxtl.report.figures.draw = lambda **kwargs: {}  # takes the longest
    if number:
        # Files are not theirs to touch.
        jaxtl.runs.folder.write_whole = jaxtl.runs.folder.file_lock = jaxtl.runtime.run_files.read_object = None
        jaxtl.train.checkpoint.ocp.CheckpointManager = None
    if not on_device:
        jaxtl.train.examples.fits = jaxtl.train.extract.fits = lambda nbytes, mesh: False
    if number in stop:
        on_epoch_start = RunConsole.on_epoch_start

        def ask_for_the_end(self, phase, epoch, epochs, images):
            on_epoch_start(self, phase, epoch, epochs, images)
            if epoch == 2:
                os.kill(os.getpid(), signal.SIGTERM)

        RunConsole.on_epoch_start = ask_for_the_end
    if kill:
        jaxtl.runtime.processes._HEARTBEAT_TIMEOUT_S = 5
    if number in kill:
        jaxtl.train.stepper.Stepper.loss_is_finite = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
    if fault and number in fault["processes"]:
        kind = {"UserError": UserError, "RuntimeError": RuntimeError}[fault["kind"]]

        def fail(*args, **kwargs):
            raise kind("This is wrong; fix it.")

        where, method = fault["place"].rsplit(".", 1)
        place = functools.reduce(getattr, where.split("."), jaxtl)
        assert hasattr(place, method), "a fault where nothing is would never occur"
        setattr(place, method, fail)


if __name__ == "__main__":
    run_all(json.loads(sys.argv[1]))

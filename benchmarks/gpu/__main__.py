"""Everything that only a GPU can show, the most valuable figures first.

    python -m benchmarks.gpu --minutes 8 --out DIR
    python -m benchmarks.gpu --minutes 8 --out DIR --only study-e small
    python -m benchmarks.gpu --minutes 8 --out DIR --only train224 --compile-first 3
    python -m benchmarks.gpu --minutes 5 --out DIR --tiny

Each job runs in a process of its own with a time limit and writes DIR/JOB.json as it goes, with what it printed in
DIR/JOB.log. A job that needs more time than is left is skipped. After every job DIR/results.md holds the table of what
was found so far, and of what failed or was skipped: nothing is lost when the command is cut off. ``--compile-first``
spends the first minutes on programs alone, those of several jobs at a time, which leaves more for measuring.
``--tiny`` does every stage on networks that a CPU compiles in seconds; its figures mean nothing.
"""

import argparse
import json
import os
import pathlib
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any

from benchmarks.gpu.plan import STAGES, STEPS, Job, plan
from benchmarks.gpu.table import Done, table
from jaxtl.runtime.command import exit_status, write_result

ROOT = pathlib.Path(__file__).parents[2]
LAST_LINES, LONGEST = 4, 200  # of a job that failed
AT_ONCE = 8  # jobs that compile side by side; their steps must fit into the device's memory together


class StoppedError(Exception):
    """Somebody sent SIGTERM."""


def start(job: Job, arguments: argparse.Namespace, log: pathlib.Path, *more: str) -> subprocess.Popen:
    """Start a job in a process group of its own."""
    words = [sys.executable, "-m", "benchmarks.gpu.job", job.stage, job.case]
    words += ["--out", str(arguments.out / f"{job.name}.json"), "--seed", str(arguments.seed), *more]
    words += ["--tiny"] if arguments.tiny else []
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    # jax would take three quarters of the memory at its start and leave the peer the rest.
    environment = {**os.environ, "PYTHONPATH": path, "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
    if arguments.compile_first:
        caches = arguments.out.absolute() / "caches"
        environment |= {"JAX_COMPILATION_CACHE_DIR": f"{caches}/jax", "TORCHINDUCTOR_CACHE_DIR": f"{caches}/torch"}
        environment["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    with log.open("w") as printed:
        return subprocess.Popen(words, env=environment, stdout=printed, stderr=subprocess.STDOUT, process_group=0)


def kill(process: subprocess.Popen) -> None:
    """Leave nothing of it computing."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def do(job: Job, arguments: argparse.Namespace, limit_s: float) -> Done:
    """Run a job to its end, or to its time limit."""
    log, begin, problem = arguments.out / f"{job.name}.log", time.monotonic(), ""
    process = start(job, arguments, log)
    try:
        if status := process.wait(limit_s):
            problem = f"failed with status {status}"
    except subprocess.TimeoutExpired:
        problem = f"stopped after {limit_s:.0f} s"
    finally:
        kill(process)
    if problem:
        lines = [line.strip()[:LONGEST] for line in log.read_text(errors="replace").splitlines() if line.strip()]
        problem = f"{problem}: {' / '.join(lines[-LAST_LINES:]) or 'it printed nothing'}"
    return Done(job, time.monotonic() - begin, problem, found_by(job, arguments.out))


def compile_first(jobs: Sequence[Job], arguments: argparse.Namespace) -> None:
    """Fill the caches of jax and of PyTorch with what the jobs time; what is not done in time is compiled later."""
    waiting = [job for job in jobs if job.stage in STEPS]
    running: dict[str, subprocess.Popen] = {}
    end = time.monotonic() + 60 * arguments.compile_first
    try:
        while (waiting or running) and time.monotonic() < end:
            while waiting and len(running) < AT_ONCE:
                job = waiting.pop(0)
                running[job.name] = start(job, arguments, arguments.out / f"compile-{job.name}.log", "--fill-caches")
            for name in [name for name, process in running.items() if process.poll() is not None]:
                status = running.pop(name).returncode
                failed = f"compilation failed with status {status}, see compile-{name}.log"
                print(f"{name}: {failed if status else 'compiled'}", flush=True)
            time.sleep(0.1)
    finally:
        for process in running.values():
            kill(process)
    if late := [*running, *(job.name for job in waiting)]:
        print(f"Not compiled in time: {', '.join(late)}", flush=True)


def found_by(job: Job, folder: pathlib.Path) -> dict[str, Any]:
    """What a job has written so far."""
    out = folder / f"{job.name}.json"
    found: dict[str, Any] = json.loads(out.read_text()) if out.exists() else {}
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """Do the jobs; the status is 1 where one failed."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=8.0, help="for everything, default: 8")
    parser.add_argument("--out", type=pathlib.Path, required=True, help="folder of the results")
    parser.add_argument("--only", nargs="+", choices=STAGES, default=[], help="stages to do; default: all")
    parser.add_argument("--compile-first", type=float, default=0.0, metavar="MINUTES", help="see above; default: none")
    parser.add_argument("--tiny", action="store_true", help="a test on a CPU")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args(argv)
    if not 0 <= arguments.compile_first < arguments.minutes:
        parser.error("--compile-first takes its minutes from --minutes: it must be 0 or more, and less than those")
    return exit_status(lambda: _command(arguments))


def _command(arguments: argparse.Namespace) -> int:
    arguments.out.mkdir(parents=True, exist_ok=True)
    begin = time.monotonic()
    done: list[Done] = []

    def stop(*_: object) -> None:
        raise StoppedError

    signal.signal(signal.SIGTERM, stop)
    jobs = plan(arguments.only, arguments.tiny)
    for job in jobs:
        (arguments.out / f"{job.name}.json").unlink(missing_ok=True)  # of an earlier run
    try:
        if arguments.compile_first:
            compile_first(jobs, arguments)
        for job in jobs:
            left = 60 * arguments.minutes - (time.monotonic() - begin)
            if left < job.needs_s:
                reason = f"skipped: it needs {job.needs_s:.0f} s, and {max(0.0, left):.0f} s were left"
                done.append(Done(job, 0.0, reason, {}))
            else:
                print(f"{job.name} …", flush=True)
                done.append(do(job, arguments, min(left, job.limit_s)))
            print(f"{job.name}: {done[-1].problem or 'done'} ({done[-1].wall_s:.0f} s)", flush=True)
            _write(arguments, done, time.monotonic() - begin)
    except (StoppedError, KeyboardInterrupt):
        left_over = jobs[len(done) :]
        done += [Done(job, 0.0, "the command was stopped", found_by(job, arguments.out)) for job in left_over]
        _write(arguments, done, time.monotonic() - begin)
        print(f"Stopped; what was found is in {arguments.out}.", file=sys.stderr)
        return 128 + signal.SIGTERM
    print((arguments.out / "results.md").read_text())
    return int(any(each.failed for each in done))


def _write(arguments: argparse.Namespace, done: Sequence[Done], wall_s: float) -> None:
    write_result(
        arguments.out / "results.md",
        table(done, seed=arguments.seed, wall_s=wall_s, tiny=arguments.tiny, compile_first=arguments.compile_first),
    )


if __name__ == "__main__":
    sys.exit(main())

"""How long a run takes from the start of its process to its first finished train step, cold and from the cache.

    python -m benchmarks.compile --model densenet161 --size 32

Each measurement is a fresh process. "cold" starts with an empty cache of compiled programs, "cached" is the same
command once more; they take turns, ``--repeats`` times, each pair with a cache of its own. The step is that of
`benchmarks.train`, augmentation included. "init" is what a run does before: the devices, the variables, the state.
Printed are medians.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from benchmarks.measure import load_average, write_json
from jaxtl.errors import UserError
from jaxtl.models.registry import known
from jaxtl.runtime.command import at_least_one, exit_status
from jaxtl.runtime.environment import device

ROOT = pathlib.Path(__file__).parents[1]


def first_step(arguments: argparse.Namespace, cache: pathlib.Path) -> dict[str, float]:
    """Seconds of each stage of one fresh process."""
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": path, "JAXTL_CACHE": str(cache)}
    environment.pop("JAX_COMPILATION_CACHE_DIR", None)  # it would be used in the place of ours
    words = [sys.executable, "-m", "benchmarks.first_step"]
    for name in ("model", "size", "batch", "dtype"):
        words += [f"--{name}", str(getattr(arguments, name))]
    words += ["--spawned", str(time.time())]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise UserError(f"The process that was to take the first step failed: {last}")
    stages: dict[str, float] = json.loads(done.stdout.strip().splitlines()[-1])
    return stages


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print, and write JSON where asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="densenet161")
    parser.add_argument("--size", type=at_least_one, default=32)
    parser.add_argument("--batch", type=at_least_one, default=32)
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--repeats", type=at_least_one, default=3)
    parser.add_argument("--json", type=pathlib.Path, help="write the figures here too")
    arguments = parser.parse_args(argv)
    return exit_status(lambda: _command(arguments))


def _command(arguments: argparse.Namespace) -> int:
    known(arguments.model)
    seconds: dict[str, list[dict[str, float]]] = {"cold": [], "cached": []}
    for _ in range(arguments.repeats):
        with tempfile.TemporaryDirectory() as cache:
            for which in seconds:
                seconds[which].append(first_step(arguments, pathlib.Path(cache)))
    medians = {
        which: {stage: statistics.median(run[stage] for run in runs) for stage in runs[0]}
        for which, runs in seconds.items()
    }
    totals = {which: statistics.median(sum(run.values()) for run in runs) for which, runs in seconds.items()}
    table = Table(box=None, pad_edge=False)
    table.add_column("seconds")
    for which in seconds:
        table.add_column(which, justify="right")
    for stage in medians["cold"]:
        table.add_row(stage, *(f"{medians[which][stage]:.2f}" for which in seconds))
    table.add_row("in all", *(f"{totals[which]:.2f}" for which in seconds), style="bold")
    console = Console(soft_wrap=True, highlight=False)
    console.print(
        f"First train step of {arguments.model} at {arguments.size}, batch {arguments.batch}, {arguments.dtype}, "
        f"on {device()}; medians of {arguments.repeats}"
    )
    console.print(table)
    console.print(f"With the cache the first step is done {totals['cold'] / totals['cached']:.1f} times as soon.")
    if load := load_average():
        console.print(f"Load average {load[0]:.2f} at the end.")
    write_json(arguments, {"runs": seconds, "medians": medians, "totals": totals})
    return 0


if __name__ == "__main__":
    sys.exit(main())

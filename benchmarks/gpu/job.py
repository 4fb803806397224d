"""One job in a process of its own; `benchmarks.gpu` starts it.

    python -m benchmarks.gpu.job small resnet18 --out DIR/small-resnet18.json

What is found is written after every figure, so that a job that is stopped leaves what it had.
"""

import argparse
import functools
import importlib
import importlib.metadata
import json
import os
import pathlib
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from typing import Any

import jax

from jaxtl.runtime.command import exit_status, write_result
from jaxtl.runtime.environment import describe

# By stage: the module in this package and the function in it.
WORK = {
    "ceilings": ("speed", "ceilings"),
    "right": ("right", "right"),
    "train224": ("speed", "at_224"),
    "infer224": ("speed", "at_224"),
    "study-e": ("runs", "study_e"),
    "small": ("runs", "small"),
    "study-c": ("runs", "study_c"),
    "first-step": ("speed", "first_step"),
    "augment": ("speed", "augment"),
    "breakdown": ("speed", "what_falls_short"),
}


class Findings:
    """What a job has found so far, in its file.

    Attributes:
      stage: see `benchmarks.gpu.plan.Job`.
      case: likewise.
      tiny: whether networks and images are tiny.
      seed: of weights and images.
      folder: where the jobs of this run write.
    """

    def __init__(self, stage: str, case: str, out: pathlib.Path, *, tiny: bool, seed: int) -> None:
        self.stage, self.case, self.tiny, self.seed = stage, case, tiny, seed
        self.folder, self._out = out.parent, out
        self._lines: dict[str, dict[str, Any]] = {}
        self._figures: dict[str, Any] = {}

    def line(self, work: str, measured: str, *, beside: str = "", target: str = "", met: bool | None = None) -> None:
        """Add a line to the table; it takes the place of an earlier one about the same work.

        Args:
          work: what was done.
          measured: what came out.
          beside: what a peer or a study has.
          target: what it is to reach.
          met: whether it does; ``None`` where there is no target, and where the measurement cannot tell.
        """
        self._lines[work] = {"work": work, "measured": measured, "beside": beside, "target": target, "met": met}
        self.write()

    def figures(self, **figures: Any) -> None:
        """Keep figures that the table is too narrow for."""
        self._figures |= figures
        self.write()

    def write(self, done: bool = False) -> None:
        """Write the file."""
        found = {
            "stage": self.stage,
            "case": self.case,
            "tiny": self.tiny,
            "seed": self.seed,
            "done": done,
            "lines": list(self._lines.values()),
            "figures": self._figures,
            "environment": environment(),
        }
        write_result(self._out, json.dumps(found, indent=2) + "\n")


@functools.cache
def environment() -> dict[str, str]:
    """Card, driver and versions; it makes JAX take the device."""
    query = ["nvidia-smi", "--query-gpu=driver_version,memory.total", "--format=csv,noheader"]
    try:
        driver, memory = subprocess.check_output(query, text=True).splitlines()[0].split(", ")
        card = {"driver": driver, "memory": memory}
    except (OSError, subprocess.CalledProcessError, IndexError, ValueError):
        card = {}
    peers = {}
    for package in ("torch", "torchvision"):
        try:
            peers[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {**describe(), **card, **peers}


def main(argv: Sequence[str] | None = None) -> int:
    """Do the job."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stage", choices=tuple(WORK))
    parser.add_argument("case")
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--fill-caches", action="store_true", help="only compile what the job times")
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args(argv)
    threading.Thread(target=_end_with_parent, args=(os.getppid(),), daemon=True).start()
    findings = Findings(arguments.stage, arguments.case, arguments.out, tiny=arguments.tiny, seed=arguments.seed)
    module, function = ("speed", "fill_caches") if arguments.fill_caches else WORK[arguments.stage]

    if arguments.tiny:
        jax.config.update("jax_disable_most_optimizations", True)  # programs of a few calls do not earn them back

    def work() -> int:
        getattr(importlib.import_module(f"benchmarks.gpu.{module}"), function)(findings)
        if not arguments.fill_caches:
            findings.write(done=True)
        return 0

    return exit_status(work)


def _end_with_parent(parent: int) -> None:
    """Leave the device free when the command is killed."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main())

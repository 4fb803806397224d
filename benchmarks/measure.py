"""How it is measured: warm-up, turns, medians, memory, and a batch that fits.

Contenders take turns, repeat by repeat, so that what else the machine does meets all of them: on a shared machine a
ratio is worth more than the times it is made of.
"""

import argparse
import json
import math
import os
import pathlib
import resource
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

import jax

from benchmarks.contender import Contender
from jaxtl.runtime.command import write_result
from jaxtl.runtime.environment import describe

T = TypeVar("T")
LEAST_STEPS = 3  # a repeat is several steps, so that the host's work for one hides behind the device's for another


class Ratio(NamedTuple):
    """How many times as fast ours is; above 1 it is ahead.

    Attributes:
      median: ratio of the medians.
      lowest: least ratio of two repeats that followed each other.
      highest: largest.
    """

    median: float
    lowest: float
    highest: float


class Memory(NamedTuple):
    """Peak memory so far.

    Attributes:
      bytes: the peak.
      of: ``"device"``, as its allocator counts, or ``"process"``: all the memory of the process on the host, that of
        the interpreter and the libraries too.
    """

    bytes: int
    of: str


def warm_up(contender: Contender, steps: int = 2) -> None:
    """The first steps, which may allocate, tune or compile."""
    for _ in range(steps):
        contender.step()
    contender.wait()


def timed(contender: Contender, steps: int) -> float:
    """Seconds a step."""
    start = time.perf_counter()
    for _ in range(steps):
        contender.step()
    contender.wait()
    return (time.perf_counter() - start) / steps


def in_turn(contenders: Sequence[Contender], repeats: int, least_s: float) -> dict[str, list[float]]:
    """Seconds a step of each contender, one for each repeat; all of them are warm.

    Args:
      contenders: with different names.
      repeats: how often each has its turn.
      least_s: a turn lasts at least that long, and at least ``LEAST_STEPS`` steps.
    """
    steps = {each.name: max(LEAST_STEPS, math.ceil(least_s / timed(each, 1))) for each in contenders}
    seconds: dict[str, list[float]] = {each.name: [] for each in contenders}
    for _ in range(repeats):
        for each in contenders:
            seconds[each.name].append(timed(each, steps[each.name]))
    return seconds


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> Ratio:
    """From seconds that were measured in turn."""
    pairs = [their / our for our, their in zip(ours, theirs, strict=True)]
    return Ratio(statistics.median(theirs) / statistics.median(ours), min(pairs), max(pairs))


def halved_until_it_fits(batch: int, build: Callable[[int], T], say: Callable[[str], None]) -> tuple[int, T]:
    """The largest batch that fits into memory, by halving, and what was built for it.

    Args:
      batch: the first that is tried.
      build: makes everything for a batch and runs it once.
      say: is told of every batch that does not fit.
    """
    while True:
        try:
            return batch, build(batch)
        except Exception as error:
            if not out_of_memory(error) or batch == 1:
                raise
        # Here the exception is gone, and with it the frames that hold what was built.
        say(f"A batch of {batch} does not fit into memory; trying {batch // 2}.")
        batch //= 2


def out_of_memory(error: Exception) -> bool:
    """Whether jax, PyTorch or the host ran out of memory."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    signs = ("RESOURCE_EXHAUSTED", "DefaultCPUAllocator: can't allocate memory")
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in signs)


def peak_memory() -> Memory:
    """The peak of this process so far: on the device where it counts, else on the host."""
    stats = jax.devices()[0].memory_stats() or {}
    if "peak_bytes_in_use" in stats:
        return Memory(stats["peak_bytes_in_use"], "device")
    status = pathlib.Path("/proc/self/status")
    if status.exists():  # getrusage would give a child the peak of its parent
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return Memory(1024 * int(line.split()[1]), "process")
    unit = 1 if sys.platform == "darwin" else 1024
    return Memory(unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, "process")


def load_average() -> list[float] | None:
    """Mean number of processes that wanted a core, over 1, 5 and 15 minutes, where the system tells it."""
    return list(os.getloadavg()) if hasattr(os, "getloadavg") else None


def write_json(arguments: argparse.Namespace, found: dict[str, Any]) -> None:
    """Write what a command found, with its settings, the environment and the load, where ``--json`` asks for it."""
    if arguments.json:
        settings = {name: value for name, value in vars(arguments).items() if name not in ("json", "plot")}
        result = {"settings": settings, "environment": describe(), "load_average": load_average(), **found}
        write_result(arguments.json, json.dumps(result, indent=2, default=str) + "\n")


def plain(value: Any) -> Any:
    """Named tuples as dictionaries, for JSON."""
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return {key: plain(item) for key, item in value._asdict().items()}
    return value

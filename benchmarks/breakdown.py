"""Where the time of a step goes, by kind of operation: XLA's own trace of jaxtl's programs.

    python -m benchmarks.breakdown --what train --model densenet121 --size 32 --batch 128
    python -m benchmarks.breakdown --what inference --model vgg16 --batch 16 --dtype bfloat16

The program is that of `benchmarks.train` or `benchmarks.inference`. Its operations are timed by ``jax.profiler`` over
``--steps`` steps, and the wall time of a step by as many others before. On a CPU XLA runs convolutions beside its other
operations and times their start alone: they are in "not in the trace", the rest of the wall time, with what the
processor waits. Operations that run at once count twice. On a GPU kernels are counted, by the operation they belong to.
"""

import argparse
import collections
import pathlib
import re
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence

import jax
from rich.console import Console
from rich.table import Table

from benchmarks import inference, train
from benchmarks.contender import Contender, Task
from benchmarks.measure import write_json
from jaxtl.errors import UserError
from jaxtl.models.registry import known
from jaxtl.runtime.command import at_least_one, exit_status
from jaxtl.runtime.environment import device

NOT_TRACED = "not in the trace"
# Kinds by what an instruction's name begins with: XLA calls fusions by what they hold.
KINDS = {
    "dots": r"dot|ynn_fusion|custom-call|gemm|cublas",
    "copies, transposes, concatenations": r"copy|transpose|.*transpose_copy|.*concatenate",
    "convolutions": r"conv(?!ert)|cudnn",
    "sums and maxima over windows and batches": r".*reduce",
}
ELEMENTWISE = "all else: elementwise"
_HOLDS_OTHERS = ("call", "while", "conditional")


def kind_of(instruction: str) -> str:
    """The kind of an operation, by its name.

    >>> kind_of("transpose_copy_fusion.4"), kind_of("wrapped_reduce-window.3"), kind_of("add_maximum_fusion")[:8]
    ('copies, transposes, concatenations', 'sums and maxima over windows and batches', 'all else')
    """
    return next((kind for kind, names in KINDS.items() if re.match(names, instruction)), ELEMENTWISE)


def instructions(text: str) -> set[str]:
    """The names of a program's instructions that hold no others."""
    found = re.findall(r"^\s*(?:ROOT )?%?([\w.\-]+) = .*?[\]\)}] ([\w\-]+)\(", text, re.MULTILINE)
    return {name for name, opcode in found if opcode not in _HOLDS_OTHERS}


def traced(contender: Contender, steps: int) -> tuple[float, Mapping[str, float]]:
    """Milliseconds of a step, and those of each instruction in it.

    Raises:
      UserError: the trace has none of the program's instructions.
    """
    assert contender.text is not None
    for _ in range(2):
        contender.step()
    contender.wait()
    start = time.perf_counter()
    for _ in range(steps):
        contender.step()
    contender.wait()
    wall_ms = (time.perf_counter() - start) / steps * 1e3
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            for _ in range(steps):
                contender.step()
            contender.wait()
        (file,) = pathlib.Path(folder).rglob("*.xplane.pb")
        planes = list(jax.profiler.ProfileData.from_file(str(file)).planes)
    known_names, spent = instructions(contender.text()), collections.defaultdict[str, float](float)
    lines = [line for plane in planes for line in plane.lines]
    streams = [line for line in lines if line.name.startswith("Stream")]  # of a GPU: its events are kernels
    for line in streams or lines:
        for event in line.events:
            name = dict(event.stats).get("hlo_op", event.name) if streams else event.name
            if name in known_names:
                spent[name] += event.duration_ns / steps / 1e6
    if not spent:
        raise UserError("XLA's trace names no operation of the program on this device: there is nothing to sum.")
    return wall_ms, spent


def by_kind(wall_ms: float, spent: Mapping[str, float]) -> dict[str, float]:
    """Milliseconds of each kind, the largest first, and what the trace does not have, last."""
    kinds = collections.defaultdict[str, float](float)
    for name, ms in spent.items():
        kinds[kind_of(name)] += ms
    return {**_sorted(kinds), NOT_TRACED: max(0.0, wall_ms - sum(kinds.values()))}


def _sorted(spent: Mapping[str, float]) -> dict[str, float]:
    return dict(sorted(spent.items(), key=lambda entry: -entry[1]))


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print, and write JSON where asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--what", choices=("inference", "train"), default="train")
    parser.add_argument("--model", default="densenet121")
    parser.add_argument("--size", type=at_least_one, default=224)
    parser.add_argument("--batch", type=at_least_one, default=16)
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--steps", type=at_least_one, default=5)
    parser.add_argument("--json", type=pathlib.Path, help="write the figures here too")
    arguments = parser.parse_args(argv)
    return exit_status(lambda: _command(arguments))


def _command(arguments: argparse.Namespace) -> int:
    task = Task(arguments.what, known(arguments.model), arguments.size, arguments.batch, arguments.dtype, classes=10)
    contender = {"train": train, "inference": inference}[arguments.what].ours(task)
    wall_ms, spent = traced(contender, arguments.steps)
    kinds = by_kind(wall_ms, spent)
    table = Table("kind", "ms a step", "share of the wall time", box=None, pad_edge=False)
    for kind, ms in kinds.items():
        table.add_row(kind, f"{ms:.1f}", f"{ms / wall_ms:.0%}")
    console = Console(soft_wrap=True, highlight=False)
    console.print(
        f"A step ({arguments.what}) of {arguments.model} at {arguments.size}, batch {arguments.batch}, "
        f"{arguments.dtype}, on {device()}: {wall_ms:.1f} ms"
    )
    console.print(table)
    write_json(arguments, {"wall_ms": wall_ms, "kinds_ms": kinds, "operations_ms": _sorted(spent)})
    return 0


if __name__ == "__main__":
    sys.exit(main())

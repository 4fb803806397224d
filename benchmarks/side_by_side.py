"""The command that `benchmarks.inference` and `benchmarks.train` share: arguments, cases, table, JSON, chart."""

import argparse
import importlib.metadata
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from rich.console import Console
from rich.table import Table

from benchmarks.bars import draw
from benchmarks.contender import Contender, NoSuchNetError, Task, matmul
from benchmarks.measure import (
    LEAST_STEPS,
    Memory,
    Ratio,
    halved_until_it_fits,
    in_turn,
    load_average,
    peak_memory,
    plain,
    ratio,
    timed,
    warm_up,
    write_json,
)
from benchmarks.peers import PEERS, check_installed, contender
from benchmarks.zoo import forward_flops
from jaxtl.models import build_model, native_size
from jaxtl.models.registry import known
from jaxtl.report.plots.style import png
from jaxtl.report.text import number
from jaxtl.runtime.command import at_least_one, exit_status
from jaxtl.runtime.environment import describe, device
from jaxtl.runtime.files import write_errors_explained

ROOT = pathlib.Path(__file__).parents[1]
TABLE_WIDTH = 100
CLASSES = {224: 1000, 32: 10}  # by native size


class Benchmark(NamedTuple):
    """What one of the two commands measures.

    Attributes:
      what: the task.
      about: the text of ``--help``.
      ours: jaxtl's contender for a task, which is compared with the peers.
      passes: how many forward passes a step is worth in operations.
      also: jaxtl's contenders that are not compared.
      further: more figures of a case, measured after the others.
    """

    what: Literal["inference", "train"]
    about: str
    ours: Callable[[Task], Contender]
    passes: int
    also: Callable[[Task], list[Contender]] = lambda task: []
    further: Callable[[Task], dict[str, Any]] = lambda task: {}


class Measured(NamedTuple):
    """One case: a task and the contenders' times.

    Attributes:
      task: as it was run.
      seconds: of a step, by contender and repeat, ``"matmul"`` among them.
      matmul_flops: operations of the matrix product.
      contenders: by name.
      ours: name of the contender that the peers are compared with.
      peers: names of the peers.
      memory: peak after jaxtl's own first steps, before a peer was loaded.
      left_out: sentences on peers that do not have the network.
    """

    task: Task
    seconds: dict[str, list[float]]
    matmul_flops: int
    contenders: dict[str, Contender]
    ours: str
    peers: list[str]
    memory: Memory
    left_out: list[str]

    def ratio(self, peer: str) -> Ratio:
        """How many times as fast as a peer ours is."""
        return ratio(self.seconds[self.ours], self.seconds[peer])


def measure(
    benchmark: Benchmark,
    task: Task,
    peers: Sequence[str],
    *,
    repeats: int,
    least_s: float,
    say: Callable[[str], None] = lambda line: None,
    so_far: Callable[[Task, dict[str, float]], None] | None = None,
) -> Measured:
    """Measure one case; the batch is halved for all contenders until it fits all of them.

    Args:
      benchmark: what is measured.
      task: the case.
      peers: names of ``PEERS``.
      repeats: turns of each contender.
      least_s: least length of a turn.
      say: is told of every batch that does not fit, and of peers without the network.
      so_far: is told the task and, by name, the seconds of a step of each contender that is warm, ours first.
    """

    def build(batch: int) -> tuple[list[Contender], list[Contender], Memory, list[str]]:
        fitting, left_out = task._replace(batch=batch), []
        ours = [benchmark.ours(fitting), *benchmark.also(fitting)]
        for each in ours:
            warm_up(each)
        memory, theirs, first = peak_memory(), list[Contender](), dict[str, float]()

        def tell(contender: Contender) -> None:
            if so_far is not None:
                first[contender.name] = timed(contender, LEAST_STEPS)
                so_far(fitting, first)

        tell(ours[0])
        for peer in peers:
            try:
                theirs.append(contender(peer, fitting))
            except NoSuchNetError as error:
                left_out.append(str(error))
                continue
            warm_up(theirs[-1])
            tell(theirs[-1])
        return ours, theirs, memory, left_out

    batch, (ours, theirs, memory, left_out) = halved_until_it_fits(task.batch, build, say)
    for sentence in left_out:
        say(sentence)
    yardstick, matmul_flops = matmul(task.dtype)
    warm_up(yardstick)
    contenders = [ours[0], *theirs, *ours[1:], yardstick]  # ours and the peer follow each other
    seconds = in_turn(contenders, repeats, least_s)
    return Measured(
        task._replace(batch=batch),
        seconds,
        matmul_flops,
        {each.name: each for each in contenders},
        ours[0].name,
        [each.name for each in theirs],
        memory,
        left_out,
    )


def record(benchmark: Benchmark, measured: Measured, batch_asked: int) -> dict[str, Any]:
    """A case as JSON holds it; rates are medians."""
    task = measured.task
    flops, _ = forward_flops(build_model(task.model, task.classes), task.size)
    flops *= benchmark.passes
    peak = measured.matmul_flops / statistics.median(measured.seconds["matmul"])
    contenders = {}
    for name, each in measured.contenders.items():
        if name == "matmul":
            continue
        rates = [task.batch / s for s in measured.seconds[name]]
        rate = task.batch / statistics.median(measured.seconds[name])
        contenders[name] = {
            "step_s": measured.seconds[name],
            "images_per_s": rate,
            "lowest_images_per_s": min(rates),
            "highest_images_per_s": max(rates),
            "gflops_per_s": rate * flops / 1e9,
            "share_of_matmul": rate * flops / peak,
            "compile_s": each.compile_s,
            "program_bytes": each.program_bytes,
        }
    return {
        **task._asdict(),
        "batch_asked": batch_asked,
        "gflops_per_image": flops / 1e9,
        "matmul_gflops_per_s": peak / 1e9,
        "matmul_s": measured.seconds["matmul"],
        "peak_memory": plain(measured.memory),
        "ours": measured.ours,
        "contenders": contenders,
        "ratios": {peer: plain(measured.ratio(peer)) for peer in measured.peers},
        "left_out": measured.left_out,
        **benchmark.further(task),
    }


def command(benchmark: Benchmark, argv: Sequence[str] | None) -> int:
    """Measure, print, and write JSON and a chart where asked to; returns the exit status."""
    arguments = _parser(benchmark).parse_args(argv)
    return exit_status(lambda: _command(benchmark, arguments))


def _parser(benchmark: Benchmark) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=f"python -m benchmarks.{benchmark.what}",
        description=benchmark.about,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--model", nargs="+", default=["resnet18"], help="of jaxtl.list_models(); several take turns")
    parser.add_argument("--size", type=at_least_one, help="height and width; default: the network's native size")
    parser.add_argument("--batch", type=at_least_one, default=32, help="halved as long as it does not fit")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--peer", action="append", choices=tuple(PEERS), default=[], help="may be given several times")
    parser.add_argument("--repeats", type=at_least_one, default=7, help="turns of each contender")
    parser.add_argument("--seconds", type=float, default=2.0, help="least length of a turn; it has 3 steps or more")
    parser.add_argument("--seed", type=int, default=0)
    if benchmark.what == "train":
        policies = ("none", "randaugment", "trivialaugment")
        parser.add_argument("--augment", choices=policies, default="none", help="also a step with such images")
    parser.add_argument("--json", type=pathlib.Path, help="write the figures here too")
    parser.add_argument("--plot", type=pathlib.Path, help="draw the speeds into this PNG file")
    return parser


def _command(benchmark: Benchmark, arguments: argparse.Namespace) -> int:
    console = Console(soft_wrap=True, highlight=False)
    console.width = max(console.width, TABLE_WIDTH)  # rather a wrapped line than a figure cut short
    for model in arguments.model:
        known(model)
    for peer in arguments.peer:
        check_installed(peer)
    if any(peer.startswith("torchvision") for peer in arguments.peer):
        # jax would take three quarters of a GPU at its start and leave the peer the rest.
        os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    before = load_average()
    if len(arguments.model) == 1:
        cases = [_case(benchmark, arguments, arguments.model[0], console)]
    else:
        cases = [_in_own_process(benchmark, arguments, model) for model in arguments.model]
    found = {
        "environment": {**describe(), **_versions(arguments.peer)},
        "load_average_before": before,
        "load_average": load_average(),
        "cases": cases,
    }
    _print(benchmark, arguments, found, console)
    write_json(arguments, found)
    if arguments.plot:
        title = f"{benchmark.what.capitalize()}, {arguments.dtype}, {device()}"
        with write_errors_explained(arguments.plot):
            arguments.plot.write_bytes(png(draw(cases, title)))
    return 0


def _case(benchmark: Benchmark, arguments: argparse.Namespace, model: str, console: Console) -> dict[str, Any]:
    task = Task(
        benchmark.what,
        model,
        arguments.size or native_size(model),
        arguments.batch,
        arguments.dtype,
        CLASSES[native_size(model)],
        arguments.seed,
        getattr(arguments, "augment", "none"),
    )
    measured = measure(
        benchmark, task, arguments.peer, repeats=arguments.repeats, least_s=arguments.seconds, say=console.print
    )
    return record(benchmark, measured, arguments.batch)


def _in_own_process(benchmark: Benchmark, arguments: argparse.Namespace, model: str) -> dict[str, Any]:
    """The case of a model, by this command for it alone: so that its peak of memory is its own."""
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "case.json"
        words = [sys.executable, "-m", f"benchmarks.{benchmark.what}", "--model", model, "--json", str(path)]
        for name in ("size", "batch", "dtype", "repeats", "seconds", "seed", "augment"):
            if (value := getattr(arguments, name, None)) is not None:
                words += [f"--{name}", str(value)]
        for peer in arguments.peer:
            words += ["--peer", peer]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
        done = subprocess.run(words, env=environment, stdout=subprocess.DEVNULL, check=False)
        if done.returncode:
            raise SystemExit(done.returncode)  # it has said why
        case: dict[str, Any] = json.loads(path.read_text())["cases"][0]
        return case


def _print(benchmark: Benchmark, arguments: argparse.Namespace, found: dict[str, Any], console: Console) -> None:
    console.print(f"\n{benchmark.what.capitalize()}, {arguments.dtype}, seed {arguments.seed}, on {device()}")
    table = Table(box=None, pad_edge=False)
    table.add_column("network", no_wrap=True)
    for heading in ("images/s", "least to most", "GFLOP/s", "of matmul", "compiled in", "program"):
        table.add_column(heading, justify="right", no_wrap=True)
    for case in found["cases"]:
        table.add_row(f"{case['model']} at {case['size']}, batch {case['batch']}", style="bold")
        for name, line in case["contenders"].items():
            table.add_row(
                f"  {name}",
                number(line["images_per_s"]),
                f"{number(line['lowest_images_per_s'], 3)} to {number(line['highest_images_per_s'], 3)}",
                number(line["gflops_per_s"]),
                f"{100 * line['share_of_matmul']:.1f} %",
                "—" if line["compile_s"] is None else f"{line['compile_s']:.1f} s",
                "—" if line["program_bytes"] is None else f"{line['program_bytes'] / 2**20:,.0f} MiB",
            )
    console.print(table)
    for case in found["cases"]:
        where = f"{case['model']} at {case['size']}, batch {case['batch']}"
        if case["batch"] < case["batch_asked"]:
            console.print(f"{where}: a batch of {case['batch_asked']} did not fit into memory and was halved.")
        for peer, found_ratio in case["ratios"].items():
            console.print(
                f"{where}: jaxtl runs at {found_ratio['median']:.2f} times the speed of {peer} "
                f"(ratio of medians; turn by turn {found_ratio['lowest']:.2f} to {found_ratio['highest']:.2f})."
            )
        memory = case["peak_memory"]
        whose = "of the device" if memory["of"] == "device" else "of the whole process on the host"
        console.print(
            f"{where}: a matmul reaches {case['matmul_gflops_per_s']:,.0f} GFLOP/s in {case['dtype']}; peak memory "
            f"{whose} with jaxtl alone {memory['bytes'] / 2**20:,.0f} MiB."
        )
        if (agreement := case.get("top1_agreement")) is not None:
            console.print(
                f"{where}: bfloat16 names the class that float32 names for {100 * agreement:.1f} % of "
                f"{case['top1_images']} images of noise, weights random."
            )
        for sentence in case["left_out"]:
            console.print(sentence)
    if load := found["load_average"]:
        console.print(f"Load average {load[0]:.2f} at the end, {found['load_average_before'][0]:.2f} at the start.")


def _versions(peers: Sequence[str]) -> dict[str, str]:
    packages = {package for peer in peers for package in PEERS[peer][1]}
    return {package: importlib.metadata.version(package) for package in sorted(packages)}


def kernels_as(params: Any, dtype: str) -> Any:
    """Kernels and their biases in the dtype that they are used in, converted once and not in every step."""
    if isinstance(params, dict):
        if "kernel" in params:
            return jax.tree.map(lambda leaf: leaf.astype(jnp.dtype(dtype)), params)
        return {name: kernels_as(tree, dtype) for name, tree in params.items()}
    return params

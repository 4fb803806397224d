"""Speeds of the device and of single steps: ceilings, networks beside torchvision, the first step, where time goes."""

import argparse
import importlib.util
import json
import os
import pathlib
import statistics
import tempfile
from typing import Any, Literal

import jax
import jax.numpy as jnp

from benchmarks import breakdown, compile, inference, train
from benchmarks.contender import Task, compiled, matmul
from benchmarks.gpu.job import Findings
from benchmarks.measure import in_turn, ratio, warm_up
from benchmarks.peers import contender
from benchmarks.side_by_side import Benchmark, measure, record
from jaxtl.report.text import number

BENCHMARKS = {"train": train.BENCHMARK, "inference": inference.BENCHMARK}
# Batches that are tried first; each is halved until it fits beside the peer's. Deep networks keep more activations.
TRAIN_BATCH = {"densenet161": 128, "resnet152": 128}
BATCH = 256
LEAST_SHARE = 0.25  # of the matmul peak, resnet50 in training
MOST_AUGMENTED = 1.15  # times the step without


def ceilings(findings: Findings) -> None:
    """What the device reaches at best: products of square matrices, and moving memory."""
    repeats, least_s = (2, 0.0) if findings.tiny else (5, 0.3)
    for dtype, how in (("bfloat16", "bfloat16"), ("float32", "float32 at JAX's default precision, TF32 on a GPU")):
        contender, flops = matmul(dtype)
        warm_up(contender)
        seconds = statistics.median(in_turn([contender], repeats, least_s)["matmul"])
        findings.figures(**{f"matmul_{dtype}_tflops": flops / seconds / 1e12})
        findings.line(f"matmul, {how}", f"{flops / seconds / 1e12:,.1f} TFLOP/s")
    there = jnp.zeros(2**20 if findings.tiny else 2**29, jnp.float32)
    copy = compiled("copy", jax.jit(lambda x: x + 1), there, carries=False)
    warm_up(copy)
    seconds = statistics.median(in_turn([copy], repeats, least_s)["copy"])
    findings.figures(copy_bytes_per_s=2 * there.nbytes / seconds)
    findings.line("copy on the device, read and written", f"{2 * there.nbytes / seconds / 1e12:,.2f} TB/s")


def task_of(findings: Findings) -> Task:
    """The step that a job times: at 224 pixels in bfloat16, or at 32 in float32."""
    what: Literal["inference", "train"] = "inference" if findings.stage == "infer224" else "train"
    if findings.tiny:
        return Task(what, "cnn", 32, 4, classes=10, seed=findings.seed)
    if findings.stage == "small":
        return Task(what, findings.case, 32, 128, classes=10, seed=findings.seed)
    batch = TRAIN_BATCH.get(findings.case, BATCH) if what == "train" else 2 * BATCH
    return Task(what, findings.case, 224, batch, "bfloat16", seed=findings.seed)


def fill_caches(findings: Findings) -> None:
    """Compile what a job times, by jaxtl and by ``torch.compile``, which compiles in its first step."""
    task = task_of(findings)
    BENCHMARKS[task.what].ours(task)
    if importlib.util.find_spec("torchvision"):
        warm_up(contender("torchvision-compiled", task), steps=1)


def at_224(findings: Findings) -> None:
    """Training or inference of one network at 224 pixels, beside torchvision."""
    case = pair(findings)
    what = case["what"]
    ours = case["contenders"][case["ours"]]
    if case["peak_memory"]["of"] == "device" and ours["program_bytes"]:
        promised, taken = ours["program_bytes"], case["peak_memory"]["bytes"]
        findings.line(
            f"{what} {findings.case} at 224, memory",
            f"{taken / 2**30:.2f} GiB taken at most, {promised / 2**30:.2f} promised by the compiler",
            target="0.5 to 1.5 x",
            met=0.5 <= taken / promised <= 1.5,
        )
    if findings.case == "resnet50" and what == "train" and not findings.tiny:
        share = ours["share_of_matmul"]
        findings.line(
            "train resnet50 at 224, share of the matmul peak",
            f"{share:.1%}",
            target=f">= {LEAST_SHARE:.0%}",
            met=share >= LEAST_SHARE,
        )


def pair(findings: Findings) -> dict[str, Any]:
    """A job's step by jaxtl and by torchvision, eager and compiled, in turns; in a tiny run beside plain Flax."""
    task = task_of(findings)
    benchmark: Benchmark = BENCHMARKS[task.what]._replace(also=lambda task: [], further=lambda task: {})
    peers = ["torchvision", "torchvision-compiled"] if importlib.util.find_spec("torchvision") else []
    if findings.tiny:
        peers = ["flax"]

    work = f"{task.what} {task.model} at {task.size}, {task.dtype}"

    # Told before all are warm: a peer may take longer to compile than there is time.
    def so_far(fitting: Task, seconds: dict[str, float]) -> None:
        rates = {name: fitting.batch / each for name, each in seconds.items()}
        findings.figures(so_far={**fitting._asdict(), "images_per_s": rates})
        (_, ours), *theirs = rates.items()
        measured = f"{number(ours)} images/s in a few steps, batch {fitting.batch}"
        findings.line(work, measured, beside=of_peers(dict(theirs)), target=">= 1.0 x")

    repeats, least_s = (2, 0.0) if findings.tiny else (5, 0.5)
    measured = measure(benchmark, task, peers, repeats=repeats, least_s=least_s, say=print, so_far=so_far)
    case = record(benchmark, measured, task.batch)
    findings.figures(case=case)
    ours = case["contenders"][case["ours"]]
    speed = f"{number(ours['images_per_s'])} images/s, batch {case['batch']}, {ours['share_of_matmul']:.0%} of matmul"
    if peers:
        least = min(case["ratios"].values(), key=lambda ratio: ratio["median"])
        findings.line(
            work,
            f"{speed}; {least['median']:.2f} x ({least['lowest']:.2f} to {least['highest']:.2f}) the faster peer",
            beside=of_peers({peer: case["contenders"][peer]["images_per_s"] for peer in case["ratios"]}),
            target=">= 1.0 x",
            met=least["median"] >= 1,
        )
    else:
        findings.line(work, speed, beside="torchvision is not installed", target=">= 1.0 x")
    return case


def of_peers(images_per_s: dict[str, float]) -> str:
    """The speeds of peers, by name, as the table shows them."""
    return "; ".join(f"{peer}: {number(rate)} images/s" for peer, rate in images_per_s.items())


def first_step(findings: Findings) -> None:
    """From the start of a process to the first step of resnet50, with an empty cache of programs and a full one."""
    net, size, batch = ("cnn", 32, 8) if findings.tiny else ("resnet50", 224, 128)
    arguments = argparse.Namespace(model=net, size=size, batch=batch, dtype="bfloat16")
    with tempfile.TemporaryDirectory() as cache:
        runs = {which: compile.first_step(arguments, pathlib.Path(cache)) for which in ("cold", "warm")}
    findings.figures(seconds=runs)
    for (which, stages), most in zip(runs.items(), (60, 15), strict=True):
        seconds = sum(stages.values())
        findings.line(
            f"first step of {net} at {size}, {which} start",
            f"{seconds:.1f} s ({', '.join(f'{stage} {s:.1f}' for stage, s in stages.items())})",
            target=f"< {most} s",
            met=seconds < most,
        )


def augment(findings: Findings) -> None:
    """A step on images that RandAugment changes on the device, against one on images flipped and cropped."""
    task = task_of(findings)._replace(augment="randaugment")
    without, with_it = train.augmented(task)
    for each in (without, with_it):
        warm_up(each)
    seconds = in_turn([without, with_it], *((2, 0.0) if findings.tiny else (5, 0.5)))
    cost = ratio(seconds[without.name], seconds[with_it.name])
    findings.figures(seconds=seconds)
    findings.line(
        f"train {task.model} at {task.size}, {task.dtype}, RandAugment",
        f"{cost.median:.2f} x ({cost.lowest:.2f} to {cost.highest:.2f}) the time of a step with flip and crop alone",
        target=f"<= {MOST_AUGMENTED:.2f} x",
        met=cost.median <= MOST_AUGMENTED,
    )


def what_falls_short(findings: Findings) -> None:
    """Time by kind of operation, of the three steps furthest behind their peer; of resnet50 if none was timed."""
    # Kernels of a CUDA graph do not say which operation they belong to.
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_gpu_enable_command_buffer="
    behind: list[tuple[float, Task]] = []
    files = sorted(findings.folder.glob("*.json"))
    cases = [json.loads(file.read_text()).get("figures", {}).get("case") for file in files]
    for case in filter(None, cases):
        for found in case["ratios"].values():
            if found["median"] < 1:
                behind.append((found["median"], Task(**{field: case[field] for field in Task._fields})))
    if not any(cases):
        small = Task("train", "cnn", 32, 4)
        behind.append((0.0, small if findings.tiny else Task("train", "resnet50", 224, BATCH, "bfloat16")))
    if not behind:
        findings.line("time by kind of operation", "nothing that was timed falls short of its peer")
    for _, task in sorted(behind)[:3]:
        wall_ms, spent = breakdown.traced(BENCHMARKS[task.what].ours(task), 2 if findings.tiny else 10)
        kinds = breakdown.by_kind(wall_ms, spent)
        findings.figures(**{f"{task.what} {task.model} at {task.size}": {"kinds_ms": kinds, "operations_ms": spent}})
        shares = "; ".join(f"{kind} {ms / wall_ms:.0%}" for kind, ms in kinds.items() if ms >= 0.01 * wall_ms)
        findings.line(f"where a step goes: {task.what} {task.model} at {task.size}, {wall_ms:.1f} ms", shares)

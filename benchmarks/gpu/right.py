"""Is what the device computes right? Steps against the CPU's answers, and runs that are killed or keep features."""

import functools
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from benchmarks.check import probe
from benchmarks.contender import Task, images_and_labels
from benchmarks.gpu.job import Findings
from benchmarks.train import network, step_of
from jaxtl.data.augment import compose
from jaxtl.models import build_model
from jaxtl.runtime.compile_cache import keep_compiled

ROOT = pathlib.Path(__file__).parents[2]
# One network a family: its size, its options, and those that make it quick to compile in a tiny run. Two layers a block
# of a DenseNet have all the operations of more, and compile in a tenth of the time.
FAMILIES: dict[str, tuple[int, dict[str, Any], dict[str, Any]]] = {
    "cnn": (32, {}, {}),
    "resnet18": (64, {}, {"depths": (1, 1), "width": 8}),
    "vgg11": (64, {}, {"depths": (1, 1), "width": 8, "hidden": (16,), "bins": 1}),
    "densenet121": (64, {"depths": (2, 2, 2, 2)}, {"depths": (1, 1), "growth": 8, "width": 8}),
}
BATCH = 8
# How the device computes: dtype, precision of products, and the largest relative errors of answers and of gradients.
WAYS: dict[str, tuple[Any, str, float, float]] = {
    "float32, highest precision": (jnp.float32, "highest", 1e-4, 1e-3),
    "float32, default precision": (jnp.float32, "default", 2e-2, 2e-1),
    "bfloat16": (jnp.bfloat16, "default", 1e-1, 5e-1),
}
TINY_WAYS = ("float32, highest precision", "bfloat16")  # a CPU has one precision for float32
KEPT_ERROR = 1e-4
# Rounding can move a value near zero to the other side of a ReLU. In a small batch one such value changes the gradient
# by almost a hundredth. How much it is for a network is seen on the CPU, with weights that are off by a millionth.
OFF, DRAWS = 1e-6, 3
PHASES = ("phases.0", "phases.1", "baselines.scratch.phases.0")
QUICKSTART = ("checkpoint_every_s=1",)
QUICKSTART_TINY = ("checkpoint_every_s=0", "source.phases.0.epochs=2", *(f"{phase}.epochs=1" for phase in PHASES))


def right(findings: Findings) -> None:
    """The case that is asked for."""
    {"families": families, "runs": runs}[findings.case](findings)


def families(findings: Findings) -> None:
    """One inference and one train step of each family on the device, against the same on the CPU."""
    keep_compiled()  # nothing here is timed, and what is done twice need not be compiled twice
    errors: dict[str, dict[str, float]] = {}
    cpu, device = jax.devices("cpu")[0], jax.devices()[0]
    ways = {way: WAYS[way] for way in (TINY_WAYS if findings.tiny else WAYS)}
    for name, (size, whole, tiny) in FAMILIES.items():
        options = tiny if findings.tiny else whole
        task = Task("train", name, 32 if findings.tiny else size, BATCH, classes=10, seed=findings.seed)
        variables = jax.tree.map(np.asarray, network(task, **options)[1])
        answer = functools.partial(answers, task, options, variables)
        expected = answer(jnp.float32, "highest", cpu)
        moved = max(relative(each["gradient"], expected["gradient"]) for each in nearby(task, options, variables, cpu))
        for way, (dtype, precision, most, most_gradient) in ways.items():
            found = answer(dtype, precision, device)
            errors[f"{name}, {way}"] = error = {each: relative(found[each], expected[each]) for each in expected}
            findings.figures(relative_errors=errors)
            of_answers = max(value for each, value in error.items() if each != "gradient")
            allowed = max(most_gradient, 2 * moved)
            findings.line(
                f"{name} at {task.size} against the CPU, {way}",
                f"relative error of the answers {of_answers:.1e}, of the gradient {error['gradient']:.1e}; weights "
                f"off by {OFF:.0e} move the CPU's gradient by up to {moved:.1e}",
                target=f"{most:.0e}, {allowed:.0e}",
                met=of_answers <= most and error["gradient"] <= allowed,
            )


def nearby(
    task: Task, options: dict[str, Any], variables: dict[str, Any], cpu: jax.Device
) -> Iterator[dict[str, np.ndarray]]:
    """The CPU's answers for weights that are a little off, several draws."""
    for seed in range(DRAWS):
        rng = np.random.default_rng(seed)
        off = jax.tree.map(
            lambda leaf, rng=rng: (leaf * (1 + OFF * rng.standard_normal(leaf.shape))).astype(leaf.dtype), variables
        )
        yield answers(task, options, off, jnp.float32, "highest", cpu)


def answers(
    task: Task, options: dict[str, Any], variables: dict[str, Any], dtype: Any, precision: str, device: jax.Device
) -> dict[str, np.ndarray]:
    """Logits, and what one train step gives: its loss, the gradient, the statistics of batch norm; all as vectors."""
    model = build_model(task.model, task.classes, dtype, **options)
    images, labels = images_and_labels(task)
    with jax.default_matmul_precision(precision):
        forward = jax.jit(functools.partial(model.apply, train=False))
        logits = forward(*jax.device_put((variables, images), device))
        # At a learning rate of 1 the first update is the gradient.
        step, state, *given = step_of(
            task, model, variables, compose(), images, labels, device=device, learning_rate=1.0
        )
        moved = step(state, *given)
    gradient = jax.tree.map(lambda before, after: before - np.asarray(after), variables["params"], moved.trained)
    found = {
        "logits": logits,
        "loss": moved.metrics.compute()["loss"],
        "statistics": moved.batch_stats,
        "gradient": gradient,
    }
    return {
        name: np.asarray(ravel_pytree(jax.tree.map(np.asarray, tree))[0], np.float64) for name, tree in found.items()
    }


def relative(found: np.ndarray, expected: np.ndarray) -> float:
    """The distance of two vectors over the length of the expected one."""
    return float(np.linalg.norm(found - expected)) / (float(np.linalg.norm(expected)) or 1.0)


def runs(findings: Findings) -> None:
    """Features that are kept against those that are not, and the quickstart, killed once and resumed."""
    net, images, epochs = ("cnn", 64, 2) if findings.tiny else ("resnet18_cifar", 256, 5)
    with jax.default_matmul_precision("highest"):
        kept, plain = (probe(net, images, epochs, kept)["test"]["loss"] for kept in (True, False))
    error = abs(float(kept) / float(plain) - 1)
    findings.line(
        f"linear probe of {net}, features kept against a backbone in every epoch",
        f"relative difference of the test loss {error:.1e}",
        target=f"{KEPT_ERROR:.0e}",
        met=error <= KEPT_ERROR,
    )
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        straight = _quickstart(folder / "straight", findings.tiny)
        killed = _killed(_quickstart(folder / "killed", findings.tiny), folder / "killed" / "source")
        if straight.wait():
            raise RuntimeError("The quickstart failed; see above.")
        resumed = _quickstart(folder / "killed", findings.tiny)
        if resumed.wait():
            raise RuntimeError("The quickstart that was killed did not resume; see above.")
        accuracy, same = _same_results(folder / "straight", folder / "killed")
    findings.line(
        "quickstart, killed once and resumed",
        f"{'killed' if killed else 'ended before it could be killed'}; {accuracy:.2%} of the test images; epochs and "
        f"predictions {'are' if same else 'are not'} those of the uninterrupted run, bit by bit",
        target="killed, the same bits",
        met=killed and same,
    )


def _quickstart(workdir: pathlib.Path, tiny: bool) -> subprocess.Popen:
    words = [sys.executable, "-m", "jaxtl.main", "--config", str(ROOT / "configs" / "quickstart.py")]
    words += ["--workdir", str(workdir)]
    words += [f"--config.{field}" for field in (QUICKSTART_TINY if tiny else QUICKSTART)]
    quickly = {"JAX_DISABLE_MOST_OPTIMIZATIONS": "1"} if tiny else {}
    return subprocess.Popen(words, env=os.environ | {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"} | quickly)


def _killed(process: subprocess.Popen, run: pathlib.Path) -> bool:
    """Kill a process once its run has saved something; whether it was still at work."""
    while process.poll() is None and not list((run / "checkpoints" / "last").glob("[0-9]*")):
        time.sleep(0.01)
    process.kill()
    return process.wait() != 0


def _same_results(straight: pathlib.Path, resumed: pathlib.Path) -> tuple[float, bool]:
    """Accuracy of the resumed run, and whether it has the other's epochs and predictions, times apart."""

    def results(workdir: pathlib.Path) -> tuple[bytes, list[dict[str, Any]]]:
        lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
        for line in lines:
            line.pop("seconds"), line.pop("images_per_s")
        return (workdir / "predictions.csv").read_bytes(), lines

    summary = json.loads((resumed / "summary.json").read_text())
    return summary["test"]["accuracy"], results(straight) == results(resumed)

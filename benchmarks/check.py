"""Has anything become slower? Ratios of now against those that are stored, on hardware of the same kind.

    python -m benchmarks.check
    python -m benchmarks.check --update

Every case is a ratio of two things that are measured in turn in one run, larger is better: jaxtl against plain Flax,
kept features against a backbone that runs in every epoch, streamed images against images in memory. Times are never
compared. A case that lost more than a fifth is measured once more, and its better ratio counts; then the command says
which one it is and ends with status 1. ``--update`` writes the ratios of this machine to benchmarks/ratios.json; run it
on an idle machine. What was stored on other hardware is named and left alone.
"""

import argparse
import json
import pathlib
import statistics
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from rich.console import Console

import jaxtl
from benchmarks import inference, train
from benchmarks.contender import Task
from benchmarks.data import timed_epoch, write_folder
from benchmarks.measure import load_average
from benchmarks.side_by_side import Benchmark, measure
from jaxtl.config import default_config
from jaxtl.data.collection import load
from jaxtl.data.dataset import Dataset
from jaxtl.data.folder import scan
from jaxtl.data.options import ImageOptions
from jaxtl.errors import UserError
from jaxtl.report.console import RunConsole
from jaxtl.runtime.command import exit_status, write_result
from jaxtl.runtime.environment import describe, device
from jaxtl.runtime.mesh import data_mesh
from jaxtl.transfer.plans import linear_probe

RATIOS = pathlib.Path(__file__).with_name("ratios.json")
MOST_LOST = 0.2


def against_flax(benchmark: Benchmark, model: str, batch: int) -> float:
    """Speed of jaxtl over that of plain Flax, at 32 pixels."""
    measured = measure(benchmark, Task(benchmark.what, model, 32, batch, classes=10), ["flax"], repeats=5, least_s=0.5)
    return measured.ratio("plain Flax").median


def probe(model: str, images: int, epochs: int, kept: bool) -> dict[str, Any]:
    """The summary of a linear probe on the digits at 32 pixels, with features kept or a backbone in every epoch."""
    config = default_config()
    config.data.name, config.data.size = "digits", 32
    config.data.subset, config.data.test_subset, config.data.validation = images, 32, 0.0
    config.model.name, config.batch_size = model, images // 4
    config.checkpoint_every_s = 1e9  # time the training, not the disk
    config.phases = linear_probe(epochs, keep="last", cache_features=kept)
    with tempfile.TemporaryDirectory() as folder:
        return jaxtl.run(config, pathlib.Path(folder) / "run", console=RunConsole(Console(quiet=True)))


def kept_features() -> float:
    """Training time of a frozen phase that runs the backbone in every epoch, over that of one that keeps features."""
    kept, plain = (probe("resnet18_cifar", 256, 5, kept)["time"]["train_s"] for kept in (True, False))
    return float(plain / kept)


def streamed() -> float:
    """Speed of an epoch on images that are decoded as they are needed, over that of the same epoch from memory."""
    options = ImageOptions(size=64, stream="always", workers=1)
    arguments = argparse.Namespace(model="resnet18", batch=32, seed=0)
    epoch, seconds = timed_epoch(arguments, data_mesh(arguments.batch)), ([], [])  # type: ignore[var-annotated]
    with tempfile.TemporaryDirectory() as name:
        write_folder(pathlib.Path(name), files=384, pixels=72, seed=0)
        on_disk = load(scan(pathlib.Path(name), options), "train", options)
        in_memory = Dataset(np.asarray(on_disk.images), on_disk.labels, on_disk.class_names)
        for _ in range(3):
            for dataset, times in zip((in_memory, on_disk), seconds, strict=True):
                times.append(epoch(dataset))
    return statistics.median(seconds[0]) / statistics.median(seconds[1])


CASES: dict[str, Callable[[], float]] = {
    "train cnn, batch 64, against plain Flax": lambda: against_flax(train.BENCHMARK, "cnn", 64),
    "inference cnn, batch 64, against plain Flax": lambda: against_flax(inference.BENCHMARK, "cnn", 64),
    "train resnet18 at 32, batch 16, against plain Flax": lambda: against_flax(train.BENCHMARK, "resnet18", 16),
    "inference resnet18 at 32, batch 16, against plain Flax": lambda: against_flax(inference.BENCHMARK, "resnet18", 16),
    "frozen phase of resnet18_cifar, features kept against not": kept_features,
    "train resnet18 at 64, streamed against from memory": streamed,
}


def lost(now: float, before: float) -> bool:
    """Whether a ratio fell by more than what may be lost."""
    return now < (1 - MOST_LOST) * before


def verdict(case: str, now: float, before: float | None) -> tuple[bool, str]:
    """Whether a case holds, and the sentence that says so."""
    if before is None:
        return True, f"{case}: {now:.2f}; nothing is stored to compare with."
    change = f"{case}: {now:.2f}, stored {before:.2f} ({100 * (now / before - 1):+.0f} %)"
    if lost(now, before):
        return False, f"{change}: lost more than {100 * MOST_LOST:.0f} %."
    return True, f"{change}."


def main(argv: Sequence[str] | None = None) -> int:
    """Measure all cases and compare, or store."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ratios", type=pathlib.Path, default=RATIOS, help="the stored ratios")
    parser.add_argument("--update", action="store_true", help="store the ratios of this machine")
    arguments = parser.parse_args(argv)
    return exit_status(lambda: _command(arguments.ratios, arguments.update))


def _command(path: pathlib.Path, update: bool) -> int:
    stored, kind = _read(path), device()
    for other in stored.keys() - {kind}:
        print(f"Ratios stored on {other} say nothing about this machine ({kind}) and are skipped.")
    before: Mapping[str, float] = stored.get(kind, {}).get("ratios", {})
    found: dict[str, float] = {}
    failures = 0
    for case, measured in CASES.items():
        jax.clear_caches()  # the case before leaves nothing behind
        now = measured()
        if not update and case in before and lost(now, before[case]):
            now = max(now, measured())
        found[case] = now
        held, sentence = verdict(case, now, None if update else before.get(case))
        print(f"{case}: {now:.2f}" if update else sentence, flush=True)
        failures += not held
    if update:
        stored[kind] = {"environment": describe(), "load_average": load_average(), "ratios": found}
        write_result(path, json.dumps(stored, indent=2, sort_keys=True) + "\n")
        print(f"Stored in {path} for {kind}.")
        return 0
    if failures:
        print(f"{failures} of {len(found)} ratios fell by more than {100 * MOST_LOST:.0f} %.", file=sys.stderr)
    return 1 if failures else 0


def _read(path: pathlib.Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    try:
        stored: dict[str, Any] = json.loads(path.read_text())
    except ValueError as error:
        raise UserError(f"{path} is no JSON ({error}); write it anew with --update.") from error
    return stored


if __name__ == "__main__":
    sys.exit(main())

"""Damaged and forged run folders."""

import contextlib
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxtl.report.compared_runs import read_run
from jaxtl.runs.finished import load_run
from jaxtl.runtime.run_files import RunFiles
from jaxtl.train.checkpoint import Checkpoints, read_best
from tests.faults.bench import Bench
from tests.faults.case import Case, refuses, refuses_or_gives
from tests.test_predict import DAMAGES, edit

FLIPS = 12  # single bits, at random places of the checkpoint
IMAGES = np.random.default_rng(0).integers(0, 256, (20, 8, 8, 1)).astype(np.uint8)


def cases(bench: Bench) -> Iterator[Case]:
    """Each damages a copy of a finished run, and asks it."""

    def damaged(damage: Callable[[Path], Any], ask: Callable[[Path], Any]) -> Callable[[Path], Any]:
        def act(folder: Path) -> Any:
            shutil.copytree(bench.tiny, folder / "run")
            damage(folder / "run")
            return ask(folder / "run")

        return act

    for what, damage in {**DAMAGES, **_OTHERS}.items():
        yield Case(f"a run: {what}", damaged(damage, answers), refuses(""), quick=False)
    for what, name, content in _overwritten():
        ask = (lambda folder: RunFiles(folder).split()) if name == "split.npz" else read_run
        yield Case(
            f"a run: {what}",
            damaged(lambda folder, name=name, content=content: (folder / name).write_bytes(content), ask),
            refuses(f"{name} cannot be used"),
            quick=False,
        )
    for what, damage in _checkpoints():
        yield Case(f"a run: {what}", damaged(damage, answers), refuses("is damaged"), quick=False)
    whole = answers(bench.tiny)
    for seed in range(FLIPS):
        yield Case(
            f"a run: one flipped bit in the checkpoint, draw {seed}",
            damaged(lambda folder, seed=seed: _flip(folder / "checkpoints" / "best", seed), answers),
            refuses_or_gives(whole, "refuse, or the same answers"),
            quick=False,
        )


def answers(folder: Path) -> np.ndarray:
    """What a run says of some images: the probabilities to the last bit, and the classes."""
    found = load_run(folder).predict(IMAGES, top=3)
    return np.concatenate([found.probability.view(np.int32), found.classes], 1)


# The run of tests/test_predict has another network.
_OTHERS = {
    "another network": edit("config.json", lambda tree: tree["config"]["model"].update(name="bn_cnn")),
    "images of another size": edit("config.json", lambda tree: tree["data"].update(image_shape=[16, 16, 1])),
}


def _overwritten() -> Iterator[tuple[str, str, bytes]]:
    yield "an empty split.npz", "split.npz", b""
    yield "text in place of split.npz", "split.npz", b"train,test\n"
    yield "JSON 100,000 deep in metrics.jsonl", "metrics.jsonl", b"[" * 100_000 + b"\n"
    yield "numbers in place of the lines of metrics.jsonl", "metrics.jsonl", b"3\n"
    yield "text in place of a number in metrics.jsonl", "metrics.jsonl", b'{"epoch": 1, "val_accuracy": "high"}\n'
    yield "half a line in metrics.jsonl", "metrics.jsonl", b'{"epoch": 1, "tr'
    yield "an empty predictions.csv", "predictions.csv", b""
    yield "UTF-16 in predictions.csv", "predictions.csv", "index,true\n".encode("utf-16")
    forged = {"test": {"accuracy": 1.0, "n": 100, "confusion_matrix": [[1]], "per_class": [{"class": "0"}]}}
    yield "a forged summary.json", "summary.json", json.dumps(forged).encode()


def _checkpoints() -> Iterator[tuple[str, Callable[[Path], Any]]]:
    yield (
        "its largest file of weights cut to 1,000 bytes",
        lambda folder: _largest(folder).write_bytes(_largest(folder).read_bytes()[:1000]),
    )
    yield "its largest file of weights gone", lambda folder: _largest(folder).unlink()
    yield (
        "the description of its weights gone (_METADATA)",
        lambda folder: next((folder / "checkpoints" / "best").rglob("_METADATA")).unlink(),
    )
    yield "weights of another run", _other_weights
    yield "weights of zeros", lambda folder: _largest(folder).write_bytes(bytes(_largest(folder).stat().st_size))


def _other_weights(folder: Path) -> None:
    variables = read_best(folder / "checkpoints")
    with contextlib.closing(Checkpoints(folder / "checkpoints")) as checkpoints:
        checkpoints.save_best(99, jax.tree.map(np.negative, variables))


def _largest(folder: Path) -> Path:
    files = [path for path in (folder / "checkpoints" / "best").rglob("*") if path.is_file()]
    return max(files, key=lambda path: (path.stat().st_size, path.name))


def _flip(folder: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.stat().st_size)
    # Half of them hit the largest file, where the weights are; the other half any file.
    path = max(files, key=lambda path: path.stat().st_size) if seed % 2 else files[rng.integers(len(files))]
    content = bytearray(path.read_bytes())
    content[rng.integers(len(content))] ^= 1 << int(rng.integers(8))
    path.write_bytes(content)

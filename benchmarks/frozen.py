"""What keeping features is worth: the same frozen phase with and without the cache, beside one plain forward pass.

    python -m benchmarks.frozen --model resnet18_cifar
    python -m benchmarks.frozen --model cifar_resnet32 --weights cifar10

Both runs train a new linear head on the frozen backbone for five epochs of CIFAR-10, with the same seed, validation
after each epoch and a test at the end. Printed are the test accuracies, the wall times with and without compilation,
their ratios, and the cached phase against one pass of the evaluator over the training and the test images. The pass
and both runs follow each other on the same machine; without ``--weights`` the backbone is random, which costs the same.
"""

import argparse
import pathlib
import sys
import tempfile
import time
from collections.abc import Sequence
from typing import Any

import jax
from ml_collections import ConfigDict
from rich.console import Console

import jaxtl
from benchmarks.measure import write_json
from jaxtl.config import default_config
from jaxtl.data.augment import normalise
from jaxtl.report.console import RunConsole
from jaxtl.runtime.command import at_least_one, exit_status
from jaxtl.runtime.environment import device
from jaxtl.runtime.mesh import data_mesh
from jaxtl.train.evaluate import make_evaluator
from jaxtl.train.examples import place
from jaxtl.transfer.plans import linear_probe
from jaxtl.weights.cards import IMAGENET_MEAN, IMAGENET_STD


def make_config(arguments: argparse.Namespace, *, cached: bool) -> ConfigDict:
    """The frozen phase, with the cache or without."""
    config = default_config()
    config.name = "cached" if cached else "uncached"
    config.seed = arguments.seed
    config.model.name, config.model.weights = arguments.model, arguments.weights
    config.data.mean, config.data.std = IMAGENET_MEAN, IMAGENET_STD
    config.data.subset, config.data.test_subset = arguments.images, arguments.test_images
    config.data.validation = 0.1
    config.batch_size = arguments.batch
    config.checkpoint_every_s = 1e9  # time the training, not the disk
    config.phases = linear_probe(
        arguments.epochs, optimizer="adamax", learning_rate=1e-3, keep="last", cache_features=cached
    )
    return config


def run(arguments: argparse.Namespace, *, cached: bool) -> dict[str, Any]:
    """Accuracy and wall times of one run, in seconds."""
    config = make_config(arguments, cached=cached)
    with tempfile.TemporaryDirectory() as folder:
        summary = jaxtl.run(config, pathlib.Path(folder) / "run", console=RunConsole(Console(quiet=True)))
    times = summary["time"]
    return {
        "accuracy": summary["test"]["accuracy"],
        "train_s": times["train_s"],
        "inference_s": times["inference_s"],
        "compile_s": times["compile_s"],
    }


def forward_pass(arguments: argparse.Namespace) -> float:
    """Seconds of one pass of the evaluator over the training and the test images, compilation not counted."""
    model, variables = jaxtl.create_model(
        arguments.model, 10, weights=arguments.weights or None, key=jax.random.key(arguments.seed)
    )
    mesh, seconds = data_mesh(arguments.batch), 0.0
    for split, count in (("train", arguments.images), ("test", arguments.test_images)):
        dataset = jaxtl.load_dataset("cifar10", split=split)
        if count:
            dataset = jaxtl.Dataset(dataset.images[:count], dataset.labels[:count], dataset.class_names)
        evaluate = make_evaluator(
            model, place(dataset, mesh), normalise(IMAGENET_MEAN, IMAGENET_STD), batch_size=arguments.batch, mesh=mesh
        )
        seconds += evaluate({"batch_stats": {}, **variables}).seconds
    return seconds


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print, and write JSON where asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="resnet18_cifar")
    parser.add_argument("--weights", default="", help="tag or file; empty: random")
    parser.add_argument("--images", type=int, default=5000, help="training images, a tenth of them held out; 0: all")
    parser.add_argument("--test-images", type=int, default=1000, help="0: all")
    parser.add_argument("--epochs", type=at_least_one, default=5)
    parser.add_argument("--batch", type=at_least_one, default=128)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=pathlib.Path, help="write the figures here too")
    arguments = parser.parse_args(argv)
    return exit_status(lambda: _command(arguments))


def _command(arguments: argparse.Namespace) -> int:
    start = time.perf_counter()
    cached, uncached = run(arguments, cached=True), run(arguments, cached=False)
    forward_s = forward_pass(arguments)
    found = {
        "cached": cached,
        "uncached": uncached,
        "forward_s": forward_s,
        "times_shorter": uncached["train_s"] / cached["train_s"],
        "times_shorter_with_compilation": (uncached["train_s"] + uncached["compile_s"])
        / (cached["train_s"] + cached["compile_s"]),
        "passes": (cached["train_s"] + cached["inference_s"]) / forward_s,
    }
    print(
        f"{arguments.model}, {arguments.epochs} epochs, seed {arguments.seed}, batch {arguments.batch}, on {device()}"
    )
    for name in ("cached", "uncached"):
        line = found[name]
        print(
            f"{name:>9}: test accuracy {100 * line['accuracy']:.2f} %, training {line['train_s']:.2f} s, "
            f"compilation {line['compile_s']:.2f} s, test {line['inference_s']:.2f} s"
        )
    print(f"The cached phase is {found['times_shorter']:.2f} times shorter")
    print(f"  ({found['times_shorter_with_compilation']:.2f} times with compilation).")
    print(
        f"Training and test with the cache cost {found['passes']:.2f} times one forward pass over the same images "
        f"({forward_s:.2f} s)."
    )
    print(f"Wall time of this command: {time.perf_counter() - start:.0f} s.")
    write_json(arguments, found)
    return 0


if __name__ == "__main__":
    sys.exit(main())

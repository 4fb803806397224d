"""What streaming costs: a train epoch on images decoded as they are needed, beside the same epoch from memory.

    python -m benchmarks.data --files 100000 --pixels 256 --model resnet18 --size 224 --images 640

Writes a folder of image files (kept for the next time), of which some are then trained on: both epochs take the same
steps on the same images in the same order, one after the other, ``--repeats`` times in turn. The streamed one reads
files of the whole folder through Grain's worker processes, whose start is part of its time. Printed are images/s of
both, compilation apart, the ratio of their medians, and how long the folder took to be listed and checked.
"""

import argparse
import io
import pathlib
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh
from PIL import Image

import jaxtl
from benchmarks.measure import write_json
from jaxtl.data.augment import compose, horizontal_flip, normalise
from jaxtl.data.collection import load
from jaxtl.data.dataset import Dataset, take
from jaxtl.data.folder import scan
from jaxtl.data.options import ImageOptions
from jaxtl.runtime.command import at_least_one, exit_status
from jaxtl.runtime.environment import device
from jaxtl.runtime.mesh import data_mesh, replicated
from jaxtl.train.examples import batches, place
from jaxtl.train.optimizer import make_optimizer
from jaxtl.train.state import init_state
from jaxtl.train.step import make_train_step
from jaxtl.transfer import Phase
from jaxtl.weights.cards import IMAGENET_MEAN, IMAGENET_STD

CLASSES = 10


def write_folder(root: pathlib.Path, files: int, pixels: int, seed: int) -> float:
    """Fill the folder with smooth random JPEGs, as large as photographs of that size; the seconds it took."""
    start = time.perf_counter()

    def write(i: int) -> None:
        path = root / f"class{i % CLASSES}" / f"{i:07}.jpg"
        if path.exists():
            return
        coarse = np.random.default_rng((seed, i)).integers(0, 256, (pixels // 8, pixels // 8, 3), np.uint8)
        picture = Image.fromarray(coarse).resize((pixels, pixels), Image.Resampling.BICUBIC)
        content = io.BytesIO()
        picture.save(content, "JPEG", quality=90)
        path.write_bytes(content.getvalue())

    for k in range(CLASSES):
        (root / f"class{k}").mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor() as pool:
        list(pool.map(write, range(files)))
    return time.perf_counter() - start


def timed_epoch(arguments: argparse.Namespace, mesh: Mesh) -> Callable[[Dataset], float]:
    """A function that trains one epoch on a data set and returns its wall time in seconds, compilation apart."""
    model, variables = jaxtl.create_model(arguments.model, CLASSES, key=jax.random.key(arguments.seed))
    variables = {"batch_stats": {}, **variables}
    optimizer = make_optimizer(Phase(optimizer="sgd"), lambda step: 1e-3)
    step = make_train_step(
        model, optimizer, compose(horizontal_flip(), normalise(IMAGENET_MEAN, IMAGENET_STD)), mesh=mesh
    )
    key, compiled = jax.random.key(arguments.seed), {}

    def epoch(dataset: Dataset) -> float:
        copied = jax.tree.map(np.array, variables)
        state = init_state(copied["params"], copied["batch_stats"], optimizer, CLASSES)
        state = jax.device_put(state, replicated(mesh))
        frozen: Any = {"params": {}, "batch_stats": {}}
        examples = place(dataset, mesh)
        start, compile_s = time.perf_counter(), 0.0
        for inputs, labels, order, _ in batches(examples, arguments.batch, (arguments.seed,), mesh):
            arrays = (state, frozen, inputs, labels, order, key)
            if inputs.shape not in compiled:
                began = time.perf_counter()
                compiled[inputs.shape] = step.lower(*arrays).compile()
                compile_s += time.perf_counter() - began
            state = compiled[inputs.shape](*arrays)
        jax.block_until_ready(state)
        return time.perf_counter() - start - compile_s

    return epoch


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print, and write JSON where asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=pathlib.Path, default=pathlib.Path("runs/benchmark_images"))
    parser.add_argument("--files", type=at_least_one, default=100_000)
    parser.add_argument("--pixels", type=at_least_one, default=256, help="height and width of the files")
    parser.add_argument("--model", default="resnet18")
    parser.add_argument("--size", type=at_least_one, default=224, help="height and width that are trained on")
    parser.add_argument("--images", type=at_least_one, default=640, help="images an epoch")
    parser.add_argument("--batch", type=at_least_one, default=32)
    parser.add_argument("--repeats", type=at_least_one, default=3)
    parser.add_argument("--workers", type=int, default=0, help="worker processes; 0: one a core")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=pathlib.Path, help="write the figures here too")
    arguments = parser.parse_args(argv)
    return exit_status(lambda: _command(arguments))


def _command(arguments: argparse.Namespace) -> int:
    began = time.perf_counter()
    root = arguments.folder / f"{arguments.files}x{arguments.pixels}"
    found: dict[str, Any] = {"write_s": write_folder(root, arguments.files, arguments.pixels, arguments.seed)}

    options = ImageOptions(size=arguments.size, stream="always", workers=arguments.workers)
    start = time.perf_counter()
    folder = scan(root, options)
    found["list_s"] = time.perf_counter() - start
    for what in ("check_s", "check_again_s"):
        start = time.perf_counter()
        whole = load(folder, "train", options)
        found[what] = time.perf_counter() - start

    chosen = np.random.default_rng(arguments.seed).permutation(len(whole))[: arguments.images]
    streamed = take(whole, chosen)
    in_memory = Dataset(np.asarray(streamed.images), streamed.labels, streamed.class_names)
    epoch = timed_epoch(arguments, data_mesh(arguments.batch))
    seconds: dict[str, list[float]] = {"in memory": [], "streamed": []}
    for _ in range(arguments.repeats):
        seconds["in memory"].append(epoch(in_memory))
        seconds["streamed"].append(epoch(streamed))
    rates = {name: [len(chosen) / each for each in times] for name, times in seconds.items()}
    found["images_per_s"] = rates
    ratio = statistics.median(rates["streamed"]) / statistics.median(rates["in memory"])
    found["streamed_to_in_memory"] = ratio
    found["wall_s"] = time.perf_counter() - began

    print(f"{arguments.model} at {arguments.size}, batch {arguments.batch}, seed {arguments.seed}, on {device()}")
    print(f"{arguments.files:,} files of {arguments.pixels} x {arguments.pixels}: written in {found['write_s']:.1f} s,")
    print(
        f"listed in {found['list_s']:.2f} s, {len(whole):,} of them decoded to check them in {found['check_s']:.1f} s, "
        f"at the next start {found['check_again_s']:.2f} s"
    )
    for name, values in rates.items():
        spread = f"{min(values):.1f} to {max(values):.1f}"
        print(f"{name:>9}: {statistics.median(values):7.1f} images/s, median of {len(values)} ({spread})")
    print(f"The streamed epoch runs at {100 * ratio:.1f} % of the speed of the one from memory.")
    print(f"Wall time of this command: {found['wall_s']:.0f} s.")
    write_json(arguments, found)
    return 0


if __name__ == "__main__":
    sys.exit(main())

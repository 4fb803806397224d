"""A study's experiment as jaxtl runs it, beside the same experiment as the study runs it in PyTorch.

    python -m benchmarks.studies --model resnet50 --images 1000 --test-images 1000 --peer torchvision

The study (configs/resnet50.py) trains a two-layer head on a frozen ImageNet network for five epochs of 24,000 CIFAR-10
images at 224 pixels, batch 64, Adam at 1e-3. It runs the backbone in every epoch, batch norm in training mode, resizes
with Pillow in a DataLoader, and puts a sigmoid before the cross-entropy: that is the peer, eager float32. jaxtl runs
the best recipe of the config without its validation: batch norm as pretrained, no sigmoid, features kept. So the two
train the same layers on the same images for as many epochs, by different ways; that is what is compared.

Weights are random, which costs the same. Training and test follow each other, ours first, ``--repeats`` times in turn;
printed are medians. The study's own figures were measured on a T4 GPU for all images.
"""

import argparse
import contextlib
import pathlib
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import numpy as np
from PIL import Image
from rich.console import Console

import jaxtl
from benchmarks.contender import Task, need
from benchmarks.measure import load_average, write_json
from benchmarks.peers import check_installed, torchvision_
from jaxtl.config import default_config
from jaxtl.errors import UserError
from jaxtl.report.console import RunConsole
from jaxtl.report.text import duration
from jaxtl.runtime.command import at_least_one, exit_status
from jaxtl.runtime.environment import device
from jaxtl.transfer.plans import linear_probe
from jaxtl.weights.cards import IMAGENET_MEAN, IMAGENET_STD

# Seconds to train on 24,000 images for five epochs, and to test on 10,000: a T4 GPU, as the study reports them.
PUBLISHED = {
    "vgg16": (12 * 60 + 47, 64),
    "vgg19": (20 * 60 + 1, 99),
    "resnet50": (12 * 60 + 23, 59),
    "resnet152": (22 * 60 + 4, 105),
}
Times = dict[str, float]


def ours(arguments: argparse.Namespace) -> Times:
    """The experiment by jaxtl: seconds to train, to test and to compile."""
    config = default_config()
    config.seed, config.batch_size = arguments.seed, arguments.batch
    config.data.subset, config.data.test_subset, config.data.validation = arguments.images, arguments.test_images, 0.0
    config.data.size, config.data.mean, config.data.std = arguments.size, IMAGENET_MEAN, IMAGENET_STD
    config.model.name = arguments.model
    config.model.options = {"head": {"hidden": (128,), "dropout": 0.2}}
    if arguments.model.startswith("vgg"):
        config.model.options.update(bins=1, hidden=())
    config.checkpoint_every_s = 1e9  # the peer saves nothing
    config.phases = linear_probe(arguments.epochs, optimizer="adam", learning_rate=1e-3, keep="last")
    with tempfile.TemporaryDirectory() as folder, _compiled_anew():
        run = jaxtl.run(config, pathlib.Path(folder) / "run", console=RunConsole(Console(quiet=True)))
    return {name: run["time"][name] for name in ("train_s", "inference_s", "compile_s")}


class Photographs:
    """Images and labels with torchvision's transforms, as a DataLoader reads them."""

    def __init__(self, dataset: jaxtl.Dataset, size: int) -> None:
        """Take the images of a data set, resized to ``size`` x ``size`` each time they are read."""
        transforms = need("torchvision", "torchvision").transforms
        self._images, self._labels = np.asarray(dataset.images), dataset.labels
        self._transform = transforms.Compose(
            [transforms.Resize((size, size)), transforms.ToTensor(), transforms.Normalize(IMAGENET_MEAN, IMAGENET_STD)]
        )

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, i: int) -> tuple[Any, int]:
        return self._transform(Image.fromarray(self._images[i])), int(self._labels[i])


def theirs(arguments: argparse.Namespace) -> Times:
    """The experiment by PyTorch: seconds to train and to test."""
    torch = need("torch", "torchvision")
    torch.manual_seed(arguments.seed)
    there = torchvision_.device_of(torch)
    model = torchvision_.net(Task("train", arguments.model, arguments.size, arguments.batch, seed=arguments.seed))
    for parameter in model.parameters():
        parameter.requires_grad = False
    _new_head(torch.nn, model)
    model.to(there)
    criterion = torch.nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=1e-3)

    def loader(split: str, count: int, shuffle: bool) -> Any:
        whole = jaxtl.load_dataset("cifar10", split=split)
        dataset = jaxtl.Dataset(whole.images[:count], whole.labels[:count], whole.class_names)
        spawned = {"multiprocessing_context": "spawn"} if arguments.workers else {}
        return torch.utils.data.DataLoader(
            Photographs(dataset, arguments.size), arguments.batch, shuffle, num_workers=arguments.workers, **spawned
        )

    train_loader = loader("train", arguments.images, True)
    test_loader = loader("test", arguments.test_images, False)
    start = time.perf_counter()
    model.train()
    for _ in range(arguments.epochs):
        for images, labels in train_loader:
            optimizer.zero_grad()
            loss = criterion(model(images.to(there)), labels.to(there))
            loss.backward()
            optimizer.step()
            loss.item()  # the study prints the mean loss of an epoch
    trained = time.perf_counter()
    model.eval()
    right = 0
    with torch.no_grad():
        for images, labels in test_loader:
            right += int((model(images.to(there)).argmax(1) == labels.to(there)).sum())
    return {"train_s": trained - start, "inference_s": time.perf_counter() - trained}


def _new_head(nn: Any, model: Any) -> None:
    """The study's head in the place of the network's own; its maps are pooled to one pixel."""

    def head(features: int) -> Any:
        return nn.Sequential(nn.Linear(features, 128), nn.ReLU(), nn.Dropout(0.2), nn.Linear(128, 10), nn.Sigmoid())

    if hasattr(model, "fc"):
        model.fc = head(model.fc.in_features)
    else:
        model.avgpool, model.classifier = nn.AdaptiveAvgPool2d(1), head(512)


@contextlib.contextmanager
def _compiled_anew() -> Iterator[None]:
    """Without programs that were kept from other runs."""
    before = jax.config.jax_enable_compilation_cache  # type: ignore[attr-defined]  # set by name at run time
    jax.config.update("jax_enable_compilation_cache", False)
    try:
        yield
    finally:
        jax.config.update("jax_enable_compilation_cache", before)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print, and write JSON where asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="resnet50", help="a ResNet or a VGG")
    parser.add_argument("--images", type=at_least_one, default=1000, help="training images; the study: 24,000")
    parser.add_argument("--test-images", type=at_least_one, default=1000, help="the study: 10,000")
    parser.add_argument("--size", type=at_least_one, default=224)
    parser.add_argument("--epochs", type=at_least_one, default=5)
    parser.add_argument("--batch", type=at_least_one, default=64)
    parser.add_argument("--peer", choices=("torchvision",), help="run the study's way too")
    parser.add_argument("--workers", type=int, default=0, help="of PyTorch's DataLoader; 0 is its default")
    parser.add_argument("--repeats", type=at_least_one, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=pathlib.Path, help="write the figures here too")
    arguments = parser.parse_args(argv)
    return exit_status(lambda: _command(arguments))


def _command(arguments: argparse.Namespace) -> int:
    family = arguments.model.removesuffix("_bn").rstrip("0123456789")
    if family not in ("resnet", "vgg"):
        raise UserError(f"The study has no {arguments.model}; it uses networks of the families resnet and vgg.")
    if arguments.peer:
        check_installed(arguments.peer)
    ways = {"jaxtl": ours, "PyTorch": theirs} if arguments.peer else {"jaxtl": ours}
    runs: dict[str, list[Times]] = {who: [] for who in ways}
    for _ in range(arguments.repeats):
        for who, way in ways.items():
            runs[who].append(way(arguments))
    medians = {
        who: {what: statistics.median(t[what] for t in times) for what in times[0]} for who, times in runs.items()
    }
    found: dict[str, Any] = {"runs": runs, "medians": medians}
    print(
        f"{arguments.model} at {arguments.size}, frozen, {arguments.epochs} epochs of {arguments.images:,} images, "
        f"{arguments.test_images:,} to test on, batch {arguments.batch}, seed {arguments.seed}, on {device()}"
    )
    for who, times in medians.items():
        compiling = f", compilation {duration(times['compile_s'])}" if "compile_s" in times else ""
        print(f"{who:>8}: training {duration(times['train_s'])}{compiling}, test {duration(times['inference_s'])}")
    if arguments.peer:
        mine, peer = medians["jaxtl"], medians["PyTorch"]
        found["times_as_fast"] = {
            "train": peer["train_s"] / mine["train_s"],
            "train_with_compilation": peer["train_s"] / (mine["train_s"] + mine["compile_s"]),
            "inference": peer["inference_s"] / mine["inference_s"],
        }
        fast = found["times_as_fast"]
        print(
            f"jaxtl trains {fast['train']:.2f} times as fast ({fast['train_with_compilation']:.2f} with compilation) "
            f"and tests {fast['inference']:.2f} times as fast."
        )
    if arguments.model in PUBLISHED:
        train_s, test_s = PUBLISHED[arguments.model]
        print(
            f"The study, 5 epochs of 24,000 images on a T4 GPU: training {duration(train_s)}, test of 10,000 images "
            f"{duration(test_s)}."
        )
        found["published_on_t4"] = {"train_s": train_s, "inference_s": test_s}
    if load := load_average():
        print(f"Load average {load[0]:.2f} at the end.")
    write_json(arguments, found)
    return 0


if __name__ == "__main__":
    sys.exit(main())

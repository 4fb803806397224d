"""Whole runs, by the command that a user types: study E as published, epochs at 32 pixels, study C."""

import dataclasses
import json
import math
import pathlib
import statistics
import tempfile
from typing import Any

import numpy as np

import jaxtl
from benchmarks.gpu.job import Findings
from benchmarks.gpu.speed import pair
from benchmarks.loop import Again, wrapped_steps
from benchmarks.studies import PUBLISHED
from jaxtl.data.catalogue import DATASETS
from jaxtl.errors import UserError
from jaxtl.main import main
from jaxtl.report.text import duration, number

CONFIGS = pathlib.Path(__file__).parents[2] / "configs"
STUDY_E_S = 30  # a study's network is to be trained and tested within
EPOCHS = 8  # of a network at 32 pixels: few would scatter by more than the loop takes
LOOP_SHARE = 0.01  # of an epoch, what the loop may take beside its steps
# Networks, images and numbers of a tiny run; the last layer of a config stays.
TINY = (
    "model.name=resnet18",
    "model.options.depths=(1,1)",
    "model.options.width=8",
    "data.size=32",
    "batch_size=16",
    "data.subset=64",
)


def run(config: str, *fields: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """A config from ``configs/`` with some fields changed: what is in summary.json, and the lines of metrics.jsonl.

    Random weights stand in for pretrained ones, which cost the same, and nothing is saved before the end.

    Raises:
      UserError: the run failed; it has said why.
    """
    with tempfile.TemporaryDirectory() as folder:
        name, _, recipe = config.partition(":")
        arguments = ["--config", f"{CONFIGS / name}.py" + (f":{recipe}" if recipe else ""), "--workdir", folder]
        changes = ("model.weights=", "checkpoint_every_s=1e9", *fields)
        if main([*arguments, *(f"--config.{change}" for change in changes)]):
            raise UserError(f"The run of {config} failed; see above.")
        lines = (pathlib.Path(folder) / "metrics.jsonl").read_text().splitlines()
        summary: dict[str, Any] = json.loads((pathlib.Path(folder) / "summary.json").read_text())
        return summary, [json.loads(line) for line in lines]


def cifar10_or_noise() -> str:
    """What the name ``cifar10`` stands for from now on: the real images where they lie on the disk, else noise."""
    try:
        jaxtl.load_dataset("cifar10", "test", download=False)
        return "CIFAR-10"
    except UserError:
        info = DATASETS["cifar10"]

    def noise(split: str, *_: object, **__: object) -> jaxtl.Dataset:
        rng, count = np.random.default_rng(split == "train"), info.sizes[split]
        images = rng.integers(0, 256, (count, *info.image_shape), np.uint8)
        return jaxtl.Dataset(images, rng.integers(0, len(info.class_names), count, np.int32), info.class_names)

    DATASETS["cifar10"] = dataclasses.replace(info, load=noise)
    return "noise"


def study_e(findings: Findings) -> None:
    """The study's recipe: 24,000 images at 224 pixels for five epochs, and the test of 10,000; but in bfloat16."""
    images, net = cifar10_or_noise(), findings.case
    tiny = (*TINY, "phases.0.epochs=1", "data.test_subset=32") if findings.tiny else ()
    summary, lines = run(net, "model.dtype=bfloat16", f"seed={findings.seed}", *tiny)
    time = summary["time"]
    seconds = time["train_s"] + time["inference_s"]
    findings.figures(time=time, epochs=lines, images=images)
    train_s, test_s = PUBLISHED[net]
    findings.line(
        f"study E, {net} as published, bfloat16, {images}",
        f"trained in {duration(time['train_s'])}, tested in {duration(time['inference_s'])}; compilation "
        f"{duration(time['compile_s'])} beside it",
        beside=f"the study, T4: {duration(train_s)}, {duration(test_s)}",
        target=f"< {STUDY_E_S} s",
        met=seconds < STUDY_E_S,
    )


def small(findings: Findings) -> None:
    """A network at 32 pixels: its step beside torchvision's, and what an epoch takes beyond its steps."""
    net, images = findings.case, cifar10_or_noise()
    tiny = ("data.subset=64", "batch_size=16", "data.test_subset=32") if findings.tiny else ()
    with wrapped_steps(Again) as steps:
        summary, lines = run(net, f"phases.0.epochs={EPOCHS}", "data.test_subset=128", f"seed={findings.seed}", *tiny)
    epochs_s = [line["seconds"] for line in lines[1:]]  # the first one may wait for the device
    epoch_s = statistics.median(epochs_s)
    scatter = (max(epochs_s) - min(epochs_s)) / epoch_s
    per_epoch = math.ceil((64 if findings.tiny else 50_000) / (16 if findings.tiny else 128))
    step_s = statistics.median(steps[0].seconds(per_epoch) for _ in range(EPOCHS - 1))
    loop = 1 - per_epoch * step_s / epoch_s
    findings.figures(time=summary["time"], epochs=lines, step_s=step_s, steps=per_epoch, images=images)
    findings.line(
        f"epoch of configs/{net}.py, float32, {images}",
        f"{epoch_s:.2f} s, {number(statistics.median(line['images_per_s'] for line in lines[1:]))} images/s; "
        f"{per_epoch} steps of {1e3 * step_s:.2f} ms; the loop takes {loop:.1%}, and epochs scatter by {scatter:.1%}",
        target=f"loop < {LOOP_SHARE:.0%}",
        met=loop < LOOP_SHARE if scatter < abs(loop - LOOP_SHARE) and loop > 0 else None,
    )
    pair(findings)


def study_c(findings: Findings) -> None:
    """An epoch of each phase: the head on kept features, then everything."""
    images = cifar10_or_noise()
    tiny = (*TINY, "data.test_subset=32") if findings.tiny else ()
    one_each = ("phases.0.epochs=1", "phases.1.epochs=1")
    summary, (_, everything) = run(
        "resnet50_gradual:best", *one_each, "model.dtype=bfloat16", f"seed={findings.seed}", *tiny
    )
    time, rate = summary["time"], everything["images_per_s"]
    findings.figures(time=time, epochs=[everything], images=images)
    findings.line(
        f"study C, resnet50_gradual:best, an epoch of each phase, bfloat16, {images}",
        f"features kept in {duration(time['features_s'])}; then everything trained at {number(rate)} images/s; "
        f"compilation {duration(time['compile_s'])} beside it",
        beside="the study: 50 s of training",
    )

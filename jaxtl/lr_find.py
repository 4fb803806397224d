"""``python -m jaxtl.lr_find --config configs/X.py [--config.FIELD=VALUE ...]``: find a learning rate to begin with.

Trains a phase of the config for a few steps while the rate grows, on the training images alone, and draws the loss.
"""

import argparse
import math
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import rich
from rich.progress import Progress

from jaxtl.config import SOURCE, variants
from jaxtl.config.data import load_splits, preprocessing
from jaxtl.config.flags import parse_config
from jaxtl.config.model import create, settled_plan, start_weights, with_fallbacks
from jaxtl.config.tree import Tree
from jaxtl.errors import UserError
from jaxtl.report import plots
from jaxtl.runs.folder import make_work_folder
from jaxtl.runtime.command import CommandParser, command
from jaxtl.runtime.environment import device
from jaxtl.runtime.files import csv_text, write_errors_explained, write_whole
from jaxtl.runtime.mesh import data_mesh
from jaxtl.runtime.run_files import RunFiles
from jaxtl.train.range_test import DIVERGED, RangeTest, Suggestion, range_test, suggest
from jaxtl.train.task import Task
from jaxtl.transfer.phases import Phase

MOST_STEPS = 100_000
PICTURE, TABLE = "lr_find.png", "lr_find.csv"


def parse(argv: Sequence[str]) -> tuple[Tree, argparse.Namespace]:
    """The config of the main run, with the changes of the flags, and the other flags."""
    parser = CommandParser(
        prog="python -m jaxtl.lr_find",
        usage="%(prog)s --config FILE [--workdir DIR] [--phase N] [--low RATE --high RATE --steps N] "
        "[--config.FIELD=VALUE ...]",
        description="Learning-rate range test: train a phase for a few steps while the rate grows, and draw the loss.",
        epilog="It uses the training images alone, and leaves a run in the work folder as it is.",
    )
    parser.add_argument("--phase", type=int, default=0, help="which phase of the plan, from 0 (%(default)s)")
    parser.add_argument("--low", type=float, default=1e-7, help="first learning rate (%(default)s)")
    parser.add_argument("--high", type=float, default=10.0, help="last learning rate (%(default)s)")
    parser.add_argument("--steps", type=int, default=100, help="steps between them (%(default)s)")
    tree, arguments = parse_config(parser, argv)
    config = variants(tree)[""]
    if not (0 < arguments.low < arguments.high < math.inf and 2 <= arguments.steps <= MOST_STEPS):
        raise UserError(
            f"The rates cannot grow from --low {arguments.low:g} to --high {arguments.high:g} in --steps "
            f"{arguments.steps}; give 0 < low < high and 2 steps or more, {MOST_STEPS:,} at most."
        )
    if not 0 <= arguments.phase < len(config["phases"]):
        raise UserError(
            f"There is no phase {arguments.phase}: the plan of {arguments.config} has {len(config['phases'])}, counted "
            "from 0; choose another with --phase."
        )
    return config, arguments


def find(config: Tree, arguments: argparse.Namespace) -> RangeTest:
    """Run the test that the flags ask for."""
    runs, changed = with_fallbacks({"": config}, arguments.workdir)
    config = runs[""]
    for sentence in changed:
        print(sentence)
    weights = start_weights(config, arguments.workdir)
    if config["model"]["weights"] == SOURCE and RunFiles(RunFiles(arguments.workdir).part(SOURCE)).unfinished():
        raise UserError(
            f"The run starts from the config's source, which is not trained in {weights}; run python -m jaxtl.main "
            "first, or give the folder of its run with --workdir."
        )
    model, variables = create(config, weights)
    plan, adjusted = settled_plan([Phase(**phase) for phase in config["phases"]], model, variables["params"])
    train = load_splits(config["data"]).train
    phase, low, high, steps = arguments.phase, arguments.low, arguments.high, arguments.steps
    if phase:
        adjusted.append("The phases before it are not trained: it starts from the weights that the run starts from.")
    for line in adjusted:
        print(line)
    make_work_folder(arguments.workdir)
    print(f"Learning rates {low:g} to {high:g} in {steps} steps of phase {plan[phase].name!r}, on {device()}")
    batch_size = config["batch_size"]
    mesh = data_mesh(batch_size)
    task = Task(model, plan, train, None, preprocessing(config["data"]), batch_size, config["seed"], mesh)
    console = rich.get_console()
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        shown = bar.add_task("Range test", total=steps)
        rates = np.geomspace(low, high, steps)
        found = range_test(task, variables, phase, rates, on_step=lambda done: bar.update(shown, completed=done))
    if len(found.rates) < steps:
        print(f"Stopped at {found.rates[-1]:.2g}, where the loss was {DIVERGED:g} times the best, or not a number.")
    return found


def write(folder: Path, found: RangeTest, suggestion: Suggestion | None) -> None:
    """Write picture and table; nothing else in the folder is touched."""
    marks = {"steepest descent": suggestion.steepest, "minimum / 10": suggestion.tenth} if suggestion else {}
    lines = (tuple(float(value) for value in line) for line in zip(*found, strict=True))
    with write_errors_explained(folder / PICTURE):
        write_whole(folder / PICTURE, plots.png(plots.loss_by_rate(*found, marks)))
        write_whole(folder / TABLE, csv_text([("rate", "loss", "smoothed"), *lines]))


def lr_find(argv: Sequence[str]) -> None:
    """Find a rate, and draw and print it."""
    config, arguments = parse(argv)
    found = find(config, arguments)
    suggestion = suggest(found)
    if suggestion:
        print(f"Minimum / 10:     {suggestion.tenth:.2g}\nSteepest descent: {suggestion.steepest:.2g}, as a flag:")
        print(f"  --config.phases.{arguments.phase}.learning_rate={suggestion.steepest:.2g}")
    else:
        print("No suggestion: the loss never fell; try a lower --low, more --steps, or look at the picture.")
    write(arguments.workdir, found, suggestion)  # once the figures are told, whatever becomes of the files
    print(f"Loss against rate: {arguments.workdir / PICTURE}, and its numbers: {arguments.workdir / TABLE}")


main = command(lr_find)

if __name__ == "__main__":
    sys.exit(main())

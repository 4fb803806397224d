"""``python -m jaxtl.study a [--scale 0.02]``: run the rows of a study's table; our figures beside the study's."""

import argparse
import copy
import sys
from collections.abc import Sequence
from pathlib import Path

from jaxtl import experiment
from jaxtl.config import BASELINES, SOURCE, raise_problems, variants
from jaxtl.config.data import data_info
from jaxtl.config.flags import default_workdir, load_config, override, split_flags
from jaxtl.config.tree import Tree
from jaxtl.errors import UserError
from jaxtl.report.compared_runs import FinishedRun, find_runs
from jaxtl.report.comparison import compare_runs
from jaxtl.report.comparison_page import PAGE, write
from jaxtl.report.console import LiveConsole
from jaxtl.report.study_table import Figures, Row, figures, studies, study_table, write_results
from jaxtl.report.tables import Table, print_table
from jaxtl.runs.folder import disk_errors_explained
from jaxtl.runtime.command import CommandParser, command, path, seeds
from jaxtl.runtime.run_files import RunFiles
from jaxtl.search.__main__ import search

LEAST = 20  # images of each class, in a try-out


def scaled(config: Tree, scale: float) -> Tree:
    """The config on a share of its images and epochs: at least 20 images of each class, and one epoch a phase."""
    config, info = copy.deepcopy(config), data_info(config["data"])
    if scale == 1:
        return config
    config["name"] += f", a try-out on {100 * scale:g} %"
    classes = len(config["data"]["classes"] or info.class_names)
    for field, split in (("subset", "train"), ("test_subset", "test")):
        whole = config["data"][field] or info.sizes[split] * classes // len(info.class_names)
        config["data"][field] = min(whole, max(round(scale * whole), LEAST * classes))
    for part in (config, config.get(SOURCE) or {}, *(config.get(BASELINES) or {}).values()):
        if isinstance(count := part.get("data", {}).get("per_class"), int) and count:
            part["data"]["per_class"] = min(count, max(round(scale * count), LEAST // 4))
        for phase in part.get("phases", ()):
            phase["epochs"] = max(round(scale * phase["epochs"]), 1)
    return config


def train(row: Row, folder: Path, arguments: argparse.Namespace, assignments: Sequence[tuple[str, str]]) -> str:
    """Run a row, or go on; return why it could not be measured, empty if it was."""
    try:
        config = load_config(row.place)
        raise_problems(override(config, assignments), row.place)
        config = scaled(config, arguments.scale)
        if not row.trials:
            diverged = experiment.run(config, folder, seeds=arguments.seeds).get("diverged")
            return f"Left out, because they diverged: {', '.join(diverged)}." if diverged else ""
        changes = [(f"data.{name}", config["data"][name]) for name in ("subset", "test_subset")]
        flags = ["--trials", str(max(round(arguments.scale * row.trials), 2))]
        if arguments.scale < 1:  # the final training is as short as a trial
            epochs = [(f"phases.{i}.epochs", phase["epochs"]) for i, phase in enumerate(config["phases"])]
            changes += epochs
            flags += [f"--final={name}={value}" for name, value in epochs]
        flags += [f"--config.{name}={value}" for name, value in (*assignments, *changes)]
        search(["--config", row.place, "--workdir", str(folder), *flags])
    except UserError as error:
        return " ".join(str(error).split())
    return ""


def finished(row: Row, folder: Path) -> list[FinishedRun]:
    """The finished run of a row, or those of several seeds; none where there is none."""
    folder = folder / RunFiles.BEST if row.trials else folder
    there = [place for place in RunFiles(folder).repeats() or [folder] if not RunFiles(place).unfinished()]
    return find_runs(there, with_baselines=False, ignored=folder, say=lambda line: None) if there else []


def parse(argv: Sequence[str]) -> tuple[argparse.Namespace, list[tuple[str, str]]]:
    """The flags, and (path, text) of the fields that they change in every config."""
    parser = CommandParser(
        prog="python -m jaxtl.study",
        usage="%(prog)s STUDY [--scale SHARE] [--seeds SEEDS] [--no-train] [--page FILE] [--config.FIELD=VALUE ...]",
        description="Run the rows of a study's table, or go on, and show them as the study does, ours beside its own.",
    )
    page = "Markdown file of the results; their figures stay in a .json beside it"
    parser.add_argument("study", choices=[*studies(), "all"], help="which study")
    parser.add_argument("--scale", type=float, default=1.0, help="share of images and epochs, for a try-out (all)")
    parser.add_argument("--workdir", type=path, help="folder of the run folders; default: runs, or runs/scale_SHARE")
    parser.add_argument("--seeds", type=seeds, default=(), help="a run for each seed, as in 0..4 or 0,3,7")
    parser.add_argument("--no-train", action="store_true", help="train nothing, show the runs that are finished")
    parser.add_argument("--page", type=path, help=page)
    assignments, others = split_flags(argv)
    arguments = parser.parse_args(others)
    if not 0 < arguments.scale <= 1 or (arguments.page and arguments.scale < 1):
        raise UserError("--scale is a share of at most 1, and must be left out with --page, which shows no try-outs.")
    arguments.workdir = arguments.workdir or Path("runs", *[f"scale_{arguments.scale:g}"] * (arguments.scale < 1))
    return arguments, assignments


def run_studies(argv: Sequence[str]) -> None:
    """Run the studies that the arguments name, and show each as a table and on a page."""
    arguments, assignments = parse(argv)
    console, everything, scale = LiveConsole(), dict[str, Figures](), arguments.scale
    for study, (title, rows) in studies().items():
        if arguments.study not in (study, "all"):
            continue
        folders = {row: arguments.workdir / default_workdir(row.place).name for row in rows}
        to_train = [] if arguments.no_train else rows
        reasons = {row.place: train(row, folders[row], arguments, assignments) for row in to_train}
        runs = {row: there for row in rows if (there := finished(row, folders[row]))}
        configs = {row: variants(scaled(load_config(row.place), scale))[""] for row in runs}
        found = {row.place: figures(row, there, configs[row]) for row, there in runs.items()}
        everything |= found
        title += f": a try-out on {100 * scale:g} %" * (scale < 1)
        table, absent = study_table(title, rows, found, reasons)
        print_table(Table(title, table.headings[:8], [line[:8] for line in table.rows]), console.console)
        for line in absent:
            console.say(line)
        if runs:
            comparison = compare_runs([run for there in runs.values() for run in there])
            out = arguments.workdir / f"study_{study}"
            with disk_errors_explained(out):
                write(comparison, out, study=table, absent=absent)
            console.say(f"The page with all tables and charts: {out / PAGE}")
    if arguments.page:
        write_results(arguments.page, studies(), everything)


main = command(run_studies, resumes=True)

if __name__ == "__main__":
    sys.exit(main())

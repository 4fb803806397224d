"""``python -m jaxtl.study a [--scale 0.02]``: run the rows of a study's table; our figures beside the study's."""

import argparse
import copy
import json
import sys
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxtl import experiment, search
from jaxtl.config import BASELINES, SOURCE, raise_problems, variants, with_defaults
from jaxtl.config.data import data_info
from jaxtl.config.flags import default_workdir, load_config, override, packaged, split_flags
from jaxtl.config.tree import Tree, leaves
from jaxtl.errors import UserError
from jaxtl.report.compared_runs import FinishedRun, find_runs
from jaxtl.report.comparison import compare_runs
from jaxtl.report.comparison_page import PAGE, write
from jaxtl.report.console import LiveConsole
from jaxtl.report.statistics import spread
from jaxtl.report.tables import Table, markdown, print_table
from jaxtl.report.text import NOT_MEASURED, duration, percent
from jaxtl.runs.folder import disk_errors_explained, identity
from jaxtl.runtime.command import CommandParser, exit_status, path, seeds, write_result
from jaxtl.runtime.cpu import use_fast_cpu_lowerings
from jaxtl.runtime.files import damage_explained, read_object
from jaxtl.runtime.run_files import RunFiles
from jaxtl.weights.cards import card_for
from jaxtl.weights.store import is_tag

# Fields in which the run of a row may differ from its config; where the weights start is a column of the table.
FREE = ("name", "seed", "data.split_seed", "data.folds", "data.fold", "model.weights")
LEAST = 20  # images of each class, in a try-out
HEADINGS = (
    *("Row", "Recipe", "Reported", "Ours", "95 % interval", "Start of the weights"),
    *("Time to train", "Time to test", "Measured on", "Command"),
)
HEAD = """# Results

Every row of the five studies: what the study reports, and what we measured on all of its test images, which were used
once, at the end. `jaxtl study all --no-train --page docs/results.md` writes this page from the finished runs in `runs`
and from `docs/results.json`, which keeps the figures of earlier ones.
"""
Figures = dict[str, Any]  # of a row, see `figures`


class Row(NamedTuple):
    """A row of a study's table, by one recipe, see ``configs/studies.toml``."""

    name: str
    recipe: str
    place: str  # of the config
    trials: int  # of a search; 0: a config that is trained

    @property
    def command(self) -> str:
        """What measures it."""
        return f"jaxtl search {self.place} --trials {self.trials}" if self.trials else f"jaxtl train {self.place}"


def studies() -> dict[str, tuple[str, list[Row]]]:
    """Title and rows of each study."""
    file = packaged("studies.toml")
    found = {}
    for study, table in tomllib.loads(file.read_text("utf-8") if file else "").items():
        rows = [(row["name"], *of, row.get("trials", 0)) for row in table["rows"] for of in row["recipes"].items()]
        found[study] = table["title"], [Row(*row) for row in rows]
    return found


def scaled(config: Tree, scale: float) -> Tree:
    """The config on a share of its images and epochs: at least 20 images of each class, and one epoch a phase."""
    config, info = copy.deepcopy(config), data_info(config["data"])
    if scale == 1:
        return config
    config["name"] += f", a try-out on {100 * scale:g} %"
    classes = len(config["data"]["classes"] or info.class_names)
    for field, split in (("subset", "train"), ("test_subset", "test")):
        whole = config["data"][field] or info.sizes[split] * classes // info.num_classes
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
            experiment.run(config, folder, seeds=arguments.seeds)
            return ""
        if not search.HAS_OPTUNA:
            return "It needs Optuna; run pip install 'jaxtl[search]'."
        from jaxtl.search.command import search as run_search

        changes = [(f"data.{name}", config["data"][name]) for name in ("subset", "test_subset")]
        flags = ["--trials", str(max(round(arguments.scale * row.trials), 2))]
        if arguments.scale < 1:  # the final training is as short as a trial
            epochs = [(f"phases.{i}.epochs", phase["epochs"]) for i, phase in enumerate(config["phases"])]
            changes += epochs
            flags += [f"--final={name}={value}" for name, value in epochs]
        flags += [f"--config.{name}={value}" for name, value in (*assignments, *changes)]
        run_search(["--config", row.place, "--workdir", str(folder), *flags])
    except UserError as error:
        return " ".join(str(error).split())
    return ""


def finished(row: Row, folder: Path) -> list[FinishedRun]:
    """The finished run of a row, or those of several seeds; none where there is none."""
    folder = folder / RunFiles.BEST if row.trials else folder
    there = [place for place in RunFiles(folder).repeats() or [folder] if not RunFiles(place).unfinished()]
    return find_runs(there, with_baselines=False, ignored=folder, say=lambda line: None) if there else []


def figures(row: Row, runs: Sequence[FinishedRun], scale: float) -> Figures:
    """What table and page say of the runs of a row: shares in [0, 1], times in seconds, means of several runs."""
    own = dict(leaves(identity(variants(scaled(load_config(row.place), scale))[""])))
    changed = [path for path, value in own.items() if path not in FREE and runs[0].settings.get(path, value) != value]
    low, high = spread([run.accuracy for run in runs], bounds=(0, 1))[3:] if len(runs) > 1 else runs[0].interval
    found: Figures = {"low": low, "high": high, "runs": len(runs), "changed": changed if not row.trials else []}
    for name in ("accuracy", "train_s", "inference_s"):
        found[name] = float(np.mean([getattr(run, name) for run in runs]))
    settings, environment = runs[0].settings, RunFiles(runs[0].folder).config().get("environment", {})
    found["start"] = start_in_words(settings["model.name"], settings["model.weights"])
    measured_on = (runs[0].device, environment.get("date", "")[:10], environment.get("commit", ""))
    return {**found, "measured_on": ", ".join(filter(None, measured_on))}


def start_in_words(model: str, weights: str) -> str:
    """What a run starts from."""
    if is_tag(model, weights):
        return f"{card_for(model, weights).data} ({weights})"
    return {"": "random", SOURCE: "a run on other images"}.get(weights) or weights


def study_table(
    rows: Sequence[Row], found: Mapping[str, Figures], reasons: Mapping[str, str]
) -> tuple[Table, list[str]]:
    """The study's table, and why rows of it were not run; figures and reasons are by the places of configs."""
    lines: list[list[str]] = []
    absent: dict[str, list[str]] = {}  # commands, by what is said of them
    for row in rows:
        config, mine = with_defaults(load_config(row.place)), found.get(row.place)
        start = start_in_words(config["model"]["name"], config["model"]["weights"])
        why = reasons.get(row.place, "")
        if mine:
            said = why and f"Not run now, and shown as it was before: {why}"
            start = mine["start"] + f"; the study: {start}" * (mine["start"] != start)
            ours = percent(mine["accuracy"]) + f" (mean of {mine['runs']} runs)" * (mine["runs"] > 1)
            if changed := mine.get("changed"):
                ours += f", with other {', '.join(changed)}"
            cells = [ours, f"{100 * mine['low']:.2f} to {100 * mine['high']:.2f}", start]
            cells += [duration(mine["train_s"]), duration(mine["inference_s"]), mine["measured_on"]]
        else:
            cells = ["not measured", NOT_MEASURED, start, *[NOT_MEASURED] * 3]
            images = f"the images of {config['data']['name']}"
            needed = images if config["model"]["weights"] in ("", SOURCE) else f"the weights {start}"
            said = f"Not measured: {why or f'it needs {needed}, and was not run yet.'}"
        if said:
            absent.setdefault(said, []).append(f"`{row.command}`")
        lines.append([row.name, row.recipe, config["reported"], *cells, row.command])
    told = [f"{said} What measures it: {', '.join(commands)}." for said, commands in absent.items()]
    return Table("", HEADINGS, lines), told


def write_results(file: Path, found: Mapping[str, Figures]) -> None:
    """Write all studies as a page of Markdown, and their figures as JSON; what that holds from before stays."""
    kept = file.with_suffix(".json")
    with damage_explained(kept):
        known = {**(read_object(kept) if kept.exists() else {}), **found}
    parts = [HEAD]
    for title, rows in studies().values():
        table, absent = study_table(rows, known, {})
        parts.append(f"## {title}\n\n{markdown(table)}\n" + "".join(f"- {line}\n" for line in absent))
    write_result(kept, json.dumps(known, indent=1, sort_keys=True) + "\n")
    write_result(file, "\n".join(parts))


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


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; 0 if all went well, 2 for a user error, 128 + N after signal N."""
    use_fast_cpu_lowerings()
    return exit_status(lambda: _study(*parse(sys.argv[1:] if argv is None else argv)), resumes=True)


def _study(arguments: argparse.Namespace, assignments: Sequence[tuple[str, str]]) -> int:
    console, everything, scale = LiveConsole(), dict[str, Figures](), arguments.scale
    for study, (title, rows) in studies().items():
        if arguments.study not in (study, "all"):
            continue
        folders = {row: arguments.workdir / default_workdir(row.place).name for row in rows}
        to_train = [] if arguments.no_train else rows
        reasons = {row.place: train(row, folders[row], arguments, assignments) for row in to_train}
        runs = {row: there for row in rows if (there := finished(row, folders[row]))}
        found = {row.place: figures(row, there, scale) for row, there in runs.items()}
        everything |= found
        table, absent = study_table(rows, found, reasons)
        table = table._replace(title=title + f": a try-out on {100 * scale:g} %" * (scale < 1))
        print_table(Table(table.title, table.headings[:8], [line[:8] for line in table.rows]), console.console)
        for line in absent:
            console.say(line)
        if runs:
            comparison = compare_runs([run for there in runs.values() for run in there])
            out = arguments.workdir / f"study_{study}"
            with disk_errors_explained(out):
                write(comparison, out, study=table, absent=absent)
            console.say(f"The page with all tables and charts: {out / PAGE}")
    if arguments.page:
        write_results(arguments.page, everything)
    return 0


if __name__ == "__main__":
    sys.exit(main())

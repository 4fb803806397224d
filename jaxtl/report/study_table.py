"""A study's table: its rows, and our figures beside the study's, on the screen and as a page of Markdown."""

import json
import shlex
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxtl.config import SOURCE, with_defaults
from jaxtl.config.flags import load_config, packaged
from jaxtl.config.tree import Tree, leaves
from jaxtl.report.compared_runs import FinishedRun
from jaxtl.report.statistics import spread
from jaxtl.report.tables import Table, markdown
from jaxtl.report.text import NOT_MEASURED, duration, percent
from jaxtl.runs.folder import identity
from jaxtl.runtime.command import write_result
from jaxtl.runtime.files import damage_explained, read_object
from jaxtl.runtime.run_files import RunFiles
from jaxtl.weights.cards import card_for
from jaxtl.weights.store import is_tag

# Fields in which the run of a row may differ from its config; where the weights start is a column of the table.
FREE = ("name", "seed", "data.split_seed", "data.folds", "data.fold", "model.weights")
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


Studies = Mapping[str, tuple[str, Sequence[Row]]]  # title and rows of each


def studies() -> Studies:
    """The five studies."""
    file = packaged("studies.toml")
    found: dict[str, tuple[str, Sequence[Row]]] = {}
    for study, table in tomllib.loads(file.read_text("utf-8") if file else "").items():
        rows = [(row["name"], *of, row.get("trials", 0)) for row in table["rows"] for of in row["recipes"].items()]
        found[study] = table["title"], [Row(*row) for row in rows]
    return found


def figures(row: Row, runs: Sequence[FinishedRun], config: Tree) -> Figures:
    """What table and page say of the runs of a row: shares in [0, 1], times in seconds, means of several runs.

    Fields in which they differ from the row's own ``config`` are named.
    """
    own = dict(leaves(identity(config)))
    changed = [path for path, value in own.items() if path not in FREE and runs[0].settings.get(path, value) != value]
    low, high = spread([run.accuracy for run in runs], bounds=(0, 1))[3:] if len(runs) > 1 else runs[0].interval
    found: Figures = {"low": low, "high": high, "runs": len(runs), "changed": changed if not row.trials else []}
    for name in ("accuracy", "train_s", "inference_s"):
        found[name] = float(np.mean([getattr(run, name) for run in runs]))
    settings, environment = runs[0].settings, RunFiles(runs[0].folder).config().get("environment", {})
    differing = [*found["changed"], *(["model.weights"] if settings["model.weights"] != own["model.weights"] else [])]
    found["flags"] = [shlex.quote(f"--config.{path}={settings[path]}") for path in differing]
    found["start"] = start_in_words(settings["model.name"], settings["model.weights"])
    measured_on = (runs[0].device, environment.get("date", "")[:10], environment.get("commit", ""))
    return {**found, "measured_on": ", ".join(filter(None, measured_on))}


def start_in_words(model: str, weights: str) -> str:
    """What a run starts from."""
    if is_tag(model, weights):
        return f"{card_for(model, weights).data} ({weights})"
    return {"": "random", SOURCE: "a run on other images"}.get(weights) or weights


def study_table(
    title: str, rows: Sequence[Row], found: Mapping[str, Figures], reasons: Mapping[str, str]
) -> tuple[Table, list[str]]:
    """The study's table, and why rows of it were not run; figures and reasons are by the places of configs."""
    lines: list[list[str]] = []
    absent: dict[str, list[str]] = {}  # commands, by what is said of them
    for row in rows:
        config, mine = with_defaults(load_config(row.place)), found.get(row.place)
        start = start_in_words(config["model"]["name"], config["model"]["weights"])
        why = reasons.get(row.place, "")
        if mine:
            said = why and f"Not all of it was run now: {why}"
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
        command = " ".join([row.command, *(mine.get("flags", ()) if mine else ())])
        lines.append([row.name, row.recipe, config["reported"], *cells, command])
    told = [f"{said} What measures it: {', '.join(commands)}." for said, commands in absent.items()]
    return Table(title, HEADINGS, lines), told


def write_results(file: Path, studies: Studies, found: Mapping[str, Figures]) -> None:
    """Write all studies as a page of Markdown, and their figures as JSON; what that holds from before stays."""
    kept = file.with_suffix(".json")
    with damage_explained(kept):
        known = {**(read_object(kept) if kept.exists() else {}), **found}
    parts = [HEAD]
    for title, rows in studies.values():
        table, absent = study_table(title, rows, known, {})
        parts.append(f"## {title}\n\n{markdown(table)}\n" + "".join(f"- {line}\n" for line in absent))
    write_result(kept, json.dumps(known, indent=1, sort_keys=True) + "\n")
    write_result(file, "\n".join(parts))

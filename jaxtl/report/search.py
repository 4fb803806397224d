"""What a search leaves in its folder beside its trials: tables, charts and one page."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullFormatter

from jaxtl.report.page import write_page
from jaxtl.report.plots.style import BLUE, MUTED, VERMILION, percent_axis, png, styled
from jaxtl.report.statistics import accuracy_interval
from jaxtl.report.tables import Table
from jaxtl.report.text import NOT_MEASURED, counted, duration, integer, loss, percent
from jaxtl.runtime.files import csv_text, json_text, write_whole
from jaxtl.train.progress import more_is_better

PAGE, CSV, JSON = "search.html", "trials.csv", "trials.json"
COMPLETE, PRUNED = ENDED = "complete", "pruned"  # states of a trial
RUNNING = "running"


class TrialLine(NamedTuple):
    """A trial by its number, from 0. A pruned one has the value of its last epoch, if it had one, and a reason."""

    number: int
    state: str
    value: float | None
    params: Mapping[str, Any]
    epochs: int
    seconds: float
    reason: str = ""


class Outcome(NamedTuple):
    """A search."""

    name: str
    measure: str  # what trials are judged by: a ``monitor``
    lines: Sequence[TrialLine]  # by number
    space: Mapping[str, Any]  # by parameter, its distribution, one of Optuna's
    method: Mapping[str, Any]  # how parameters were chosen: sampler, pruner, seed
    final: Mapping[str, Any]  # changes to the best trial's config for the training that is tested
    summary: Mapping[str, Any] | None  # summary.json of that training, once it is finished
    reported: str  # the figure that a study reports; may be empty
    environment: Mapping[str, str]  # versions and device

    @property
    def maximise(self) -> bool:
        """Whether more is better."""
        return more_is_better(self.measure)

    @property
    def title(self) -> str:
        """The measure in words."""
        return f"Validation {self.measure.removeprefix('val_').replace('_', ' ')}".replace("f1", "macro F1")

    @property
    def ranked(self) -> list[TrialLine]:
        """The completed trials, the best first, of equals the earliest; then the others."""
        sign = -1 if self.maximise else 1
        completed = [line for line in self.lines if line.state == COMPLETE]
        others = [line for line in self.lines if line.state != COMPLETE]
        return sorted(completed, key=lambda line: sign * (line.value or 0.0)) + others

    @property
    def best(self) -> TrialLine | None:
        """The best of the completed trials; ``None`` where there is none."""
        return next((line for line in self.ranked if line.state == COMPLETE), None)


def write(outcome: Outcome, folder: Path) -> None:
    """Write page, tables and charts into the folder of the search, each whole or not at all.

    Raises:
      OSError: the folder cannot be written.
    """
    charts = draw(outcome)
    for name, chart in charts.items():
        write_whole(folder / f"{name}.png", png(chart))
    best, space = outcome.best, {name: _range_in_words(of) for name, of in outcome.space.items()}
    chosen = best.params if best else {}
    searched = [[name, of, shown(chosen.get(name, NOT_MEASURED))] for name, of in space.items()]
    reasons = [[str(line.number), line.reason] for line in outcome.lines if line.reason]
    write_page(
        folder / PAGE,
        "search.html",
        charts,
        kicker="jaxtl search",
        title=outcome.name,
        found=_in_words(outcome),
        measure=outcome.title,
        final=outcome.summary is not None,
        trials=trials_table(outcome, outcome.ranked),
        pruned=Table("Pruned", ["Pruned trial", "Why"], reasons),
        space=Table("Space", ["Parameter", "Searched", "Best trial"], searched),
        details={"folder": folder, **outcome.environment},
    )
    rows: list[list[Any]] = [["number", "state", outcome.measure, "epochs", "seconds", *space, "reason"]]
    for line in outcome.lines:
        params = [line.params.get(name, "") for name in space]
        rows.append([line.number, line.state, line.value, line.epochs, line.seconds, *params, line.reason])
    write_whole(folder / CSV, csv_text(rows))
    about = {"name": outcome.name, "measure": outcome.measure, "final": outcome.final, "space": space}
    test = outcome.summary and outcome.summary["test"]
    found = {"best": best and best.number, "test": test, "trials": [line._asdict() for line in outcome.lines]}
    tree = {**about, **outcome.method, **found}
    write_whole(folder / JSON, json_text(tree))


def _in_words(outcome: Outcome) -> dict[str, Any]:
    """What was found and how, name -> value."""
    found: dict[str, Any] = {}
    in_words = percent if outcome.maximise else loss
    if summary := outcome.summary:
        test = summary["test"]
        low, high = map(percent, accuracy_interval(test))
        figure = f"{percent(test['accuracy'])} (95 % interval {low} to {high}) of {counted(test['n'], 'image')}"
        changes = [f"{field} {value}" for field, value in outcome.final.items()]
        steps = [counted(summary["epochs_run"], "epoch"), duration(summary["time"]["train_s"]), *changes]
        found["Test accuracy of the final training"] = f"{figure}; {', '.join(steps)}"
        if outcome.reported:
            found["Reported"] = outcome.reported
    if best := outcome.best:
        found[f"Best {outcome.title.lower()}"] = f"{in_words(best.value)} in trial {best.number}"
    pruned, seconds = sum(line.state == PRUNED for line in outcome.lines), sum(line.seconds for line in outcome.lines)
    found["Trials"] = f"{len(outcome.lines)}, {pruned} of them pruned; {duration(seconds)} of training"
    return {**found, **outcome.method}


@styled
def draw(outcome: Outcome) -> dict[str, Figure]:
    """The charts, name -> figure: the values by trial, and by each parameter; none where no trial has a value."""
    lines = [line for line in outcome.lines if line.value is not None and math.isfinite(line.value)]
    lines = [line for line in lines if line.params.keys() == outcome.space.keys()]
    if not lines:
        return {}
    history = Figure(figsize=(10, 4.2), layout="constrained")
    axes = history.subplots()
    if done := [line for line in lines if line.state == COMPLETE]:
        best = (np.maximum if outcome.maximise else np.minimum).accumulate([line.value or 0.0 for line in done])
        x = [*(line.number for line in done), outcome.lines[-1].number + 0.5]
        axes.step(x, [*best, best[-1]], where="post", color=VERMILION, label="best so far", zorder=2)
    _scatter(axes, outcome, [line.number for line in lines], lines)
    axes.xaxis.set_major_locator(MaxNLocator(12, integer=True))
    axes.set(xlabel="Trial", ylabel=outcome.title)
    axes.legend()
    return {"history": history, "parameters": _parameters(outcome, lines)}


def _parameters(outcome: Outcome, lines: Sequence[TrialLine]) -> Figure:
    """One panel a parameter: the value of each trial against it, on its own scale; a ring marks the best trial."""
    columns = min(3, len(outcome.space))
    rows = -(-len(outcome.space) // columns)
    figure = Figure(figsize=(10, 2.9 * rows + 0.2), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False, sharey=True)
    short, best = short_names(list(outcome.space)), outcome.best
    for axes in grid.flat[len(outcome.space) :]:
        axes.remove()
    for axes, (name, distribution) in zip(grid.flat, outcome.space.items(), strict=False):
        choices = getattr(distribution, "choices", None)
        if choices:
            axes.set_xticks(range(len(choices)), [shown(choice) for choice in choices], rotation=20)
        elif distribution.log:
            axes.set_xscale("log")
            axes.xaxis.set_major_formatter("{x:g}")
            axes.xaxis.set_minor_formatter(NullFormatter())
        x = [choices.index(line.params[name]) if choices else line.params[name] for line in lines]
        _scatter(axes, outcome, x, lines)
        if best and best in lines:
            axes.plot([x[lines.index(best)]], [best.value], "o", ms=10, mfc="none", mec=VERMILION, mew=1.6, zorder=4)
        axes.set_title(short[name])
    for axes in grid[:, 0]:
        axes.set_ylabel(outcome.title)
    return figure


def _scatter(axes: Axes, outcome: Outcome, x: Sequence[float], lines: Sequence[TrialLine]) -> None:
    """Completed trials as dots, pruned ones as crosses, with limits that show the good trials apart."""
    for state, marker, color in ((COMPLETE, "o", BLUE), (PRUNED, "x", MUTED)):
        points = [(place, line.value) for place, line in zip(x, lines, strict=True) if line.state == state]
        if points:
            axes.plot(*zip(*points, strict=True), marker, color=color, ms=6, label=state, zorder=3)
    values = np.array([line.value for line in lines if line.state == COMPLETE] or [line.value for line in lines])
    low, high = values.min(), values.max()
    reach = 4 * abs(np.median(values) - (high if outcome.maximise else low)) or high - low
    low, high = (max(low, high - reach), high) if outcome.maximise else (low, min(high, low + reach))
    room = 0.07 * (high - low) or 0.05 * abs(high) or 0.05
    axes.set_ylim(low - room, high + room)
    if outcome.maximise:
        percent_axis(axes.yaxis)


def trials_table(outcome: Outcome, lines: Sequence[TrialLine]) -> Table:
    """Trials with their values and parameters."""
    short, in_words = short_names(list(outcome.space)), percent if outcome.maximise else loss
    rows = [
        [str(line.number), in_words(line.value), line.state, integer(line.epochs), duration(line.seconds)]
        + [shown(line.params.get(name, NOT_MEASURED)) for name in short]
        for line in lines
    ]
    return Table("Trials", ["Trial", outcome.title, "State", "Epochs", "Time", *short.values()], rows)


def _range_in_words(distribution: Any) -> str:
    if hasattr(distribution, "choices"):
        return ", ".join(map(shown, distribution.choices))
    step = f" in steps of {distribution.step}" if distribution.step not in (None, 1) else ""
    return f"{shown(distribution.low)} to {shown(distribution.high)}{step}" + ", logarithmic" * distribution.log


def short_names(names: Sequence[str]) -> dict[str, str]:
    """Names of parameters without the path of their field, where that tells them apart.

    >>> list(short_names(["seed", "phases.0.crop", "phases.0.momentum", "phases.1.momentum"]).values())
    ['seed', 'crop', 'phases.0.momentum', 'phases.1.momentum']
    """
    leaves = [name.rpartition(".")[2] for name in names]
    return {name: leaf if leaves.count(leaf) == 1 else name for name, leaf in zip(names, leaves, strict=True)}


def shown(value: Any) -> str:
    """A value of a parameter in few letters, for example 0.00123 for 0.00123456."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)

"""What a search leaves in its folder beside its trials: table, charts and one page."""

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter
from rich.console import Console

from jaxtl.report.page import Picture, write_page
from jaxtl.report.plots.style import BLUE, MUTED, VERMILION, styled
from jaxtl.report.statistics import wilson_interval
from jaxtl.report.tables import Table, print_table
from jaxtl.report.text import NOT_MEASURED, duration, integer, loss, percent
from jaxtl.runtime.files import write_whole

PAGE, CSV, JSON = "search.html", "trials.csv", "trials.json"
HISTORY, PARAMETERS = "history", "parameters"  # the charts
MOST = 15  # trials, and reasons, that a screen has room for


COMPLETE, PRUNED, RUNNING = "complete", "pruned", "running"  # states of a trial


class TrialLine(NamedTuple):
    """A trial.

    Attributes:
      number: counted from 0.
      state: what became of it.
      value: what it is judged by; of a pruned trial that of its last epoch, if it had one.
      params: a value for each parameter that has been chosen.
      epochs: how many it trained.
      seconds: how long that took.
      reason: why it was pruned.
    """

    number: int
    state: str
    value: float | None
    params: Mapping[str, Any]
    epochs: int | None
    seconds: float | None
    reason: str = ""


class Outcome(NamedTuple):
    """A search.

    Attributes:
      name: its title.
      folder: where it is, for the reader.
      measure: what trials are judged by: ``val_loss`` or ``val_accuracy``.
      lines: the trials, by number.
      space: by parameter, its distribution, one of Optuna's.
      method: how parameters were chosen: ``sampler``, ``pruner``, ``seed``.
      final: changes to the best trial's config for the training that is tested.
      summary: ``summary.json`` of that training, once it is finished.
      reported: the figure that a study reports; may be empty.
      environment: versions and device.
    """

    name: str
    folder: str
    measure: str
    lines: Sequence[TrialLine]
    space: Mapping[str, Any]
    method: Mapping[str, Any]
    final: Mapping[str, Any]
    summary: Mapping[str, Any] | None
    reported: str
    environment: Mapping[str, str]

    @property
    def maximise(self) -> bool:
        """Whether more is better."""
        return self.measure == "val_accuracy"

    @property
    def ranked(self) -> list[TrialLine]:
        """The trials, the best first; those without a value to be judged by come last, by number."""
        sign = -1 if self.maximise else 1
        judged = [line for line in self.lines if line.state == COMPLETE and line.value is not None]
        others = [line for line in self.lines if line not in judged]
        return sorted(judged, key=lambda line: (sign * (line.value or 0.0), line.number)) + others

    @property
    def best(self) -> TrialLine | None:
        """The best of the trials that came to their end, the earliest of equals; ``None`` where none did."""
        first = self.ranked[:1]
        return first[0] if first and first[0].state == COMPLETE else None


def write(outcome: Outcome, folder: Path) -> None:
    """Write page, table, figures and charts into the folder of the search, each whole or not at all.

    Raises:
      OSError: the folder cannot be written.
    """
    charts = {name: Picture(figure) for name, figure in draw(outcome).items()}
    for name, chart in charts.items():
        write_whole(folder / f"{name}.png", chart.png)
    write_page(
        folder / PAGE,
        "search.html",
        charts,
        title=outcome.name,
        facts=_facts(outcome),
        tested=outcome.summary is not None,
        trials=trials_table(outcome),
        measure=_measure(outcome),
        space=_space_table(outcome),
        reasons=reasons_table(outcome),
        details={"folder": outcome.folder, **outcome.environment},
    )
    write_whole(folder / CSV, _csv(outcome).encode())
    write_whole(folder / JSON, (json.dumps(_tree(outcome), indent=2, ensure_ascii=False) + "\n").encode())


def show(outcome: Outcome, console: Console) -> None:
    """Print the best trials, and why others were pruned."""
    print_table(trials_table(outcome, MOST), console)
    if (more := len(outcome.lines) - MOST) > 0:
        console.print(f"… and {more} more in {CSV}.", highlight=False, markup=False)
    reasons = reasons_table(outcome).rows
    for number, reason in reasons[:MOST]:
        console.print(f"Trial {number} was pruned: {reason}", highlight=False, markup=False, soft_wrap=True)
    if len(reasons) > MOST:
        console.print(f"… and {len(reasons) - MOST} more in {CSV}.", highlight=False, markup=False)


# --- charts -----------------------------------------------------------------------------------------------------------


def draw(outcome: Outcome) -> dict[str, Figure]:
    """The charts, name -> figure: the values by trial, and by each parameter; none where no trial has a value."""
    lines = [line for line in outcome.lines if line.value is not None and math.isfinite(line.value)]
    lines = [line for line in lines if line.params.keys() == outcome.space.keys()]
    return {HISTORY: _history(outcome, lines), PARAMETERS: _parameters(outcome, lines)} if lines else {}


@styled
def _history(outcome: Outcome, lines: Sequence[TrialLine]) -> Figure:
    """The value of each trial by its number, and the best so far."""
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    axes = figure.subplots()
    done = [line for line in lines if line.state == COMPLETE]
    if done:
        best = (np.maximum if outcome.maximise else np.minimum).accumulate([line.value or 0.0 for line in done])
        x = [*(line.number for line in done), outcome.lines[-1].number + 0.5]
        axes.step(x, [*best, best[-1]], where="post", color=VERMILION, label="best so far", zorder=2)
    _scatter(axes, [line.number for line in lines], lines)
    _value_axis(axes, outcome, lines)
    axes.xaxis.set_major_locator(MaxNLocator(12, integer=True))
    axes.set_xlabel("Trial")
    axes.legend()
    return figure


@styled
def _parameters(outcome: Outcome, lines: Sequence[TrialLine]) -> Figure:
    """One panel a parameter: the value of each trial against it, on its own scale; a ring marks the best trial."""
    columns = min(3, len(outcome.space))
    rows = -(-len(outcome.space) // columns)
    figure = Figure(figsize=(10, 2.9 * rows + 0.2), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False, sharey=True)
    short, best = short_names(list(outcome.space)), outcome.best
    for axes in grid.flat[len(outcome.space) :]:
        axes.remove()
    for i, (axes, (name, distribution)) in enumerate(zip(grid.flat, outcome.space.items(), strict=False)):
        choices = getattr(distribution, "choices", None)

        if choices:
            axes.set_xticks(range(len(choices)), [shown(choice) for choice in choices], rotation=20)
        elif distribution.log:
            axes.set_xscale("log")
        x = [choices.index(line.params[name]) if choices else line.params[name] for line in lines]
        _scatter(axes, x, lines)
        if best and best in lines:
            axes.plot([x[lines.index(best)]], [best.value], "o", ms=10, mfc="none", mec=VERMILION, mew=1.6, zorder=4)
        _value_axis(axes, outcome, lines, named=i % columns == 0)
        axes.set_title(short[name])
    return figure


def _scatter(axes: Axes, x: Sequence[float], lines: Sequence[TrialLine]) -> None:
    """Complete trials as dots, pruned ones as crosses."""
    for state, marker, color in ((COMPLETE, "o", BLUE), (PRUNED, "x", MUTED)):
        points = [(place, line.value) for place, line in zip(x, lines, strict=True) if line.state == state]
        if points:
            axes.plot(*zip(*points, strict=True), marker, color=color, ms=6, label=state, zorder=3)


def _value_axis(axes: Axes, outcome: Outcome, lines: Sequence[TrialLine], *, named: bool = True) -> None:
    """Limits that show the good trials: a few that went astray do not squeeze the rest to a line."""
    values = np.array([line.value for line in lines if line.state == COMPLETE] or [line.value for line in lines])
    low, high = values.min(), values.max()
    reach = 4 * abs(np.median(values) - (high if outcome.maximise else low))
    if reach:
        low, high = (max(low, high - reach), high) if outcome.maximise else (low, min(high, low + reach))
    room = 0.07 * (high - low) or 0.05 * abs(high) or 0.05
    axes.set_ylim(low - room, high + room)
    if outcome.maximise:
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0, symbol=" %"))
    if named:
        axes.set_ylabel(_measure(outcome))


# --- tables -----------------------------------------------------------------------------------------------------------


def trials_table(outcome: Outcome, most: int | None = None) -> Table:
    """The trials, the best first; of many the best ``most``."""
    short = short_names(list(outcome.space))
    headings = ["Trial", _measure(outcome), "State", "Epochs", "Time", *short.values()]
    rows = [
        [
            str(line.number),
            _value(outcome, line.value),
            line.state,
            integer(line.epochs),
            duration(line.seconds),
            *(shown(line.params[name]) if name in line.params else NOT_MEASURED for name in short),
        ]
        for line in outcome.ranked[:most]
    ]
    return Table("Trials", headings, rows)


def reasons_table(outcome: Outcome) -> Table:
    """Why trials were pruned."""
    rows = [[str(line.number), line.reason] for line in outcome.lines if line.reason]
    return Table("Pruned trials", ["Trial", "Why"], rows)


def short_names(names: Sequence[str]) -> dict[str, str]:
    """Names of parameters by their last part, where that tells them apart.

    >>> short_names(["phases.0.learning_rate", "phases.0.momentum", "phases.1.momentum"])
    {'phases.0.learning_rate': 'learning_rate', 'phases.0.momentum': '0.momentum', 'phases.1.momentum': '1.momentum'}
    """
    short = {}
    for name in names:
        parts = name.split(".")
        ends = [".".join(parts[-depth:]) for depth in range(1, len(parts) + 1)]
        others = [other for other in names if other != name]
        short[name] = next(
            (end for end in ends if not any(other == end or other.endswith(f".{end}") for other in others)), name
        )
    return short


def shown(value: Any) -> str:
    """A value of a parameter in few letters.

    >>> shown(0.00123456), shown("adam"), shown(64)
    ('0.00123', 'adam', '64')
    """
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _value(outcome: Outcome, value: float | None) -> str:
    return percent(value) if outcome.maximise else loss(value)


def _measure(outcome: Outcome) -> str:
    return "Validation accuracy" if outcome.maximise else "Validation loss"


def _space_table(outcome: Outcome) -> Table:
    """What was searched."""
    best = outcome.best
    rows = [
        [name, _range_in_words(distribution), shown(best.params[name]) if best else NOT_MEASURED]
        for name, distribution in outcome.space.items()
    ]
    return Table("Space", ["Parameter", "Searched", "Best trial"], rows)


def _range_in_words(distribution: Any) -> str:
    if hasattr(distribution, "choices"):
        return ", ".join(map(shown, distribution.choices))
    step = f" in steps of {distribution.step}" if distribution.step not in (None, 1) else ""
    return f"{shown(distribution.low)} to {shown(distribution.high)}{step}" + ", logarithmic" * distribution.log


def _facts(outcome: Outcome) -> dict[str, str]:
    """What matters most, and how it was found."""
    facts = {}
    if outcome.summary:
        test, time = outcome.summary["test"], outcome.summary["time"]
        low, high = wilson_interval(round(test["accuracy"] * test["n"]), test["n"])
        changes = "".join(f", {path} {shown(value)}" for path, value in outcome.final.items())
        facts["Test accuracy of the final training"] = (
            f"{percent(test['accuracy'])} (95 % interval {100 * low:.2f} to {100 * high:.2f}) of {integer(test['n'])} "
            f"images; {outcome.summary['epochs_run']} epochs, {duration(time['train_s'])}{changes}"
        )
        if outcome.reported:
            facts["Reported"] = outcome.reported
    if best := outcome.best:
        facts[f"Best {_measure(outcome).lower()}"] = f"{_value(outcome, best.value)} in trial {best.number}"
    pruned = sum(line.state == PRUNED for line in outcome.lines)
    spent = duration(sum(line.seconds or 0.0 for line in outcome.lines))
    facts["Trials"] = f"{integer(len(outcome.lines))}, {pruned} of them pruned; {spent} of training"
    return {**facts, **{name: str(value) for name, value in outcome.method.items()}}


def _csv(outcome: Outcome) -> str:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["number", "state", outcome.measure, "epochs", "seconds", *outcome.space, "reason"])
    for line in outcome.lines:
        params = (line.params.get(name, "") for name in outcome.space)
        writer.writerow([line.number, line.state, line.value, line.epochs, line.seconds, *params, line.reason])
    return text.getvalue()


def _tree(outcome: Outcome) -> dict[str, Any]:
    best = outcome.best
    return {
        "name": outcome.name,
        "measure": outcome.measure,
        **outcome.method,
        "best": best.number if best else None,
        "space": {name: _range_in_words(distribution) for name, distribution in outcome.space.items()},
        "final": outcome.final,
        "test": outcome.summary["test"] if outcome.summary else None,
        "trials": [line._asdict() for line in outcome.lines],
    }

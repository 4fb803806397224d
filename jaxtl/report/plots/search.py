"""Charts of a search: how its trials went, and what each parameter had to do with it."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter

from jaxtl.report.plots.style import BLUE, MUTED, VERMILION, fit_names, percent_ticks, styled

COLUMNS = 3


@styled
def search_history(
    numbers: Sequence[int], values: Sequence[float], complete: Sequence[bool], measure: str, *, maximise: bool
) -> Figure:
    """The value of each trial by its number, and the best so far.

    Args:
      numbers: of the trials that have a value, ascending.
      values: finite.
      complete: which trials came to their end; the others are crosses, and are never the best.
      measure: what the values are, for the axis.
      maximise: whether more is better.

    Raises:
      ValueError: there is no trial, or the sequences differ in length.
    """
    if not len(numbers) == len(values) == len(complete) > 0:
        raise ValueError("search_history needs as many numbers, values and states, at least one of each")
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    axes = figure.subplots()
    _value_axis(axes, values, complete, measure, maximise)
    done = np.array(complete, bool)
    if done.any():
        best = (np.maximum if maximise else np.minimum).accumulate(np.array(values)[done])
        x = [*np.array(numbers)[done], max(numbers) + 0.5]
        axes.step(x, [*best, best[-1]], where="post", color=VERMILION, label="best so far", zorder=2)
    _points(axes, numbers, values, complete)
    axes.set_xlim(min(numbers) - 0.5, max(numbers) + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(12, integer=True))
    axes.set_xlabel("Trial")
    axes.legend(loc="upper right" if not maximise else "lower right")
    return figure


@styled
def search_parameters(
    space: Mapping[str, Mapping[str, Any]],
    params: Sequence[Mapping[str, Any]],
    values: Sequence[float],
    complete: Sequence[bool],
    measure: str,
    *,
    maximise: bool,
) -> Figure:
    """One panel a parameter: the value of each trial against the parameter, which lies on its own scale.

    Args:
      space: by what a parameter is called, ``distribution`` its kind, with ``low``, ``high`` and ``log``, or with
        ``options``, a sequence of texts.
      params: of each trial, a number for each parameter; for a choice, the position of the option.
      values: of each trial, finite.
      complete: which trials came to their end.
      measure: what the values are.
      maximise: whether more is better.

    Raises:
      ValueError: there is no parameter or no trial, or the sequences differ in length.
    """
    if not len(params) == len(values) == len(complete) > 0 or not space:
        raise ValueError("search_parameters needs a parameter, and as many params, values and states, at least one")
    columns = min(COLUMNS, len(space))
    rows = -(-len(space) // columns)
    figure = Figure(figsize=(10, 2.9 * rows + 0.2), layout=ConstrainedLayoutEngine(h_pad=0.09))
    grid = figure.subplots(rows, columns, squeeze=False, sharey=True)
    for axes in grid.flat[len(space) :]:
        axes.remove()
    best = _best(values, complete, maximise)
    for i, (name, described) in enumerate(space.items()):
        axes = grid.flat[i]
        x = [float(line[name]) for line in params]
        _value_axis(axes, values, complete, measure if i % columns == 0 else "", maximise)
        if "options" in described:
            x = _spread(x)
            _name_options(axes, described["options"], room=430 / columns)
        else:
            _number_axis(axes, described)
            if described["distribution"] == "Integers" and len(set(x)) <= 6 and not described.get("log"):
                x = _spread(x, described["step"])
                axes.set_xlim(described["low"] - 0.4 * described["step"], described["high"] + 0.4 * described["step"])
        _points(axes, x, values, complete)
        if best is not None:
            axes.plot([x[best]], [values[best]], "o", ms=10, mfc="none", mec=VERMILION, mew=1.6, zorder=4)
        axes.set_title(fit_names([name], points=600 / columns, size=10.5)[0], pad=10)
    return figure


def _best(values: Sequence[float], complete: Sequence[bool], maximise: bool) -> int | None:
    judged = [i for i, done in enumerate(complete) if done]
    return min(judged, key=lambda i: -values[i] if maximise else values[i]) if judged else None


def _points(axes: Axes, x: Sequence[float], values: Sequence[float], complete: Sequence[bool]) -> None:
    """Complete trials as dots, pruned ones as crosses, those beyond the axis as triangles at its end."""
    low, high = axes.get_ylim()
    kinds: dict[str, tuple[str, list[float], list[float]]] = {"complete": ("o", [], []), "pruned": ("x", [], [])}
    for place, value, done in zip(x, values, complete, strict=True):
        if low <= value <= high:
            _, xs, ys = kinds["complete" if done else "pruned"]
            xs.append(place)
            ys.append(value)
        else:
            end, marker = (high, "^") if value > high else (low, "v")
            axes.plot([place], [end], marker, color=BLUE if done else MUTED, ms=6, clip_on=False, zorder=3)
    for name, (marker, xs, ys) in kinds.items():
        if xs:
            style: dict[str, Any] = (
                {"color": BLUE, "mec": "white", "mew": 0.8} if name == "complete" else {"color": MUTED, "mew": 1.4}
            )
            axes.plot(xs, ys, marker, ms=6.5, label=name, zorder=3, **style)


def _value_axis(axes: Axes, values: Sequence[float], complete: Sequence[bool], measure: str, maximise: bool) -> None:
    """Limits that show the good trials: a few that went astray do not squeeze the rest to a line."""
    judged = [value for value, done in zip(values, complete, strict=True) if done] or list(values)
    best, median = (max if maximise else min)(judged), float(np.median(judged))
    low, high = min(values), max(values)
    reach = 4 * abs(median - best)
    if reach:
        low, high = (max(low, best - reach), high) if maximise else (low, min(high, best + reach))
    pad = 0.07 * (high - low) or 0.05 * abs(high) or 0.05
    axes.set_ylim(low - pad, high + pad)
    axes.yaxis.set_major_locator(MaxNLocator(6))
    if measure == "val_accuracy":
        axes.yaxis.set_major_formatter(percent_ticks())
    axes.set_ylabel({"val_loss": "Validation loss", "val_accuracy": "Validation accuracy"}.get(measure, measure))


def _number_axis(axes: Axes, described: Mapping[str, Any]) -> None:
    low, high = described["low"], described["high"]
    if described["distribution"] == "LogUniform" or described.get("log"):
        axes.set_xscale("log")
        room = (high / low) ** 0.06
        axes.set_xlim(low / room, high * room)
        if math.log10(high / low) < 1.5:  # powers of ten alone would leave one number on the axis
            axes.xaxis.set_major_locator(MaxNLocator(4, integer=isinstance(low, int)))
            axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
        else:
            axes.xaxis.set_major_formatter(FuncFormatter(_power))
        axes.xaxis.set_minor_formatter(NullFormatter())
        return
    room = 0.06 * (high - low)
    axes.set_xlim(low - room, high + room)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=described["distribution"] == "Integers"))


def _power(x: float, position: int) -> str:
    """0.001 -> "0.001", 1e-05 -> "1e-5"."""
    if 1e-3 <= x < 1e5:
        return f"{x:,.5g}"
    mantissa, _, exponent = f"{x:.0e}".partition("e")
    return f"{mantissa}e{int(exponent)}"


def _name_options(axes: Axes, options: Sequence[str], room: float) -> None:
    axes.set_xlim(-0.6, len(options) - 0.4)
    slanted = sum(len(option) for option in options) > 26
    names = fit_names(options, points=90 if slanted else room, size=9)
    axes.set_xticks(range(len(options)), names, rotation=30 if slanted else 0, ha="right" if slanted else "center")
    axes.grid(visible=False, axis="x")


def _spread(x: Sequence[float], step: float = 1.0) -> list[float]:
    """Points at one place side by side, so that none hides another; places are ``step`` apart or more."""
    met: dict[float, int] = {}
    places = []
    for place in x:
        count, before = list(x).count(place), met.get(place, 0)
        met[place] = before + 1
        places.append(place + step * min(0.08, 0.36 / max(count - 1, 1)) * (before - (count - 1) / 2))
    return places

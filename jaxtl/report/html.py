"""The page of a run."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from jaxtl.report import statistics
from jaxtl.report.comparison.paired import Difference, in_words
from jaxtl.report.page import picture, write_page
from jaxtl.report.text import is_measured, percent

# A figure with one of these captions stands in its section; any other gets a section of its own, after them.
COMPARISON = "Comparison"
COMPARISON_CURVES = "Comparison of curves"
LABELS = "Comparison by labels"
CURVES = "Learning curves"
LEARNING_RATE = "Learning rate"
CONFUSION = "Confusion matrix"
PREDICTIONS = "Predictions"
LOSSES = "Top losses"
UNSURE = "Right but unsure"
CLASS_MAPS = "Class-activation maps"
SAMPLES = "Sample images"


def write_report(
    path: Path,
    *,
    title: str,
    summary: Mapping[str, Any],
    config: Mapping[str, Any],
    history: Sequence[Mapping[str, Any]],
    class_names: Sequence[str],
    figures: Mapping[str, Figure],
    comparison: Sequence[Mapping[str, Any]] | None,
    environment: Mapping[str, Any],
    notes: Sequence[str] = (),
) -> None:
    """Write the report of a run. The file appears complete or not at all.

    Args:
      path: the HTML file; folders above it are made.
      title: heading of the page.
      summary: content of ``summary.json``: ``test`` {accuracy, loss, precision, recall, f1, n, confusion_matrix,
        per_class}, ``time`` {train_s, inference_s, …}, ``params`` {total, trainable}, ``best_epoch``, ``epochs_run``.
        Whatever is absent or None is shown as a dash.
      config: the resolved configuration; nested values are flattened to ``field.subfield = value``.
      history: one mapping an epoch (see ``plots.curves``); may be empty.
      class_names: K names, in class order.
      figures: caption -> figure; see the captions at the top of this module.
      comparison: None, or one mapping an arm, the arm of this run first: ``name``, ``accuracy``, ``interval``
        (low, high), ``n``, ``train_s``, ``description``; and, where both were tested on the same images, ``versus``:
        {``name``, ``difference``, ``interval``, ``p_value``, ``p_holm``}, that arm minus the named one
        (see ``comparison.compare``).
      environment: name -> value: versions, device, commit, seed, wall time.
      notes: sentences for the reader, shown under the headline.
    """
    test = summary.get("test") or {}
    sections = {COMPARISON, COMPARISON_CURVES, LABELS, CURVES, LEARNING_RATE, CONFUSION, PREDICTIONS}
    sections |= {LOSSES, UNSURE, CLASS_MAPS, SAMPLES}
    write_page(
        path,
        "run.html",
        {caption: picture(figure) for caption, figure in figures.items()},
        title=title,
        test={"accuracy": None, "loss": None, "precision": None, "recall": None, "f1": None, "n": None, **test},
        interval=_accuracy_interval(test),
        time={"train_s": None, "inference_s": None, **(summary.get("time") or {})},
        params={"total": None, "trainable": None, **(summary.get("params") or {})},
        best_epoch=summary.get("best_epoch"),
        epochs_run=summary.get("epochs_run"),
        per_class=_per_class(test, class_names),
        confusions=_frequent_confusions(test.get("confusion_matrix"), class_names),
        history=history,
        comparison=comparison,
        paired_rows=sum(bool(row.get("versus")) for row in comparison or ()),
        verdict=[sentence.replace(" %", "\u00a0%") for sentence in _verdict(comparison or ())],
        other_figures=[caption for caption in figures if caption not in sections],
        # JSON tells "1" from 1, which matters in a configuration only.
        config={name: json.dumps(value, ensure_ascii=False, default=str) for name, value in flatten(config)},
        environment=dict(flatten(environment)),
        notes=notes,
    )


def flatten(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Nested mappings as ("a.b[0].c", value) pairs; a list without mappings stays one value."""
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            yield from flatten(inner, f"{name}.{key}" if name else str(key))
    elif isinstance(value, list | tuple) and any(isinstance(inner, Mapping) for inner in value):
        for i, inner in enumerate(value):
            yield from flatten(inner, f"{name}[{i}]")
    elif name:  # an empty configuration has no field
        yield name, value


def _accuracy_interval(test: Mapping[str, Any]) -> tuple[float, float] | None:
    if not test.get("n") or not is_measured(test.get("accuracy")):
        return None
    return statistics.wilson_interval(round(test["accuracy"] * test["n"]), test["n"])


def _per_class(test: Mapping[str, Any], class_names: Sequence[str]) -> list[dict[str, Any]]:
    lines = test.get("per_class") or []
    return [{"class": class_names[i] if i < len(class_names) else str(i), **line} for i, line in enumerate(lines)]


def _frequent_confusions(
    matrix: Sequence[Sequence[int]] | None, class_names: Sequence[str], most: int = 10
) -> list[dict[str, Any]]:
    """The largest cells off the diagonal: {"true", "predicted", "count", "share" of the true class, "back"}.

    "back" counts the other direction: images of the predicted class that were taken for the true one. Of equal counts
    the larger share comes first.
    """
    if matrix is None:
        return []
    cells: list[dict[str, Any]] = [
        {
            "true": class_names[i],
            "predicted": class_names[j],
            "count": int(cell),
            "share": cell / sum(row),
            "back": int(matrix[j][i]),
        }
        for i, row in enumerate(matrix)
        for j, cell in enumerate(row)
        if i != j and cell > 0
    ]
    return sorted(cells, key=lambda cell: (-cell["count"], -cell["share"]))[:most]


def _verdict(comparison: Sequence[Mapping[str, Any]]) -> list[str]:
    """Sentences that say which arm is better and whether chance explains it; empty for fewer than two arms.

    The table has the paired differences of all arms; the sentence is about the most accurate of those.
    """
    if paired := [row for row in comparison if row.get("versus")]:
        best = max(paired, key=lambda row: row["versus"]["difference"])
        versus = best["versus"]
        found = Difference(*(versus[field] for field in Difference._fields))
        return [in_words(best["name"], versus["name"], found, tests=len(paired))]
    measured = [row for row in comparison if is_measured(row.get("accuracy"))]
    if len(measured) < 2:
        return []
    best, second = sorted(measured, key=lambda row: -row["accuracy"])[:2]
    sentence = (
        f"“{best['name']}” is the most accurate: {percent(best['accuracy'])}, "
        f"{100 * (best['accuracy'] - second['accuracy']):.1f} percentage points above “{second['name']}”."
    )
    if best.get("interval") and second.get("interval"):
        apart = best["interval"][0] > second["interval"][1]
        sentence += f" Their 95 % intervals {'do not overlap' if apart else 'overlap'}."
    return [sentence]

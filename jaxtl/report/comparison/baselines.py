"""One run beside its baselines: accuracies with intervals, and paired differences on the same test images."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxtl.report.comparison.paired import differences
from jaxtl.report.statistics import wilson_interval


class Arm(NamedTuple):
    """A finished run, as it is compared with another.

    Attributes:
      name: what tables and charts call it.
      description: one line, how it was trained.
      summary: content of its ``summary.json``.
      history: lines of its ``metrics.jsonl``.
      predictions: lines of its ``predictions.csv``: ``index``, ``true``, ``predicted``.
      per_class: training images of each class, 0 where their number was not chosen.
    """

    name: str
    description: str
    summary: Mapping[str, Any]
    history: Sequence[Mapping[str, Any]]
    predictions: Sequence[Mapping[str, str]]
    per_class: int = 0


def compare(arms: Sequence[Arm]) -> list[dict[str, Any]]:
    """One row an arm, the first arm being the one that the others are baselines of.

    Returns:
      For each arm ``name``, ``description``, ``accuracy``, its 95 % Wilson ``interval``, ``n``, ``train_s``,
      ``per_class``. Each baseline that was tested on the images of the first arm has ``versus`` it: {``name`` of the
      first arm, ``difference`` (accuracy of the baseline minus that of the first arm), its 95 % ``interval``,
      ``p_value`` of McNemar's test, ``p_holm``: the p-value corrected for the number of baselines}.
    """
    rows: list[dict[str, Any]] = []
    for arm in arms:
        test = arm.summary["test"]
        rows.append(
            {
                "name": arm.name,
                "description": arm.description,
                "accuracy": test["accuracy"],
                "interval": list(wilson_interval(round(test["accuracy"] * test["n"]), test["n"])),
                "n": test["n"],
                "train_s": arm.summary["time"]["train_s"],
                "per_class": arm.per_class,
            }
        )
    images = [[(line["index"], line["true"]) for line in arm.predictions] for arm in arms]
    right = [np.array([line["true"] == line["predicted"] for line in arm.predictions]) for arm in arms]
    paired = [i for i in range(1, len(arms)) if images[i] == images[0]]
    for i, found in zip(paired, differences((right[i], right[0]) for i in paired), strict=True):
        rows[i]["versus"] = {"name": arms[0].name, **found._asdict(), "interval": list(found.interval)}
    return rows


def by_labels(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[tuple[int, float, tuple[float, float]]]]:
    """The strategies of a comparison over numbers of labels; empty where that number is the same in all arms.

    Arms are one strategy if their names differ by the number of labels a class alone, which ends them: ``probe 10``
    and ``probe 100`` are ``probe``.

    Args:
      rows: of ``compare``.

    Returns:
      By strategy, the points (labels a class, accuracy, interval).
    """
    series: dict[str, list[tuple[int, float, tuple[float, float]]]] = {}
    if len({row["per_class"] for row in rows}) < 2 or not all(row["per_class"] for row in rows):
        return series
    for row in rows:
        strategy = row["name"].removesuffix(str(row["per_class"])).rstrip(" -_")
        low, high = row["interval"]
        series.setdefault(strategy, []).append((row["per_class"], row["accuracy"], (low, high)))
    return series

"""One run beside others: accuracies with intervals, and paired differences where the test images are the same."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxtl.report.statistics import mcnemar, paired_difference_interval, wilson_interval


class Arm(NamedTuple):
    """A finished run, as it is compared with another.

    Attributes:
      name: what tables and charts call it.
      description: one line, how it was trained.
      summary: content of its ``summary.json``.
      history: lines of its ``metrics.jsonl``.
      predictions: lines of its ``predictions.csv``: ``index``, ``true``, ``predicted``.
    """

    name: str
    description: str
    summary: Mapping[str, Any]
    history: Sequence[Mapping[str, Any]]
    predictions: Sequence[Mapping[str, str]]


def compare(arms: Sequence[Arm]) -> list[dict[str, Any]]:
    """One row an arm, the first arm being the one that the others are baselines of.

    Returns:
      For each arm ``name``, ``description``, ``accuracy``, its 95 % Wilson ``interval``, ``n``, ``train_s``. If the
      second arm was tested on the same images, the first row has ``versus`` it: {``name``, ``difference`` of the
      accuracies, its 95 % ``interval``, ``p_value`` of McNemar's test}.
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
            }
        )
    if len(arms) > 1 and (versus := _versus(arms[0], arms[1])):
        rows[0]["versus"] = versus
    return rows


def _versus(arm: Arm, other: Arm) -> dict[str, Any] | None:
    """How much better the arm is than the other, or ``None`` if they were tested on different images."""
    tested, also_tested = ([(line["index"], line["true"]) for line in a.predictions] for a in (arm, other))
    if tested != also_tested:
        return None
    right, other_right = (np.array([line["true"] == line["predicted"] for line in a.predictions]) for a in (arm, other))
    return {
        "name": other.name,
        "difference": float(right.mean() - other_right.mean()),
        "interval": list(paired_difference_interval(right, other_right)),
        "p_value": mcnemar(right, other_right),
    }

"""The images of one data set under the class names of another."""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from jaxtl.data.dataset import Dataset, select_classes
from jaxtl.errors import UserError


class Matched(NamedTuple):
    """A data set with the labels of a run.

    Attributes:
      dataset: its images of the classes that both have; label ``k`` means the run's class ``k``, of K.
      present: which of the run's classes the data set has, ascending.
      remarks: what was left out, a sentence each.
    """

    dataset: Dataset
    present: tuple[int, ...]
    remarks: tuple[str, ...]


def match_classes(dataset: Dataset, names: Sequence[str], played_by: Sequence[str] = ()) -> Matched:
    """Relabel a data set by a run's classes.

    Args:
      dataset: any data set.
      names: K names, in the order of the run's logits.
      played_by: K names of the data set's classes, which play the run's in that order; an empty one where it has no
        such class. Empty: classes of the same name.

    Raises:
      UserError: no class is common to both, or ``played_by`` has the wrong length, an unknown name or one twice.
    """
    if played_by and len(played_by) != len(names):
        raise UserError(
            f"--classes names {len(played_by)} classes, but the run has {len(names)} ({', '.join(names)}); name the "
            "data set's class for each of them in that order, and leave empty what it lacks, as in a,,c."
        )
    if repeated := [name for i, name in enumerate(played_by) if name and name in played_by[:i]]:
        raise UserError(f"--classes names {repeated[0]!r} twice; each class can play one of the run's only.")
    players = dict(enumerate(played_by or (name if name in dataset.class_names else "" for name in names)))
    chosen = {k: name for k, name in players.items() if name}
    if not chosen:
        raise UserError(
            f"The data set has none of the run's classes: it has {', '.join(dataset.class_names)}, the run "
            f"{', '.join(names)}; say with --classes which class of the data set plays each of the run's, in this "
            "order."
        )
    same = select_classes(dataset, tuple(chosen.values()))
    labels = np.array([*chosen], np.int32)[same.labels]
    matched = dataclasses.replace(same, labels=labels, class_names=tuple(names))
    remarks = []
    if others := [name for name in dataset.class_names if name not in chosen.values()]:
        left_out = len(dataset) - len(matched)
        remarks.append(f"{left_out:,} images are left out, whose classes the run does not have: {', '.join(others)}.")
    if lacking := [name for k, name in enumerate(names) if k not in chosen]:
        remarks.append(
            f"The data set lacks {len(lacking)} of the run's {len(names)} classes ({', '.join(lacking)}): the run can "
            "still predict them, which is a mistake here, and the macro means are over the others."
        )
    if played := [f"{name!r} as {names[k]!r}" for k, name in chosen.items() if name != names[k]]:
        remarks.append(f"Classes of the data set play others: {', '.join(played)}.")
    return Matched(matched, tuple(chosen), tuple(remarks))

"""Finished runs beside each other: which are tested in pairs, and what several draws of one config tell."""

import re
from collections.abc import Sequence
from itertools import combinations
from os.path import commonpath
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxtl.report.compared_runs import FinishedRun, distinct_names
from jaxtl.report.statistics import Spread, holm, mcnemar, paired_difference_interval, spread

ONE_DRAW = (
    "Each run is one draw of training images and one initialisation; intervals and tests cover the choice of test "
    "images alone."
)
ACROSS_DRAWS = (
    "Runs of one config differ in their draw alone: seed, validation split or fold. Mean, standard deviation (SD) and "
    "95 % interval (Student's t) are across draws; differences are between runs of the same draw."
)
ACROSS_FOLDS = (
    "Across folds each training image is validated once. Folds share training images, and seeds share folds, so "
    "the interval is too narrow; where the fold also chose the epoch (keep='best'), its accuracy is a little too high."
)

VALIDATED, TESTED_ON = "validation images", "test images"
DRAWN = ("seed", "split_seed", "fold")  # last parts of the fields in which repeated runs differ


class Difference(NamedTuple):
    """Accuracy of one run minus that of another, on the same test images."""

    run: int  # position of the run whose accuracy comes first
    other: int  # position of the run whose accuracy is subtracted
    difference: float  # in [-1, 1]
    interval: tuple[float, float]  # 95 %
    p_value: float  # of McNemar's exact test, two-sided, for this pair alone
    p_holm: float  # the same, corrected for all pairs of the comparison


class Repeated(NamedTuple):
    """The accuracy of one config across draws, on validation or on test images."""

    name: str  # of the config
    measured_on: str  # VALIDATED or TESTED_ON
    draws: str  # in words
    runs: tuple[str, ...]  # names, in the order of their draws
    accuracies: tuple[float, ...]  # of each run, in [0, 1]
    across: Spread  # of the accuracies
    difference: Spread | None  # to the first config, over draws that both have; None for that one, and below two

    def record(self) -> dict[str, Any]:
        """All of it, for JSON."""
        difference = self.difference._asdict() if self.difference else None
        return {**self._asdict(), "across": self.across._asdict(), "difference": difference}


class Comparison(NamedTuple):
    """All that tables, charts and files are made of."""

    runs: tuple[FinishedRun, ...]  # the most accurate first; or the run first whose baselines the others are
    test_sets: list[list[int]]  # positions of the runs that were tested on the same images, set by set
    differences: list[Difference]  # of the pairs of a test set that were tested, those of its first run first
    notes: list[str]  # sentences on what can be compared and what cannot
    repeated: list[Repeated]  # of the configs that were run several times, that of the best mean first

    def record(self) -> dict[str, Any]:
        """The figures and the tests, for JSON."""
        names = [run.name for run in self.runs]
        return {
            "runs": [run.record() for run in self.runs],
            "pairs": [{**d._asdict(), "run": names[d.run], "other": names[d.other]} for d in self.differences],
            "test_sets": [[names[i] for i in group] for group in self.test_sets],
            "notes": self.notes,
            "repeated": [each.record() for each in self.repeated],
        }


def compare_runs(runs: Sequence[FinishedRun]) -> Comparison:
    """Any runs, the most accurate first; every pair on the same test images is tested.

    All pairs are one family: which run is the best, and so which pairs a reader looks at, was told by the same data.
    """
    return _compare(sorted(runs, key=lambda run: -run.accuracy), with_first=False)


def compare_with_baselines(run: FinishedRun, baselines: Sequence[FinishedRun]) -> Comparison:
    """A run, first, and its baselines; each one on the same test images is tested against the run."""
    return _compare([run, *baselines], with_first=True)


def _compare(runs: Sequence[FinishedRun], *, with_first: bool) -> Comparison:
    """Test all pairs on the same images, or those with the first run; p-values are corrected for all tests together."""
    test_sets = groups([run.test_images for run in runs])
    repeated = repeats(runs)
    # Single runs of these say less than their means, and the best of many runs is the best by luck.
    drawn = {name for each in repeated for name in each.runs}
    pairs = [pair for group in test_sets for pair in combinations(group, 2) if pair[0] == 0 or not with_first]
    pairs = [pair for pair in pairs if not {runs[i].name for i in pair} <= drawn]
    p_values = [mcnemar(runs[i].right, runs[j].right) for i, j in pairs]
    differences = []
    for (i, j), p, corrected in zip(pairs, p_values, holm(p_values), strict=True):
        difference = float(runs[i].right.mean() - runs[j].right.mean())
        interval = paired_difference_interval(runs[i].right, runs[j].right)
        differences.append(Difference(i, j, difference, interval, p, corrected))
    return Comparison(tuple(runs), test_sets, differences, _notes(runs, test_sets, repeated), repeated)


def repeats(runs: Sequence[FinishedRun]) -> list[Repeated]:
    """The accuracies of configs that were run several times, each time with another draw, the best mean first."""
    same = [{path: value for path, value in run.settings.items() if path.split(".")[-1] not in DRAWN} for run in runs]
    configs = [sorted((runs[i] for i in group), key=lambda run: run.draw) for group in groups(same)]
    configs = [of for of in configs if len({run.draw for run in of}) == len(of) > 1]
    configs.sort(key=lambda of: -np.mean([run.accuracy for run in of]))
    titles = [str(of[0].settings.get("name", "")) for of in configs]
    folders = [Path(commonpath([Path(run.folder).absolute() for run in of])) for of in configs]
    tested = [*zip(distinct_names(titles, folders), configs, strict=True)]
    # Validation images of one split are no estimate: they chose the epoch. Across folds they are all images.
    folds = [(name, of) for name, of in tested if of[0].settings.get("data.folds")]
    validated = [(name, of) for name, of in folds if all(run.val_accuracy is not None for run in of)]
    return [
        *(_repeated(name, of, validated[0][1], VALIDATED, "val_accuracy") for name, of in validated),
        *(_repeated(name, of, tested[0][1], TESTED_ON, "accuracy") for name, of in tested),
    ]


def _repeated(
    name: str, runs: Sequence[FinishedRun], first: Sequence[FinishedRun], measured_on: str, field: str
) -> Repeated:
    """A config across draws; the difference to the first one is over the draws and test images that both have."""
    mine, theirs = ({(run.draw, run.test_images): getattr(run, field) for run in of} for of in (runs, first))
    shared = [value - theirs[draw] for draw, value in mine.items() if draw in theirs and runs is not first]
    return Repeated(
        name,
        measured_on,
        draws=_in_draws([run.draw for run in runs]),
        runs=tuple(run.name for run in runs),
        accuracies=tuple(mine.values()),
        across=spread([*mine.values()], bounds=(0, 1)),
        difference=spread(shared) if len(shared) > 1 else None,
    )


def _in_draws(draws: Sequence[tuple[int, ...]]) -> str:
    """What varies: ``seed 0, 1, 2``."""
    columns = [list(dict.fromkeys(column)) for column in zip(*draws, strict=True)]
    named = zip(("seed", "split seed", "fold"), columns, strict=True)
    return "; ".join(f"{what} {', '.join(map(str, values))}" for what, values in named if len(values) > 1)


def groups(keys: Sequence[object]) -> list[list[int]]:
    """Positions of equal keys, group by group, each where its first member stands.

    >>> groups(["a", "b", "a"])
    [[0, 2], [1]]
    """
    firsts = [keys.index(key) for key in keys]
    return [[i for i, found in enumerate(firsts) if found == first] for first in dict.fromkeys(firsts)]


def by_labels(runs: Sequence[FinishedRun]) -> dict[str, list[tuple[int, float, tuple[float, float]]]]:
    """The strategies of a comparison over numbers of labels; empty where that number is the same in all runs.

    Runs are one strategy if their names differ by the number of labels a class alone, which ends them: ``probe 10``,
    ``probe 100`` and ``probe all`` are ``probe``.

    Returns:
      By strategy, the points (labels a class, accuracy, interval); where all were taken, their mean over the classes.
    """
    series: dict[str, list[tuple[int, float, tuple[float, float]]]] = {}
    counts = [run.per_class or round(run.train_images / len(run.class_names)) for run in runs]
    if len({run.per_class for run in runs}) < 2 or not all(counts):
        return series
    for run, count in zip(runs, counts, strict=True):
        strategy = re.sub(rf"(^|[ _-]+){run.per_class or 'all'}$", "", run.name)
        series.setdefault(strategy, []).append((count, run.accuracy, run.interval))
    return series


def _notes(runs: Sequence[FinishedRun], test_sets: Sequence[Sequence[int]], repeated: Sequence[Repeated]) -> list[str]:
    notes = [ACROSS_DRAWS] if repeated else []
    if {run.name for run in runs} > {name for each in repeated for name in each.runs}:
        notes.append(ONE_DRAW)
    if any(each.measured_on == VALIDATED for each in repeated):
        notes.append(ACROSS_FOLDS)
    if len(test_sets) > 1:
        named = (f"{len(of)} runs" if len(of) > 3 else ", ".join(f"“{runs[i].name}”" for i in of) for of in test_sets)
        sets = [f"{name} on {len(runs[of[0]].right):,}" for name, of in zip(named, test_sets, strict=True)]
        notes.append(
            f"The runs were tested on {len(test_sets)} different sets of images: {'; '.join(sets)}"
            ". Accuracies on different sets cannot be compared, and only runs on one set are tested in pairs."
        )
    if len({run.device for run in runs}) > 1:
        notes.append("The runs were not all made on the same device, so their times cannot be compared.")
    return notes

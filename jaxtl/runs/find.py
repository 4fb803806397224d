"""Find the finished runs among the folders given on a command line."""

import dataclasses
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from jaxtl.errors import UserError
from jaxtl.report.comparison import FinishedRun
from jaxtl.runs.files import RunFiles
from jaxtl.runs.read import read_run


def find_runs(
    folders: Sequence[Path], *, with_baselines: bool, ignored: Path, say: Callable[[str], None]
) -> list[FinishedRun]:
    """Read the finished runs among the folders.

    A folder of the seeds and folds of a config stands for these. A shell pattern like ``runs/*`` also names other
    things: what is not a run, or not finished yet, is skipped with a message.

    Args:
      folders: what to look at, in the order of the result.
      with_baselines: whether the baselines inside a run folder are taken too, after it.
      ignored: a folder that is skipped without a message: that of the comparison itself.
      say: gets a line for everything else that is skipped.

    Raises:
      UserError: a folder does not exist, a file of a run is damaged, or no finished run is left.
    """
    found: dict[Path, Path] = {}
    named: list[Path] = []
    for folder in folders:
        if not folder.exists():
            raise UserError(f"The run folder {folder} does not exist; correct the path, or leave it out.")
        for place in RunFiles(folder).repeats() or [folder]:
            named += [place, *(RunFiles(place).baselines() if with_baselines else [])]
    for folder in named:
        place = folder.resolve()
        if place in found:
            say(f"{folder} is named more than once: it is taken once.")
        elif reason := RunFiles(folder).unfinished():
            if place != ignored.resolve():
                say(f"Skipped {folder}: {reason}.")
        else:
            found[place] = folder
    if not found:
        raise UserError(
            f"No finished run is among the folders named; give work folders that hold {RunFiles.SUMMARY}, which "
            "python -m jaxtl.main writes last."
        )
    runs = [read_run(folder) for folder in found.values()]
    names = distinct_names([run.name for run in runs], [*found])
    return [dataclasses.replace(run, name=name) for run, name in zip(runs, names, strict=True)]


def distinct_names(names: Sequence[str], folders: Sequence[Path]) -> list[str]:
    """The names, made distinct: equal ones get their folder, relative to the common parent.

    >>> distinct_names(["cnn", "cnn", "vgg"], [Path("a/x"), Path("a/y"), Path("b")])
    ['cnn (x)', 'cnn (y)', 'vgg']
    """
    distinct = list(names)
    for i, name in enumerate(names):
        alike = [folder.absolute() for folder, other in zip(folders, names, strict=True) if other == name]
        if len(alike) > 1:
            common = os.path.commonpath([folder.parent for folder in alike])
            distinct[i] = f"{name} ({os.path.relpath(folders[i].absolute(), common)})"
    return distinct

"""Signals at random moments: the same command then ends with the figures of the run that nothing disturbed.

A chain is a work folder whose run is ended again and again, each time a little later, and goes to its end at last.
"""

import contextlib
import functools
import random
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from tests.faults.bench import QUICKSTART, SEARCH, Bench, figures, kill_group, text, wait_until
from tests.faults.case import HUNG, LOST, OK, OTHER, TRACEBACK, Row

KILL, TERM, CTRL_C = signal.SIGKILL, signal.SIGTERM, signal.SIGINT
# How a process may end after a signal: by it, while Python imports; or with the status that a shell gives it.
STATUS = {KILL: (-9,), TERM: (-15, 143), CTRL_C: (-2, 130)}
JITTER_S = 0.25  # after what is waited for


class Moment(NamedTuple):
    """When to end a run: a random time after something has appeared in its folder.

    Attributes:
      what: in words.
      pattern: of a path below the work folder; empty: at once.
      count: how many paths must fit the pattern that were not there when the process started.
      up_to_s: the longest time afterwards.
    """

    what: str
    pattern: str = ""
    count: int = 1
    up_to_s: float = JITTER_S


START = Moment("while it starts", up_to_s=4.0)
SOURCE_STEPS = Moment("in the training of the source", "source/checkpoints/last/[0-9]*", 3)
SOURCE_REPORT = Moment("while the source is tested and drawn", "source/predictions.csv", 1, 1.5)
BASELINE_STEPS = Moment("in the training of the baseline", "baselines/scratch/checkpoints/last/[0-9]*", 1)
BASELINE_REPORT = Moment("while the baseline is tested and drawn", "baselines/scratch/predictions.csv", 1, 1.0)
CONFIG = Moment("before the first step of the transfer", "config.json", 1)
STEPS = Moment("in the training of the transfer", "checkpoints/last/[0-9]*", 1)
REPORT = Moment("while the transfer is tested and drawn", "predictions.csv", 1, 1.5)

TRIAL = Moment("in the training of a trial", "trials/*/checkpoints/last/[0-9]*", 1)
FINAL = Moment("in the training of the best config", "best/checkpoints/last/[0-9]*", 1)

# Moments in the order in which a run comes to them.
WHOLE = (START, SOURCE_STEPS, SOURCE_REPORT, BASELINE_STEPS, STEPS, REPORT)
CHAINS = (
    *(tuple((sent, moment) for moment in WHOLE) for sent in (KILL, TERM, CTRL_C)),
    (
        *((KILL, SOURCE_STEPS), (CTRL_C, START), (TERM, BASELINE_STEPS)),
        *((KILL, BASELINE_REPORT), (KILL, CONFIG), (TERM, REPORT)),
    ),
    ((CTRL_C, START), (KILL, START), (KILL, SOURCE_STEPS), (KILL, BASELINE_STEPS), (CTRL_C, CONFIG), (KILL, REPORT)),
    ((CTRL_C, START),) * 6,
)
# The same for a search: its trials are in a database.
SEARCH_CHAIN = ((KILL, START), (KILL, TRIAL), (CTRL_C, TRIAL), (TERM, FINAL))


def chains(bench: Bench) -> Iterator[Callable[[], list[Row]]]:
    """What does each chain and gives its rows."""
    yield functools.partial(_run_chain, bench, "search0", SEARCH, SEARCH_CHAIN)
    for number, chain in enumerate(CHAINS):
        yield functools.partial(_run_chain, bench, f"quickstart{number}", QUICKSTART, chain)


def _run_chain(
    bench: Bench, name: str, command: Sequence[str], chain: Sequence[tuple[signal.Signals, Moment]]
) -> list[Row]:
    workdir, rng = bench.folder / name, random.Random(name)
    command = [*command, "--workdir", str(workdir)]
    rows = [_end(bench, command, workdir, sent, moment, rng) for sent, moment in chain]
    ended = bench.run(command)
    if ended.status == 0 and figures(workdir) == figures(bench.folder / name.rstrip("0123456789")):
        return rows
    verdict = TRACEBACK if "Traceback" in ended.err else HUNG if ended.status is None else LOST
    said = f"{(ended.err.strip().splitlines() or ['other figures'])[-1]}"
    return [row._replace(did=f"{row.did}; in the end {said}", verdict=verdict) for row in rows]


def _end(
    bench: Bench, command: Sequence[str], workdir: Path, sent: signal.Signals, moment: Moment, rng: random.Random
) -> Row:
    """Start the run, or go on with it, and end it."""
    must = "end, leave no traceback, and go on to the same figures to the last bit"
    before = _versions(workdir, moment.pattern)
    seen: set[tuple[Path, int]] = set()
    process = bench.start(command)

    def come() -> bool:
        seen.update(_versions(workdir, moment.pattern) - before)
        return len(seen) >= moment.count

    came = wait_until(come, process) if moment.pattern else True
    pause = rng.uniform(0, moment.up_to_s)
    time.sleep(pause)
    what = f"{sent.name} {moment.what}"
    finished = (workdir / "summary.json").exists()  # the last thing that a run writes
    was_over = process.poll() is not None
    if not was_over:
        process.send_signal(sent)
    try:
        _, err = process.communicate(timeout=60)
    except subprocess.TimeoutExpired:
        kill_group(process)
        return Row(what, must, "it did not end within a minute", HUNG)
    said = text(err).strip().splitlines()
    if "Traceback" in text(err):
        return Row(what, must, said[-1], TRACEBACK)
    if finished and process.returncode in (0, *STATUS[sent]):
        return Row(what, must, "all was written before, same figures", OK)
    if not came or was_over or process.returncode == 0:
        told = "it was over before" if not came or was_over else "it ran on to its end"
        return Row(what, must, told, OTHER)
    if process.returncode not in STATUS[sent]:
        return Row(what, must, f"exit {process.returncode}: {said[-1] if said else ''}", OTHER)
    told = f" (“{said[-1]}”)" if said else ""
    return Row(what, must, f"ended{told}, went on, same figures", OK)


def _versions(workdir: Path, pattern: str) -> set[tuple[Path, int]]:
    """The paths that fit, with the times at which they were written: one that is written again is another."""
    found = set()
    for path in workdir.glob(pattern) if pattern else ():
        with contextlib.suppress(OSError):  # gone in the meantime
            found.add((path, path.stat().st_mtime_ns))
    return found

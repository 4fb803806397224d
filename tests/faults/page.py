"""docs/reliability.md from the rows."""

import collections
import datetime
import re
from collections.abc import Mapping, Sequence

from jaxtl.runtime.environment import commit, cores, device
from tests.faults.case import HUNG, LOST, OK, OTHER, SILENT, TRACEBACK, Row

# Kind -> heading and what it is.
KINDS = {
    "inputs": (
        "Hostile inputs",
        "Files that were damaged, forged or meant to harm: images, weights, pickled batches, lists of paths, config "
        "files, run folders, downloads. Each is read within one process by the function that the commands use, in at "
        "most 20 s and 2 GiB.",
    ),
    "kills": (
        "Kills",
        "A run of `configs/quickstart.py`, cut to a few epochs, is ended by SIGKILL, SIGTERM or Ctrl-C at a random "
        "moment (seeded), again and again in the same work folder; so is a search. Then the same command runs to its "
        "end: all figures of source, baseline and transfer, of all trials and of the best config must equal those of a "
        "run that nothing disturbed, to the last bit.",
    ),
    "layouts": (
        "Folder layouts",
        "Folders of images as people lay them out. Each must be read as what it is, or refused with what was "
        "understood.",
    ),
    "environment": (
        "Faults of the environment",
        "A command in a shell whose consoles, pipes, disks, users, variables or caches are not as they should be. “The "
        "same figures” are those of the run that nothing disturbed, to the last bit.",
    ),
}
_COUNTED = (TRACEBACK, SILENT, LOST, HUNG, OTHER)
_LONGEST = 150  # letters of a cell


def page(tables: Mapping[str, Sequence[Row]], seconds: float, command: str) -> str:
    """The page as Markdown."""
    minutes, rest = divmod(round(seconds), 60)
    facts = f"commit {commit()}, {device()}, {cores()} cores for this process, {minutes} min {rest} s"
    lines = [
        "# Reliability",
        "",
        "What jaxtl does when something goes wrong. Each line of the tables is a fault that is done on purpose:",
        "what is done, what jaxtl must do (written in `tests/faults/` before it is tried), and what it did. This",
        "page is the output of",
        "",
        "<!-- not run: takes minutes -->",
        "```sh",
        f"{command} --out docs/reliability.md",
        "```",
        "",
        f"Last run: {datetime.date.today().isoformat()}, {facts}.",
        "",
        *_counts(tables),
    ]
    for kind, rows in tables.items():
        heading, told = KINDS[kind]
        lines += ["", f"## {heading}", "", told, "", "| what was done | must | did | |", "|---|---|---|---|"]
        lines += [f"| {_cell(row.what)} | {_cell(row.must)} | {_cell(row.did)} | {row.verdict} |" for row in rows]
    return "\n".join(lines) + "\n"


def _counts(tables: Mapping[str, Sequence[Row]]) -> list[str]:
    lines = [f"| | faults | {OK} | " + " | ".join(_COUNTED) + " |", "|---" * (len(_COUNTED) + 3) + "|"]
    for kind, rows in tables.items():
        counts = collections.Counter(row.verdict for row in rows)
        numbers = [len(rows), counts[OK], *(counts[what] for what in _COUNTED)]
        lines.append(f"| {KINDS[kind][0]} | " + " | ".join(map(str, numbers)) + " |")
    return lines


def _cell(text: str) -> str:
    """A text that a table can hold."""
    text = re.sub(r"/\S*/(tmp\w+)/", "", text)
    text = " ".join(text.split())
    text = text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
    return re.sub(r"([\\|`*_<>\[\]~])", r"\\\1", text)

"""What was found, as one Markdown table."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from benchmarks.gpu.plan import Job
from jaxtl.report.text import duration

_HEAD = ("work", "measured", "beside", "target", "met")
_NAMED = ("driver", "memory", "python", "jax", "jaxlib", "flax", "torch", "torchvision", "commit")


class Done(NamedTuple):
    """A job that was done or not.

    Attributes:
      job: the job.
      wall_s: what it took, with the start of its process.
      problem: why it is not complete; empty where it is.
      found: the content of its file, as `benchmarks.gpu.job.Findings` writes it; empty where there is none.
    """

    job: Job
    wall_s: float
    problem: str
    found: dict[str, Any]

    @property
    def failed(self) -> bool:
        """Whether it was begun and not finished."""
        return bool(self.problem) and not self.problem.startswith("skipped")


def table(done: Sequence[Done], *, seed: int, wall_s: float, tiny: bool, compile_first: float = 0.0) -> str:
    """Card, driver, versions, seed and wall time; a line for every figure; what is missing, and why."""
    environment: dict[str, str] = next((each.found["environment"] for each in done if each.found), {})
    versions = ", ".join(f"{name} {environment[name]}" for name in _NAMED if name in environment)
    lines = [
        f"Card: {environment.get('device', 'unknown')}; {versions or 'nothing was measured'}; seed {seed}; "
        f"wall time {duration(wall_s)}.",
        *(
            ["", f"Steps compiled beforehand, side by side, for {compile_first:g} min at most."]
            if compile_first
            else []
        ),
        *(["", "A tiny run: it shows that the command works, and its figures mean nothing."] if tiny else []),
        "",
        _row(_HEAD),
        _row(["---"] * len(_HEAD)),
    ]
    for each in done:
        for line in each.found.get("lines", ()):
            met = {True: "yes", False: "**no**", None: "—"}[line["met"]]
            lines.append(_row((line["work"], line["measured"], line["beside"] or "—", line["target"] or "—", met)))
        if each.problem:
            lines.append(_row((each.job.name, f"not measured to the end: {each.problem}", "—", "—", "—")))
    return "\n".join(lines) + "\n"


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"

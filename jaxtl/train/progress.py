"""Where a run stands, as plain values: what a checkpoint keeps beside its arrays, and what is decided from it."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

# One line of metrics.jsonl.
Line = dict[str, Any]


@dataclasses.dataclass
class Progress:
    """Where a run stands; all fields are JSON values.

    Attributes:
      phase: index of the current phase.
      step: optimiser steps done in it.
      total_step: optimiser steps done in the whole run.
      seconds: training time spent so far on the epoch that is not over yet.
      compile_s: time spent on compilation so far, in all processes of the run.
      features_s: time spent on features that are kept, likewise.
      history: one line for each finished epoch of the run.
    """

    phase: int = 0
    step: int = 0
    total_step: int = 0
    seconds: float = 0.0
    compile_s: float = 0.0
    features_s: float = 0.0
    history: list[Line] = dataclasses.field(default_factory=list)

    def spent_s(self) -> float:
        """Seconds that the processes of the run took so far."""
        return self.compile_s + self.features_s + self.seconds + sum(line["seconds"] for line in self.history)

    def lines(self) -> list[Line]:
        """The finished epochs of the current phase."""
        return [line for line in self.history if line["phase_index"] == self.phase]


def more_is_better(monitor: str) -> bool:
    """Whether larger values of a ``monitor`` are better: all are, but for the loss."""
    return monitor != "val_loss"


def best_epoch(lines: Sequence[Mapping[str, Any]], monitor: str) -> int | None:
    """The epoch with the best value of what is monitored, the earliest of equals; ``None`` without validation.

    >>> best_epoch([{"epoch": 1, "val_loss": 0.5}, {"epoch": 2, "val_loss": 0.4}], "val_loss")
    2
    """
    measured = [line for line in lines if line[monitor] is not None]
    if not measured:
        return None
    sign = -1 if more_is_better(monitor) else 1
    return int(min(measured, key=lambda line: (sign * line[monitor], line["epoch"]))["epoch"])


def out_of_patience(lines: Sequence[Mapping[str, Any]], monitor: str, patience: int) -> bool:
    """Whether the last ``patience`` epochs brought nothing better; never where ``patience`` is 0.

    >>> lines = [{"epoch": e, "val_loss": loss} for e, loss in enumerate([0.5, 0.4, 0.6, 0.7], start=1)]
    >>> out_of_patience(lines, "val_loss", 2), out_of_patience(lines, "val_loss", 3)
    (True, False)
    """
    best = best_epoch(lines, monitor)
    return bool(patience) and best is not None and int(lines[-1]["epoch"]) - best >= patience

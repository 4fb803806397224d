"""All that table, charts and page of a search are made of."""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any, NamedTuple


class State(StrEnum):
    """What became of a trial."""

    COMPLETE = "complete"
    PRUNED = "pruned"
    RUNNING = "running"


class TrialLine(NamedTuple):
    """A trial.

    Attributes:
      number: counted from 0.
      state: what became of it.
      value: what it is judged by; of a pruned trial that of its last epoch, if it had one.
      params: a value for each parameter.
      epochs: how many it trained.
      seconds: how long that took.
      reason: why it was pruned.
    """

    number: int
    state: State
    value: float | None
    params: Mapping[str, Any]
    epochs: int | None
    seconds: float | None
    reason: str = ""


class Outcome(NamedTuple):
    """A search.

    Attributes:
      name: its title.
      folder: where it is, for the reader.
      measure: what trials are judged by: ``val_loss`` or ``val_accuracy``.
      lines: the trials, by number.
      space: by parameter, its distribution: ``distribution`` its kind, ``low``, ``high``, … or ``options``.
      method: how parameters were chosen: ``sampler``, ``pruner``, ``seed``.
      final: changes to the best trial's config for the training that is tested.
      summary: ``summary.json`` of that training, once it is finished.
      reported: the figure that a study reports; may be empty.
      environment: versions and device.
    """

    name: str
    folder: str
    measure: str
    lines: Sequence[TrialLine]
    space: Mapping[str, Mapping[str, Any]]
    method: Mapping[str, Any]
    final: Mapping[str, Any]
    summary: Mapping[str, Any] | None
    reported: str
    environment: Mapping[str, str]

    @property
    def maximise(self) -> bool:
        """Whether more is better."""
        return self.measure == "val_accuracy"

    @property
    def ranked(self) -> list[TrialLine]:
        """The trials, the best first; those without a value to be judged by come last, by number."""
        sign = -1 if self.maximise else 1

        def rank(line: TrialLine) -> tuple[int, float]:
            judged = line.state == State.COMPLETE and line.value is not None
            return (0, sign * (line.value or 0.0)) if judged else (1, 0.0)

        return sorted(self.lines, key=lambda line: (*rank(line), line.number))

    @property
    def best(self) -> TrialLine | None:
        """The best of the trials that came to their end, the earliest of equals; ``None`` where none did."""
        first = self.ranked[:1]
        return first[0] if first and first[0].state == State.COMPLETE else None


def short_names(names: Sequence[str]) -> dict[str, str]:
    """Names of parameters by their last part, where that tells them apart.

    >>> short_names(["phases.0.learning_rate", "phases.0.momentum", "phases.1.momentum"])
    {'phases.0.learning_rate': 'learning_rate', 'phases.0.momentum': '0.momentum', 'phases.1.momentum': '1.momentum'}
    """
    short = {}
    for name in names:
        parts = name.split(".")
        ends = [".".join(parts[-depth:]) for depth in range(1, len(parts) + 1)]
        others = [other for other in names if other != name]
        short[name] = next(
            (end for end in ends if not any(other == end or other.endswith(f".{end}") for other in others)), name
        )
    return short


def shown(value: Any) -> str:
    """A value of a parameter in few letters.

    >>> shown(0.00123456), shown("adam"), shown((64, 64))
    ('0.00123', 'adam', '(64, 64)')
    """
    if isinstance(value, float):
        return f"{value:.3g}"
    return value if isinstance(value, str) else repr(value)

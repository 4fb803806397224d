"""The tables of a search in words, for the screen and the page alike."""

from jaxtl.report.search.outcome import Outcome, short_names, shown
from jaxtl.report.tables import Table
from jaxtl.report.text import NOT_MEASURED, duration, integer, loss, percent


def value_of(outcome: Outcome, value: float | None) -> str:
    """What a trial is judged by, as a person reads it."""
    return percent(value) if outcome.maximise else loss(value)


def measure_of(outcome: Outcome) -> str:
    """What the values are."""
    return "Validation accuracy" if outcome.maximise else "Validation loss"


def trials_table(outcome: Outcome, most: int | None = None) -> Table:
    """The trials, the best first; of many the best ``most``."""
    short = short_names(list(outcome.space))
    headings = ["Trial", measure_of(outcome), "State", "Epochs", "Time", *short.values()]
    rows = [
        [
            str(line.number),
            value_of(outcome, line.value),
            str(line.state),
            integer(line.epochs),
            duration(line.seconds),
            *(shown(line.params[name]) if name in line.params else NOT_MEASURED for name in short),
        ]
        for line in outcome.ranked[:most]
    ]
    return Table("Trials", headings, rows)


def reasons_table(outcome: Outcome) -> Table:
    """Why trials were pruned."""
    return Table(
        "Pruned trials", ["Trial", "Why"], [[str(line.number), line.reason] for line in outcome.lines if line.reason]
    )


def space_table(outcome: Outcome) -> Table:
    """What was searched."""
    best = outcome.best
    return Table(
        "Space",
        ["Parameter", "Searched", "Best trial"],
        [
            [name, _in_words(described), shown(best.params[name]) if best else NOT_MEASURED]
            for name, described in outcome.space.items()
        ],
    )


def method_in_words(outcome: Outcome) -> str:
    """How the search was done, in sentences."""
    sampler = {"random": "random search", "tpe": "tree-structured Parzen estimators (TPE)"}[outcome.method["sampler"]]
    text = f"Parameters were chosen by {sampler}, seed {outcome.method['seed']}."
    pruner = {"none": "", "median": "the median of the others", "halving": "successive halving"}[
        outcome.method["pruner"]
    ]
    if pruner:
        text += f" Trials that did badly were pruned by {pruner}."
    return f"{text} Trials were judged on validation images alone; no trial saw a test image."


def _in_words(described: dict | object) -> str:
    assert isinstance(described, dict)
    if "options" in described:
        return ", ".join(shown(option) for option in described["options"])
    text = f"{shown(described['low'])} to {shown(described['high'])}"
    if described.get("step", 1) != 1:
        text += f" in steps of {described['step']}"
    return text + (", logarithmic" if described["distribution"] == "LogUniform" or described.get("log") else "")

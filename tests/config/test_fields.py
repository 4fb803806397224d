import dataclasses

import pytest

from jaxtl.config.fields import FIELDS, PHASE_FIELDS, field_help
from jaxtl.errors import closest
from jaxtl.models import list_models
from jaxtl.train.optimizer import make_optimizer, make_schedule
from jaxtl.transfer import Phase


def test_help_lists_default_type_allowed_values_and_meaning_of_every_field():
    text = field_help()
    assert "data.validation = 0.1  (a finite number, in [0, 1))\n    share of the training images" in text
    assert "data.fit = 'crop'  (one of crop, stretch)\n" in text
    assert "phases.0.optimizer = 'adam'  (one of adam, adamax, adamw, sgd)\n" in text
    assert "data.classes = ()  (a tuple, each element a string)\n" in text
    for path in [*FIELDS, *(f"phases.0.{name}" for name in PHASE_FIELDS)]:
        assert f"{path} = " in text
    for name in list_models():
        assert name in text
    assert "dropout=0.5" in text  # an option of a network
    assert max(map(len, text.splitlines())) < 700


def test_a_phase_says_its_fields_once():
    for each in dataclasses.fields(Phase):
        assert f"  {each.name}: {PHASE_FIELDS[each.name].doc.split()[0]}" in Phase.__doc__
        assert PHASE_FIELDS[each.name].default == getattr(Phase(), each.name)


def test_every_optimizer_and_schedule_that_a_phase_allows_is_there():
    for name in PHASE_FIELDS["optimizer"].check.allowed.removeprefix("one of ").split(", "):
        make_optimizer(Phase(optimizer=name), lambda step: 0.1)
    for name in PHASE_FIELDS["schedule"].check.allowed.removeprefix("one of ").split(", "):
        rate = make_schedule(Phase(schedule=name, epochs=10), 5)(15 if name == "onecycle" else 0)
        assert rate == pytest.approx(Phase().learning_rate)


@pytest.mark.parametrize(
    ("name", "known", "expected"),
    [
        ("lr", ["flip", "learning_rate"], "learning_rate"),
        ("fliip", ["flip", "learning_rate"], "flip"),
        ("sched", ["step_epochs", "schedule"], "schedule"),
        ("f", ["flip"], None),
        ("", ["flip"], None),
    ],
)
def test_the_closest_name(name, known, expected):
    assert closest(name, known) == expected

"""``python -m jaxtl.lr_find`` in this process: what it prints and writes, and what it leaves alone."""

import csv

import numpy as np
import pytest

from jaxtl import experiment, lr_find
from jaxtl.report import plots

pytestmark = pytest.mark.usefixtures("compiled_once", "coarse_pictures")


@pytest.fixture
def call(capsys, tiny_config, tmp_path):
    """``call(*flags)`` gives (status, printed, complained)."""

    def run(*flags):
        capsys.readouterr()
        arguments = ("--config", tiny_config, "--workdir", tmp_path / "work", *flags)
        return lr_find.main([str(argument) for argument in arguments]), *capsys.readouterr()

    return run


def test_it_suggests_a_flag_and_leaves_picture_and_numbers(call, tmp_path, monkeypatch):
    monkeypatch.setattr(experiment, "run", lambda *args, **kwargs: pytest.fail("a run was begun"))
    status, printed, complained = call("--low", "1e-5", "--high", "1", "--steps", "40")
    assert (status, complained) == (0, "")
    with (tmp_path / "work" / "lr_find.csv").open() as file:
        lines = list(csv.DictReader(file))
    rates = np.array([float(line["rate"]) for line in lines])
    assert list(lines[0]) == ["rate", "loss", "smoothed"]
    np.testing.assert_allclose(rates, np.geomspace(1e-5, 1, 40)[: len(rates)])
    (flag,) = [line.strip() for line in printed.splitlines() if "--config." in line]
    name, value = flag.split("=")
    assert name == "--config.phases.0.learning_rate"
    assert np.isclose(rates, float(value), rtol=0.06).any(), "one of the rates, rounded"
    assert {path.name for path in (tmp_path / "work").iterdir()} == {"lr_find.png", "lr_find.csv"}


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (("--low", "1", "--high", "0.1"), "--low 1 to --high 0.1"),
        (("--steps", "1"), "2 steps or more"),
        (("--steps", "1000000000"), "100,000 at most"),
        (("--phase", "1"), "has 1, counted from 0"),
        (("--config.batch_sise=3",), "batch_sise"),
    ],
)
def test_mistakes_are_told_before_anything_is_done(call, tmp_path, monkeypatch, flags, expected):
    monkeypatch.setattr(lr_find, "load_splits", lambda *args: pytest.fail("data were read"))
    status, _, complained = call(*flags)
    assert status == 2 and complained.startswith("jaxtl: ") and expected in complained
    assert not (tmp_path / "work").exists()


def test_a_source_that_is_not_trained_is_named(capsys, transfer_config, tmp_path):
    assert lr_find.main(["--config", str(transfer_config), "--workdir", str(tmp_path / "work")]) == 2
    assert "python -m jaxtl.main first" in capsys.readouterr().err


def test_the_curve_is_marked_where_the_rates_are(tmp_path):
    rates = np.geomspace(1e-4, 1, 9)
    loss = np.array([2, 2, 1.9, 1.6, 1.3, 1.1, 1.0, 4.0, 30.0])
    (axes,) = plots.loss_by_rate(rates, loss, loss, {"steepest descent": rates[4], "minimum / 10": rates[6] / 10}).axes
    assert axes.get_xscale() == "log"
    marks = {line.get_label(): line.get_xydata()[0] for line in axes.lines if ":" in str(line.get_label())}
    np.testing.assert_allclose(marks["steepest descent: 0.01"], [rates[4], 1.3])
    assert axes.get_ylim()[0] < 1.0 and 2 < axes.get_ylim()[1] < 4, "where it blew up is beyond the edge"

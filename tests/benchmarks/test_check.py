"""The verdicts of `benchmarks.check` on ratios that nobody measured."""

import json

import pytest

from benchmarks import check


@pytest.fixture
def stored(tmp_path, monkeypatch):
    monkeypatch.setattr(check, "device", lambda: "this machine")
    path = tmp_path / "ratios.json"
    path.write_text(json.dumps({"this machine": {"ratios": {"one": 2.0, "two": 1.0}}, "a TPU": {"ratios": {"one": 9}}}))
    return path


def run(monkeypatch, path, *words, **ratios):
    """The command, where each case gives one ratio after another."""
    left = {case: iter(each) for case, each in ratios.items()}
    cases = {case: (lambda case=case: next(left[case])) for case in ratios}
    monkeypatch.setattr(check, "CASES", cases)
    monkeypatch.setattr(check.jax, "clear_caches", lambda: None)  # other tests of this process want theirs
    return check.main(["--ratios", str(path), *words])


def test_what_holds_ends_well(monkeypatch, stored, capsys):
    assert run(monkeypatch, stored, one=[1.7], two=[3.0], three=[1.0]) == 0
    out = capsys.readouterr().out
    assert "one: 1.70, stored 2.00 (-15 %)." in out
    assert "two: 3.00, stored 1.00 (+200 %)." in out
    assert "three: 1.00; nothing is stored to compare with." in out
    assert "Ratios stored on a TPU say nothing about this machine" in out


def test_a_loss_fails_with_a_sentence(monkeypatch, stored, capsys):
    assert run(monkeypatch, stored, one=[1.5, 1.4], two=[1.0]) == 1
    out, err = capsys.readouterr()
    assert "one: 1.50, stored 2.00 (-25 %): lost more than 20 %." in out
    assert "1 of 2 ratios fell" in err


def test_a_loss_that_does_not_come_again_is_forgiven(monkeypatch, stored):
    assert run(monkeypatch, stored, one=[0.5, 1.9]) == 0


def test_update_writes_the_ratios_of_this_hardware_alone(monkeypatch, stored):
    assert run(monkeypatch, stored, "--update", one=[0.5]) == 0
    now = json.loads(stored.read_text())
    assert now["this machine"]["ratios"] == {"one": 0.5}
    assert now["this machine"]["environment"]["jax"]
    assert now["a TPU"] == {"ratios": {"one": 9}}
    assert run(monkeypatch, stored, one=[0.5]) == 0


def test_nothing_is_stored_for_other_hardware(monkeypatch, stored, capsys):
    monkeypatch.setattr(check, "device", lambda: "another machine")
    assert run(monkeypatch, stored, one=[0.1]) == 0
    assert "nothing is stored" in capsys.readouterr().out


def test_a_broken_file_is_a_sentence(stored, capsys):
    stored.write_text("{")
    assert check.main(["--ratios", str(stored)]) == 2
    assert "is no JSON" in capsys.readouterr().err

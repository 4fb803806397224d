"""`benchmarks.compile`: two fresh processes, their stages and their sum."""

import json

import pytest

from benchmarks import compile as compile_benchmark


@pytest.mark.bench
def test_stages_add_up(tmp_path, capsys):
    path = tmp_path / "found.json"
    words = ["--model", "logistic_regression", "--batch", "2", "--repeats", "1", "--json", str(path)]
    assert compile_benchmark.main(words) == 0
    found = json.loads(path.read_text())
    for which in ("cold", "cached"):
        stages = found["medians"][which]
        assert list(stages) == ["interpreter", "imports", "init", "compile or load", "first step"]
        assert min(stages.values()) >= 0
        assert found["totals"][which] == pytest.approx(sum(stages.values()))
    assert "times as soon" in capsys.readouterr().out


def test_a_process_that_fails_is_a_sentence(capsys):
    assert compile_benchmark.main(["--model", "no_such_net"]) == 2
    assert "There is no model" in capsys.readouterr().err

"""`benchmarks.scaling`: both kinds of scaling, in one process and in two."""

import json

import pytest

from benchmarks import scaling


@pytest.mark.bench
def test_one_device_is_what_two_are_compared_with(tmp_path, capsys):
    path = tmp_path / "found.json"
    words = ["--model", "logistic_regression", "--devices", "1,2", "--processes", "1,2", "--batch", "4"]
    assert scaling.main([*words, "--steps", "1", "--repeats", "1", "--json", str(path)]) == 0
    found = json.loads(path.read_text())
    cases = [(line["scaling"], line["processes"], line["devices"], line["batch"]) for line in found["lines"]]
    assert cases == [
        *(("strong", 1, 1, 4), ("strong", 1, 2, 4), ("strong", 2, 2, 4)),
        *(("weak", 1, 1, 4), ("weak", 1, 2, 8), ("weak", 2, 2, 8)),
    ]
    assert [line["efficiency"] for line in found["lines"][::3]] == [1, 1]
    assert "efficiency" in capsys.readouterr().out

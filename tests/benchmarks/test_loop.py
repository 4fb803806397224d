"""`benchmarks.loop`: the loop's own share of an epoch, from a run of two."""

import re

import pytest

from benchmarks import loop


@pytest.mark.bench
def test_the_share_is_one_of_an_epoch(capsys):
    assert loop.main(["--model", "logistic_regression", "--size", "8", "--batch", "256", "--epochs", "2"]) == 0
    found = re.search(r"takes ([\d.]+) % of an epoch of (\d+) steps \(median of 2", capsys.readouterr().out)
    assert 0 < float(found[1]) < 100
    assert int(found[2]) == 4  # of 899 digits

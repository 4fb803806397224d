"""The zoo's table in README says what `benchmarks/zoo.py` prints."""

import pathlib
import re
import runpy

import pytest

ROOT = pathlib.Path(__file__).parents[1]
ROWS = {
    match["name"]: match.group()
    for match in re.finditer(r"^\| `(?P<name>(resnet|vgg|densenet)\w+)` .*\|$", (ROOT / "README.md").read_text(), re.M)
}


def test_every_imagenet_network_has_a_row():
    depths = {"resnet": (18, 34, 50, 101, 152), "vgg": (11, 13, 16, 19), "densenet": (121, 161, 169, 201)}
    names = {f"{family}{depth}" for family, of in depths.items() for depth in of}
    assert set(ROWS) == names | {f"vgg{depth}_bn" for depth in depths["vgg"]}


@pytest.mark.parametrize("name", ["resnet18", "vgg11_bn", "densenet121"])  # the quick ones to trace
def test_a_row_is_current(name):
    describe = runpy.run_path(str(ROOT / "benchmarks" / "zoo.py"))["describe"]
    assert describe(name).replace("| 224 | ", "| ") == ROWS[name]

"""The zoo's tables in the manual say what `benchmarks/zoo.py` prints."""

import pathlib
import re
import runpy

import pytest

from jaxtl.models import list_models

ROOT = pathlib.Path(__file__).parents[1]
LINES = re.findall(r"^\| `(\w+)` (\|.*\|)$", (ROOT / "docs" / "weights-and-zoo.md").read_text(), re.M)
ROWS = {name: f"| `{name}` {rest}" for name, rest in LINES if name in list_models() and "%" not in rest}


def test_every_network_has_a_row():
    assert sorted(ROWS) == list_models()


@pytest.fixture(scope="module")
def describe():
    return runpy.run_path(str(ROOT / "benchmarks" / "zoo.py"))["describe"]


@pytest.mark.parametrize("name", list_models())
def test_a_row_is_current(describe, name):
    name_and_parameters, _size, rest = re.split(r" \| (224|32) \| ", describe(name))
    assert f"{name_and_parameters} | {rest}" == ROWS[name]


@pytest.mark.parametrize(
    ("name", "multiply_adds"), [("resnet18", 1.814), ("resnet50", 4.089), ("vgg16", 15.47), ("densenet121", 2.834)]
)
def test_figures_are_twice_torchvisions(describe, name, multiply_adds):
    """torchvision publishes multiply-adds; our transitions of a DenseNet do fewer."""
    gflops = float(describe(name).split(" | ")[3])
    less = 0.08 if name.startswith("densenet") else 0
    assert gflops == pytest.approx(2 * multiply_adds * (1 - less), rel=2e-3 if not less else 0.01)

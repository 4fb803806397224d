"""The faults that take a moment; ``python -m tests.faults`` tries all of them."""

import pytest

from tests.faults import calls, files, images, layouts
from tests.faults.case import OK, attempt
from tests.faults.page import page

CASES = [case for case in (*images.cases(), *files.cases(), *calls.cases(), *layouts.cases()) if case.quick]


@pytest.mark.filterwarnings("ignore")  # an image that Pillow warns of is read or refused all the same
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.what)
def test_a_fault_ends_as_it_must(case):
    row = attempt(case)
    assert row.verdict == OK, row


def test_the_page_holds_every_fault():
    row = attempt(CASES[0])
    assert row.what in page({"inputs": [row]}, 61.0, "python -m tests.faults")

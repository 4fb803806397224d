"""Tables, bars and CSV."""

import io

from rich.console import Console

from jaxtl.report.tables import print_shares
from jaxtl.runtime.files import csv_text


def test_bars_are_as_long_as_their_shares_in_any_encoding():
    for encoding, mark in (("ascii", "-"), ("utf-8", "━")):
        content = io.BytesIO()
        screen = io.TextIOWrapper(content, encoding=encoding)
        print_shares("Test accuracy", {"this run": 1.0, "[b]half": 0.5, "none": 0.0}, Console(file=screen, width=100))
        screen.flush()
        title, *bars = content.getvalue().decode(encoding).strip().splitlines()
        assert title == "Test accuracy"
        assert [line.split()[-2:] for line in bars] == [["100.00", "%"], ["50.00", "%"], ["0.00", "%"]]
        assert [line.count(mark) for line in bars] == [40, 20, 0]
        assert bars[1].startswith("[b]half"), "a name is not markup"


def test_csv_quotes_what_needs_it():
    assert csv_text([["a", 1], ['x,"y"', None]]) == 'a,1\n"x,""y""",\n'

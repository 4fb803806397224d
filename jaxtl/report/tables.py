"""Tables in words, for the screen and the page alike."""

from collections.abc import Sequence
from typing import NamedTuple

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table as RichTable
from rich.text import Text


class Table(NamedTuple):
    """A table; the first column names the row.

    Attributes:
      title: what it shows.
      headings: one a column.
      rows: texts, as many a row as there are headings.
    """

    title: str
    headings: Sequence[str]
    rows: Sequence[Sequence[str]]


def print_table(table: Table, console: Console) -> None:
    """Print a table as wide as its figures need."""
    shown = RichTable(title=Text(table.title, "bold"), title_justify="left", box=SIMPLE_HEAD, collapse_padding=True)
    for heading, *cells in zip(table.headings, *table.rows, strict=True):
        if not shown.columns:
            shown.add_column(heading, min_width=16, overflow="fold")
        else:  # figures are never broken or cut, headings between words only
            longest = max(len(text) for text in (*cells, *heading.split()))
            shown.add_column(heading, justify="right", min_width=longest)
    for row in table.rows:
        shown.add_row(*(Text(cell) for cell in row))
    # A narrow screen breaks the names; where that is not enough, lines that are too long beat figures that are cut.
    least = Measurement.get(console, console.options.update(max_width=1000), shown).minimum
    console.print(shown, width=max(console.width, least), crop=False)

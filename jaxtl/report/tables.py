"""Tables in words, for the screen and the page alike."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.measure import Measurement
from rich.progress_bar import ProgressBar
from rich.table import Table as RichTable
from rich.text import Text

from jaxtl.report.text import percent


class Table(NamedTuple):
    """A table; the first column names the row, and every row has as many texts as there are headings."""

    title: str
    headings: Sequence[str]
    rows: Sequence[Sequence[str]]


def markdown(table: Table) -> str:
    """The headings and rows in Markdown."""
    lines = [table.headings, ["---"] * len(table.headings), *table.rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def print_table(table: Table, console: Console) -> None:
    """Print a table as wide as its figures need."""
    title = Text(table.title, "bold") if table.title else None
    shown = RichTable(title=title, title_justify="left", box=SIMPLE_HEAD, collapse_padding=True)
    for j, heading in enumerate(table.headings):
        if j == 0:
            shown.add_column(Text(heading), min_width=12, overflow="fold")
        else:  # figures are never broken or cut, headings between words only
            longest = max(len(text) for text in (*(row[j] for row in table.rows), *(heading.split() or [""])))
            shown.add_column(Text(heading), justify="right", min_width=longest)
    for row in table.rows:
        shown.add_row(*(Text(cell) for cell in row))
    # A narrow screen breaks the names; where that is not enough, lines that are too long beat figures that are cut.
    least = Measurement.get(console, console.options.update(max_width=10_000), shown).minimum
    console.print(shown, width=max(console.width, least), crop=False)


def print_facts(title: str, facts: Mapping[str, str], console: Console) -> None:
    """Print names with their values."""
    shown = RichTable(title=Text(title, "bold"), show_header=False, title_justify="left")
    shown.add_column(style="bold")
    shown.add_column()
    for name, value in facts.items():
        shown.add_row(Text(name), Text(value))
    console.print(shown)


def print_shares(title: str, shares: Mapping[str, float], console: Console) -> None:
    """Print shares in [0, 1] as bars with their percentage."""
    shown = RichTable.grid(padding=(0, 2))
    for name, share in shares.items():
        shown.add_row(Text(name), ProgressBar(total=1.0, completed=share, width=40), percent(share))
    console.print(Text(f"\n{title}", "bold"), shown, sep="\n")

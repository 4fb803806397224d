"""A comparison on the screen."""

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table as RichTable
from rich.text import Text

from jaxtl.report.comparison.overview import Comparison
from jaxtl.report.comparison.tables import Table, behind_the_best, correction, runs_table


def show(comparison: Comparison, console: Console) -> None:
    """Print the table of the runs, who is how far behind the best, and the notes."""
    print_table(runs_table(comparison), console)
    for table in behind_the_best(comparison):
        print_table(table, console)
    for sentence in (correction(comparison), *comparison.notes):
        if sentence:
            console.print(sentence, highlight=False, markup=False, soft_wrap=True)


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

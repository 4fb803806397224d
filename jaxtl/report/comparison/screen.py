"""A comparison on the screen."""

from rich.console import Console

from jaxtl.report.comparison.overview import Comparison
from jaxtl.report.comparison.tables import behind_the_best, correction, runs_table
from jaxtl.report.tables import print_table


def show(comparison: Comparison, console: Console) -> None:
    """Print the table of the runs, who is how far behind the best, and the notes."""
    print_table(runs_table(comparison), console)
    for table in behind_the_best(comparison):
        print_table(table, console)
    for sentence in (correction(comparison), *comparison.notes):
        if sentence:
            console.print(sentence, highlight=False, markup=False, soft_wrap=True)

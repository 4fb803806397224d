"""A search on the screen."""

from rich.console import Console

from jaxtl.report.search.files import CSV
from jaxtl.report.search.outcome import Outcome
from jaxtl.report.search.tables import reasons_table, trials_table
from jaxtl.report.tables import print_table

MOST = 15  # trials, and reasons, that a screen has room for


def show(outcome: Outcome, console: Console) -> None:
    """Print the best trials, and why others were pruned."""
    table = trials_table(outcome, MOST)
    print_table(table, console)
    if more := len(outcome.lines) - len(table.rows):
        console.print(f"… and {more} more in {CSV}.", highlight=False, markup=False)
    reasons = reasons_table(outcome).rows
    for number, reason in reasons[:MOST]:
        console.print(f"Trial {number} was pruned: {reason}", highlight=False, markup=False, soft_wrap=True)
    if len(reasons) > MOST:
        console.print(f"… and {len(reasons) - MOST} more in {CSV}.", highlight=False, markup=False)

"""``python -m jaxtl.compare RUN_DIR RUN_DIR ... [--out DIR]``: finished runs beside each other."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from jaxtl.errors import UserError
from jaxtl.report.comparison_page import compare_folders
from jaxtl.report.console import LiveConsole
from jaxtl.runtime.command import CommandParser, command, path
from jaxtl.runtime.files import write_errors_explained


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The flags."""
    parser = CommandParser(
        prog="python -m jaxtl.compare",
        description="Compare finished runs: one table, paired tests, charts and a page.",
    )
    parser.add_argument("folders", nargs="*", type=path, metavar="RUN_DIR", help="work folder of a finished run")
    parser.add_argument(
        "--out", type=path, default=Path("runs/comparison"), help="folder for page, table and charts (%(default)s)"
    )
    parser.add_argument("--with-baselines", action="store_true", help="also the baselines inside the run folders")
    arguments = parser.parse_args(argv)
    if not arguments.folders:
        raise UserError("No run was named: give work folders of finished runs, as in python -m jaxtl.compare runs/*.")
    return arguments


def compare(argv: Sequence[str]) -> None:
    """Compare runs, on the screen and on a page."""
    arguments = parse(argv)
    out, way_out = arguments.out, "choose another folder with --out"
    with write_errors_explained("The comparison", way_out, done=f"written to {out}", folder=out):
        compare_folders(arguments.folders, out, LiveConsole(), with_baselines=arguments.with_baselines)


main = command(compare)

if __name__ == "__main__":
    sys.exit(main())

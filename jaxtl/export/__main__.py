"""``python -m jaxtl.export --run DIR [--out DIR] [--format ...]``: write a finished run in formats that others load."""

import argparse
import sys
from collections.abc import Sequence

import rich
from rich.box import SIMPLE_HEAD
from rich.table import Column, Table

from jaxtl.errors import UserError
from jaxtl.export.files import DEFAULT, DESCRIPTION, EXAMPLE, FORMATS, replaced, write_export
from jaxtl.runs.finished import load_run
from jaxtl.runtime.command import CommandParser, command, path


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The flags; ``format`` is a list of names."""
    parser = CommandParser(
        prog="python -m jaxtl.export",
        description="Write a finished run for jaxtl (safetensors), PyTorch (torch), jax alone (stablehlo) and "
        "onnxruntime (onnx).",
        epilog=f"{DESCRIPTION} tells classes, preprocessing and how to load each file. An earlier export is replaced.",
    )
    parser.add_argument("--run", type=path, required=True, metavar="DIR", help="work folder of a finished run")
    parser.add_argument("--out", type=path, metavar="DIR", help="folder of the export; default: RUN/export")
    parser.add_argument(
        "--format",
        default=",".join(DEFAULT),
        metavar="NAMES",
        help=f"separated by commas, of {', '.join(FORMATS)} (%(default)s)",
    )
    arguments = parser.parse_args(argv)
    arguments.format = list(dict.fromkeys(name.strip() for name in arguments.format.split(",")))
    for name in arguments.format:
        if name not in FORMATS:
            raise UserError(f"--format names {name!r}, but there are: {', '.join(FORMATS)}; separate them by commas.")
    return arguments


def export(argv: Sequence[str]) -> None:
    """Export a run, and print what was written."""
    arguments = parse(argv)
    run, out = load_run(arguments.run), arguments.out or arguments.run / "export"
    table = Table("file", Column("size", justify="right"), Column("", overflow="fold"), box=SIMPLE_HEAD)
    with replaced(out) as folder:
        written = write_export(run, arguments.format, folder)
        for file, entry in written["files"].items():
            table.add_row(file, f"{(folder / file).stat().st_size / 1e6:,.1f} MB", entry["is"])
    for file, reason in written["not_possible"].items():
        table.add_row(file, "not possible", reason)
    rich.get_console().print(table, markup=False)
    example = f"; {EXAMPLE} asks the program about images" if (out / EXAMPLE).exists() else ""
    print(f"Written to {out}: {DESCRIPTION} tells how to load each file{example}.")


main = command(export)

if __name__ == "__main__":
    sys.exit(main())

"""``python -m jaxtl.predict --run DIR [--run DIR ...] IMAGE ...``: classify images with finished runs."""

import argparse
import contextlib
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from rich.console import Console

from jaxtl.data.image_files import LIST, Unread, image_files, shown
from jaxtl.errors import UserError
from jaxtl.report.answers import as_csv, as_json, as_text
from jaxtl.report.compared_runs import distinct_names
from jaxtl.report.console import RunConsole
from jaxtl.report.text import percent
from jaxtl.runs.finished import LoadedRun, Predictions, load_run
from jaxtl.runtime.command import CommandParser, at_least_one, command, path, share, tell, write_result
from jaxtl.runtime.files import write_errors_explained
from jaxtl.runtime.run_files import RunFiles

FORMATS = ("table", "csv", "json")
_UNBROKEN = 10_000  # letters a line


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The flags; ``format`` follows the suffix of ``out`` where it is not given."""
    parser = CommandParser(
        prog="python -m jaxtl.predict",
        description="Classify images with finished runs. Several runs are put side by side.",
        epilog="Only results go to stdout; what could not be read, and why, goes to stderr.",
    )
    parser.add_argument("images", nargs="*", metavar="IMAGE", help="file, folder, or - for a list of paths on stdin")
    parser.add_argument(
        "--run", type=path, action="append", default=[], metavar="DIR", help="work folder of a finished run"
    )
    parser.add_argument(
        "--top", type=at_least_one, default=5, help="classes of each image (%(default)s); of several runs in JSON only"
    )
    parser.add_argument(
        "--max-error",
        type=share,
        metavar="SHARE",
        help="answer 'unsure' below the confidence at which this share of the answers on the validation images was "
        "wrong, for example 2%%; default: answer always",
    )
    parser.add_argument("--format", choices=FORMATS, help="default: by the suffix of --out, else a table")
    parser.add_argument("--out", type=path, metavar="FILE", help="write the result there, not to stdout")
    parser.add_argument("--sheet", type=path, metavar="FILE.png", help="also draw the images with their classes")
    parser.add_argument("--batch", type=at_least_one, default=64, help="images a step (%(default)s)")
    argv = list(argv)
    end = argv.index("--") if "--" in argv else len(argv)  # which argparse does not take among intermixed arguments
    arguments = parser.parse_intermixed_args(argv[:end])
    arguments.images += argv[end + 1 :]
    if not arguments.run:
        raise UserError("No run was named: give the work folder of a finished run, as in --run runs/cnn.")
    if not arguments.images:
        raise UserError("No image was named: give image files, folders, or - for a list of paths on stdin.")
    if LIST in arguments.images and sys.stdin is None:
        raise UserError("Standard input is closed, so no list can be read from it; name image files or folders.")
    if arguments.sheet and arguments.sheet.suffix.lower() != ".png":
        raise UserError(f"The sheet {arguments.sheet} would be a PNG file; give it a name that ends in .png.")
    if not arguments.format:
        suffix = arguments.out.suffix.lower().removeprefix(".") if arguments.out else ""
        arguments.format = suffix if suffix in FORMATS else FORMATS[0]
    return arguments


def predict(argv: Sequence[str]) -> None:
    """Classify images."""
    arguments = parse(argv)
    runs = [load_run(folder) for folder in dict.fromkeys(arguments.run)]
    files, unread = image_files(arguments.images, sys.stdin.buffer.read() if LIST in arguments.images else b"")
    RunFiles.refuse_to_replace(arguments.out)
    results = [arguments.out]
    if arguments.sheet:
        from jaxtl.report.sheets import page_paths  # draws

        results += page_paths(arguments.sheet, len(files))
    for out in results:
        if out and out.is_file() and any(_is_same(file, out) for file in files):
            raise UserError(f"{out} is one of the images, which would be lost; write to another file.")
    answers = {}
    names = distinct_names([run.name for run in runs], [run.folder for run in runs])
    with contextlib.closing(RunConsole(Console(stderr=True))) as bar:
        for run, name in zip(runs, names, strict=True):
            bar.on_pass_start(name, len(files))
            answers[name] = run.predict(
                files,
                batch_size=arguments.batch,
                top=arguments.top,
                max_error=arguments.max_error,
                progress=lambda done, images: bar.on_images(done),
            )
            if threshold := answers[name].threshold:
                tell(f"{name} is unsure below a confidence of {percent(threshold)}.")
    faults = answers[names[0]].faults  # which files can be read is the same for all runs
    unread += [Unread(shown(file), fault) for file, fault in zip(files, faults, strict=True) if fault]
    for place, reason in unread:
        tell(f"{place}: {reason}")
    kept = np.flatnonzero([not fault for fault in faults])
    if not len(kept):
        raise UserError("Nothing could be predicted: there is no readable image among the paths given.")
    files = [files[i] for i in kept]
    _report(arguments, runs[0], files, {name: found.chosen(kept) for name, found in answers.items()}, unread)
    if unread:
        tell(f"{len(unread)} of {len(unread) + len(files)} images could not be read.")


def _is_same(file: Path, other: Path) -> bool:
    try:
        return file.samefile(other)
    except OSError:  # it cannot be read, which the result says
        return False


def _report(
    arguments: argparse.Namespace,
    run: LoadedRun,
    files: Sequence[Path],
    answers: Mapping[str, Predictions],
    unread: Sequence[Unread],
) -> None:
    names = [shown(file) for file in files]
    if arguments.format == "json":
        text = as_json(names, answers, unread)
    elif arguments.format == "csv":
        text = as_csv(names, answers)
    else:
        # Lines that are not broken are what other commands can use.
        on_screen = sys.stdout.isatty() and not arguments.out
        text = as_text(names, answers, shutil.get_terminal_size().columns if on_screen else _UNBROKEN)
    if arguments.sheet:  # first: who reads stdout may leave early
        from jaxtl.report.sheets import write_sheets  # draws

        with write_errors_explained(arguments.sheet):
            pages = write_sheets(arguments.sheet, run, files, answers)
        more = f" and {len(pages) - 1} more pages, up to {pages[-1]}" if len(pages) > 1 else ""
        tell(f"The sheet: {arguments.sheet}{more}")
    if arguments.out:
        write_result(arguments.out, text)
    else:
        print(text, end="")


main = command(predict)

if __name__ == "__main__":
    sys.exit(main())

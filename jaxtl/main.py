"""``python -m jaxtl.main --config configs/X.py --workdir DIR [--config.FIELD=VALUE ...]``: train, test, report."""

import argparse
import pathlib
import sys
from collections.abc import Sequence

from jaxtl.config import check, raise_problems
from jaxtl.config.fields import field_table
from jaxtl.config.flags import load_config, override, split_flags, split_recipe
from jaxtl.config.tree import Tree, plain
from jaxtl.experiment import run
from jaxtl.report.console import print_fields
from jaxtl.runtime.command import exit_status
from jaxtl.runtime.cpu import use_fast_cpu_lowerings
from jaxtl.runtime.processes import broadcast, is_main_process, run_together


def parse(argv: Sequence[str]) -> tuple[Tree, pathlib.Path]:
    """The config, changed as the flags say, and the work folder.

    Raises:
      UserError: whatever is wrong with the config, all at once.
    """
    parser = argparse.ArgumentParser(
        prog="python -m jaxtl.main",
        usage="%(prog)s --config FILE [--workdir DIR] [--config.FIELD=VALUE ...], or %(prog)s --help-fields",
        description="Train, test and report what a config describes; or go on where the work folder was left.",
        epilog="Any field can be changed: --config.seed=3, --config.phases.0.epochs=1, --config.source.batch_size=64.",
        allow_abbrev=False,
    )
    parser.add_argument("--config", required="--help-fields" not in argv, help="a file of configs/, or FILE:RECIPE")
    parser.add_argument("--workdir", type=pathlib.Path, help="the run folder; default: runs/NAME OF THE CONFIG FILE")
    parser.add_argument("--help-fields", action="store_true", help="list every field with its default and meaning")
    assignments, others = split_flags(argv)
    arguments = parser.parse_args(others)
    if arguments.help_fields:
        print_fields(field_table())
        sys.exit()
    config = load_config(arguments.config)
    raise_problems(override(config, assignments) + check(config), arguments.config)
    path, recipe = split_recipe(arguments.config)
    return config, arguments.workdir or pathlib.Path("runs") / "_".join(filter(None, (path.stem, recipe)))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; 0 if all went well, 2 for a mistake that a person can mend, 128 + N after signal N."""
    arguments = sys.argv[1:] if argv is None else argv
    use_fast_cpu_lowerings()
    return exit_status(lambda: run_together(lambda: _run(arguments)), resumes=True)


def _run(argv: Sequence[str]) -> int:
    config, workdir = parse(argv) if is_main_process() else (None, None)
    # Where there are several processes, they are told: a mistake in the flags is then told once, too.
    config, workdir = broadcast((plain(config), str(workdir)))
    run(config, workdir)
    return 0


if __name__ == "__main__":
    sys.exit(main())

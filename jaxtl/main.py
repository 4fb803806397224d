"""``python -m jaxtl.main --config configs/X.py --workdir DIR [--config.field=value …]``: train, test, report."""

import argparse
import importlib.util
import pathlib
import sys
from collections.abc import Sequence

import rich
from absl import logging
from ml_collections import ConfigDict
from rich.table import Table

from jaxtl.config import check, field_table, override, raise_problems
from jaxtl.errors import UserError
from jaxtl.experiment import run
from jaxtl.train.loop import Interrupted

_FIELD = "--config."


def load_config(path: pathlib.Path) -> ConfigDict:
    """What ``get_config()`` of a config file returns.

    Raises:
      UserError: if there is no such file, or it does not give a config.
    """
    if not path.is_file():
        there = ", ".join(sorted(file.name for file in path.parent.glob("*.py"))) or "no config"
        raise UserError(f"There is no config file {path}; {path.parent} holds {there}.")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        return module.get_config()
    except Exception as error:  # whatever is wrong with a person's own file, they want its name and the reason
        raise UserError(f"The config file {path} does not give a config: {type(error).__name__}: {error}.") from error


def parse(argv: Sequence[str]) -> tuple[ConfigDict, pathlib.Path]:
    """The config, overrides applied, and the work folder."""
    parser = argparse.ArgumentParser(prog="python -m jaxtl.main", description=__doc__.split(": ")[-1])
    parser.add_argument("--config", type=pathlib.Path, required="--help-fields" not in argv, help="a file of configs/")
    parser.add_argument("--workdir", type=pathlib.Path, help="the run folder; default: runs/NAME OF THE CONFIG")
    parser.add_argument("--help-fields", action="store_true", help="list every field that --config.FIELD=VALUE sets")
    arguments = parser.parse_args([flag for flag in argv if not flag.startswith(_FIELD)])
    if arguments.help_fields:
        table = Table("field", "default", "meaning")
        for path, default, doc in field_table():
            table.add_row(path, repr(default), doc)
        rich.print(table)
        sys.exit()
    config = load_config(arguments.config)
    problems = []
    for flag in (flag for flag in argv if flag.startswith(_FIELD)):
        path, equals, value = flag.removeprefix(_FIELD).partition("=")
        problems.append(override(config, path, value) if equals else f"{path} has no value; write {flag}=VALUE.")
    raise_problems([problem for problem in problems if problem] + check(config), str(arguments.config))
    return config, arguments.workdir or pathlib.Path("runs") / arguments.config.stem


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; 0 if all went well, 2 for a mistake that a person can mend, 128 + N after signal N."""
    logging.set_verbosity(logging.ERROR)
    try:
        config, workdir = parse(sys.argv[1:] if argv is None else argv)
        run(config, workdir)
    except Interrupted as stopped:
        print(stopped, file=sys.stderr)
        return 128 + (stopped.stop.signal or 0)
    except (UserError, OSError) as error:
        print(f"jaxtl: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())

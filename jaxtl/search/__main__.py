"""``python -m jaxtl.search --config configs/X.py [--space NAME=DISTRIBUTION ...]``: search of hyperparameters."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jaxtl.config import check, raise_problems, variants
from jaxtl.config.flags import load_config, override, split_flags, split_recipe
from jaxtl.config.tree import Tree
from jaxtl.runtime.command import at_least_one, exit_status
from jaxtl.search.check import space_faults
from jaxtl.search.load import extend, have_optuna, load_space, write_out_phases
from jaxtl.search.space import Space
from jaxtl.search.text import split_space

_EPILOG = """\
The space is what get_space() of the config file returns, and what --space adds or changes:
  --space phases.0.learning_rate=log:1e-4..1e-1   a real number, every order of magnitude alike
  --space model.options.dropout=0..0.5            a real number
  --space batch_size=16..128:16                   whole numbers in steps
  --space phases.0.optimizer=adam,adamw,sgd       a choice
Several processes given the same command share one search, and a search that was stopped goes on.
"""


def parse(argv: Sequence[str]) -> tuple[Tree, Space, dict[str, Any]]:
    """The config, changed as the flags say, the space, and the other arguments of ``search``.

    Raises:
      UserError: whatever is wrong with config or space, all at once.
    """
    parser = argparse.ArgumentParser(
        prog="python -m jaxtl.search",
        usage="%(prog)s --config FILE [--config.FIELD=VALUE ...] [--space NAME=DISTRIBUTION ...] [options]",
        description="Search hyperparameters on validation images; train the best trial anew and test it once.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--config", required=True, help="a file of configs/, or FILE:RECIPE")
    parser.add_argument("--workdir", type=Path, help="folder of the search; default: runs/NAME OF THE CONFIG FILE")
    parser.add_argument("--space", metavar="NAME=DISTRIBUTION", help="a parameter; may be given several times")
    parser.add_argument("--final", metavar="FIELD=VALUE", help="a field that differs in the final training; likewise")
    parser.add_argument("--trials", type=at_least_one, default=20, help="how many in all (%(default)s)")
    parser.add_argument("--sampler", choices=("random", "tpe"), default="random", help="(%(default)s)")
    parser.add_argument("--pruner", choices=("none", "median", "halving"), default="none", help="(%(default)s)")
    parser.add_argument("--seed", type=_seed, default=0, help="of the sampler (%(default)s)")
    parser.add_argument("--no-final", action="store_true", help="leave the best trial untested, to search on later")
    parser.add_argument("--keep-checkpoints", action="store_true", help="keep the checkpoints of finished trials")
    assignments, others = split_flags(argv)
    parameters, others = split_space(others, "--space")
    final, others = split_space(others, "--final")
    arguments = parser.parse_args(others)
    have_optuna()
    config = load_config(arguments.config)
    faults = override(config, assignments) + check(config)
    raise_problems(faults, arguments.config)
    space, faults = extend(load_space(arguments.config), variants(config)[""]["model"]["name"], parameters, final)
    write_out_phases(config, space)
    raise_problems(faults + space_faults(config, space, draws=not faults), f"The space of {arguments.config}")
    path, recipe = split_recipe(arguments.config)
    return (
        config,
        space,
        {
            "workdir": arguments.workdir or Path("runs") / "_".join(filter(None, (path.stem, recipe))),
            "trials": arguments.trials,
            "sampler": arguments.sampler,
            "pruner": arguments.pruner,
            "seed": arguments.seed,
            "final": not arguments.no_final,
            "keep_checkpoints": arguments.keep_checkpoints,
        },
    )


def _seed(text: str) -> int:
    if not text.isdigit() or int(text) >= 2**31:
        raise argparse.ArgumentTypeError(f"{text!r} must be a whole number from 0 to {2**31 - 1}")
    return int(text)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; 0 if all went well, 2 for a mistake that a person can mend, 128 + N after signal N."""
    return exit_status(lambda: _search(sys.argv[1:] if argv is None else argv), resumes=True)


def _search(argv: Sequence[str]) -> int:
    config, space, arguments = parse(argv)
    from jaxtl.search.search import search  # not before: it needs Optuna, which may not be installed

    search(config, space, **arguments)
    return 0


if __name__ == "__main__":
    sys.exit(main())

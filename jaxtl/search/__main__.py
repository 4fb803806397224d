"""``python -m jaxtl.search --config configs/X.py [--space NAME=DISTRIBUTION ...]``: search of hyperparameters."""

import argparse
import importlib.util
import sys
from collections.abc import Sequence
from typing import Any

from jaxtl.config import raise_problems, variants
from jaxtl.config.flags import call_in_file, parse_config, split_recipe
from jaxtl.config.tree import Tree
from jaxtl.errors import UserError
from jaxtl.runtime.command import at_least_one, exit_status
from jaxtl.runtime.cpu import use_fast_cpu_lowerings

if importlib.util.find_spec("optuna"):
    from jaxtl.search.check import space_faults
    from jaxtl.search.search import search
    from jaxtl.search.space import Space, read_distribution, type_of, typed
    from jaxtl.search.study import PRUNERS, SAMPLERS

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
        description="Search hyperparameters on validation images; train the best config again and test it once.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--storage", default="", help="database that several machines share, as postgresql://HOST/NAME")
    parser.add_argument(
        "--space", type=_pair, action="append", default=[], metavar="NAME=DISTRIBUTION", help="a parameter; repeatable"
    )
    parser.add_argument(
        "--final", type=_pair, action="append", default=[], metavar="FIELD=VALUE", help="changed for the final training"
    )
    parser.add_argument("--trials", type=at_least_one, default=20, help="how many in all (%(default)s)")
    parser.add_argument("--sampler", choices=SAMPLERS, default="random", help="(%(default)s)")
    parser.add_argument("--pruner", choices=tuple(PRUNERS), default="none", help="(%(default)s)")
    parser.add_argument("--seed", type=_seed, default=0, help="of the sampler (%(default)s)")
    parser.add_argument("--no-final", action="store_true", help="leave the best trial untested, to search on later")
    parser.add_argument("--keep-checkpoints", action="store_true", help="keep the checkpoints of finished trials")
    config, arguments = parse_config(parser, argv, own=("seed",))
    space, faults = _space(arguments.config, config, arguments.space, arguments.final)
    raise_problems(faults + space_faults(config, space, draws=not faults), f"The space of {arguments.config}")
    names = ("workdir", "trials", "sampler", "pruner", "seed", "storage", "keep_checkpoints")
    return config, space, {name: getattr(arguments, name) for name in names} | {"final": not arguments.no_final}


def _space(
    place: str, config: Tree, parameters: Sequence[tuple[str, str]], final: Sequence[tuple[str, str]]
) -> tuple[Space, list[str]]:
    """The space of the config file with what the command line says, and what is wrong with that."""
    base, model = load_space(place), variants(config)[""]["model"]["name"]
    distributions, changes, faults = dict(base.parameters), dict(base.final), []
    for name, text in parameters:
        try:
            distributions[name] = read_distribution(name, text, type_of(name, model))
        except UserError as error:
            faults.append(str(error))
    for path, text in final:
        changes[path] = typed(path, text, model)
    if not config.get("phases") and any(name.startswith("phases.0.") for name in (*distributions, *changes)):
        config["phases"] = ({},)  # the default one, which the space names
    return Space(distributions, base.apply, changes), faults


def load_space(place: str) -> Space:
    """What ``get_space()`` of a config file returns; an empty space where the file has none.

    Args:
      place: as ``load_config`` takes it; where ``get_space`` takes an argument, it is the name of the recipe.

    Raises:
      UserError: if ``get_space()`` fails, or returns something else.
    """
    space = call_in_file(place, "get_space", default=Space({}))
    if not isinstance(space, Space):
        raise UserError(
            f"get_space() of {split_recipe(place)[0]} returns {space!r}; return "
            "jaxtl.search.Space({NAME: DISTRIBUTION, …}), with a function for apply and a dictionary for final where "
            "they are needed."
        )
    return space


def _pair(text: str) -> tuple[str, str]:
    """NAME=TEXT, for argparse."""
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise argparse.ArgumentTypeError(f"{text!r} lacks a name or a value; write phases.0.learning_rate=1e-4..1e-1")
    return name, value


def _seed(text: str) -> int:
    if not text.isdigit() or int(text) >= 2**31:
        raise argparse.ArgumentTypeError(f"{text!r} must be a whole number from 0 to {2**31 - 1}")
    return int(text)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; 0 if all went well, 2 for a user error, 128 + N after signal N."""
    use_fast_cpu_lowerings()
    return exit_status(lambda: _search(sys.argv[1:] if argv is None else argv), resumes=True)


def _search(argv: Sequence[str]) -> int:
    if not importlib.util.find_spec("optuna"):
        raise UserError("The search of hyperparameters needs Optuna; run pip install 'jaxtl[search]'.")
    config, space, arguments = parse(argv)
    search(config, space, **arguments)
    return 0


if __name__ == "__main__":
    sys.exit(main())

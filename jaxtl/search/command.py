"""What ``jaxtl search`` does; it needs Optuna."""

import argparse
from collections.abc import Sequence
from typing import Any

from jaxtl.config import raise_problems, variants
from jaxtl.config.fields import no_field
from jaxtl.config.flags import call_in_file, parse_config, split_recipe
from jaxtl.config.tree import Tree
from jaxtl.errors import UserError
from jaxtl.runs.folder import disk_errors_explained
from jaxtl.runtime.command import CommandParser, at_least_one, whole_number
from jaxtl.search.space import Space, is_field, read_distribution, space_faults, type_of, typed
from jaxtl.search.study import PRUNERS, SAMPLERS
from jaxtl.search.trials import Search

_EPILOG = """\
The space is what get_space() of the config file returns, and what --space adds or changes:
  --space phases.0.learning_rate=log:1e-4..1e-1   a real number on a logarithmic scale
  --space model.options.dropout=0..0.5            a real number
  --space batch_size=16..128:16                   whole numbers in steps
  --space phases.0.optimizer=adam,adamw,sgd       a choice
Several processes given the same command share one search, and a search that was stopped goes on.
"""


def parse(argv: Sequence[str]) -> tuple[Tree, Space, argparse.Namespace]:
    """The config, changed as the flags say, the space, and the other arguments."""
    parser = CommandParser(
        prog="python -m jaxtl.search",
        usage="%(prog)s --config FILE [--config.FIELD=VALUE ...] [--space NAME=DISTRIBUTION ...] [options]",
        description="Search hyperparameters on validation images; train the best config again and test it once.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    pairs: dict[str, Any] = {"type": _pair, "action": "append", "default": []}
    parser.add_argument("--storage", default="", help="database that several machines share, as postgresql://HOST/NAME")
    parser.add_argument("--space", metavar="NAME=DISTRIBUTION", help="a parameter; repeatable", **pairs)
    parser.add_argument("--final", metavar="FIELD=VALUE", help="changed for the final training; repeatable", **pairs)
    parser.add_argument("--trials", type=at_least_one, default=20, help="how many in all (%(default)s)")
    parser.add_argument("--sampler", choices=SAMPLERS, default="random", help="how parameters are chosen (%(default)s)")
    parser.add_argument("--pruner", choices=tuple(PRUNERS), default="none", help="what ends bad trials (%(default)s)")
    parser.add_argument("--seed", type=whole_number(0), default=0, help="of the sampler (%(default)s)")
    parser.add_argument("--no-final", action="store_true", help="leave the best trial untested, to search on later")
    config, arguments = parse_config(parser, argv, own=("seed",))
    base, model = load_space(arguments.config), variants(config)[""]["model"]["name"]
    distributions, faults = dict(base.parameters), []
    for name, text in arguments.space:
        if not is_field(name) and name not in base.parameters:
            faults.append(no_field(name))
            continue
        try:
            distributions[name] = read_distribution(name, text, type_of(name, model))
        except UserError as error:
            faults.append(str(error))
    final = {**base.final, **{path: typed(path, text, model) for path, text in arguments.final}}
    if not config.get("phases") and any(name.startswith("phases.0.") for name in (*distributions, *final)):
        config["phases"] = ({},)  # the default one, which the space names
    space = Space(distributions, base.apply, final)
    raise_problems(faults + space_faults(config, space, draws=not faults), f"The space of {arguments.config}")
    return config, space, arguments


def load_space(place: str) -> Space:
    """What ``get_space()`` of a config file returns, given the recipe if it takes one; else an empty space."""
    space = call_in_file(place, "get_space", default=Space({}))
    if not isinstance(space, Space):
        raise UserError(
            f"get_space() of {split_recipe(place)[0]} returns {space!r}, which is not a space; return "
            "jaxtl.search.Space({NAME: DISTRIBUTION, …})."
        )
    return space


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise argparse.ArgumentTypeError(f"{text!r} lacks a name or a value; write phases.0.learning_rate=1e-4..1e-1")
    return name, value


def search(argv: Sequence[str]) -> None:
    """Search as the arguments say."""
    config, space, chosen = parse(argv)
    method = {"sampler": chosen.sampler, "pruner": chosen.pruner, "seed": chosen.seed}
    with disk_errors_explained(chosen.workdir):
        trials = Search(config, space, chosen.workdir, chosen.trials, method, chosen.storage)
        trials.run_trials()
        trials.conclude(final=not chosen.no_final)

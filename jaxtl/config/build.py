"""Build configs, and resolve them into the complete configs of the runs that they describe.

A config is an `ml_collections.ConfigDict`, or any mapping; what it does not set has the default of
`jaxtl.config.fields`. Beside the fields it may hold a `source` (a run that is trained first, to start from) and
`baselines` (runs to compare with): configs again, written as changes to the main one.
"""

import dataclasses
import itertools
import numbers
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from ml_collections import ConfigDict

from jaxtl.config.fields import BASELINES, FIELDS, PHASE_FIELDS, SOURCE
from jaxtl.config.tree import Tree, assign, merge, plain
from jaxtl.errors import UserError, expect, nearest
from jaxtl.transfer.phases import Phase

T = TypeVar("T")
_MOST_SEEDS = 1000


class _Config(ConfigDict):
    """A ConfigDict that converts the phases of a plan to those of `phase`, whose fields can be changed."""

    def __setitem__(self, key: str, value: Any) -> None:
        if key == "phases" and isinstance(value, tuple | list):
            value = tuple(phase(**dataclasses.asdict(each)) if isinstance(each, Phase) else each for each in value)
        super().__setitem__(key, _Config(value, type_safe=False) if isinstance(value, dict) else value)


def default_config() -> ConfigDict:
    """A config with every field at its default, and one phase; config files change it field by field."""
    tree = with_defaults({"model": {"options": {}}})
    # Not type-safe: ml_collections would raise over the first wrong type, and `check` names them all.
    empty = {SOURCE: _Config(type_safe=False), BASELINES: _Config(type_safe=False)}
    return _Config({**tree, "phases": (phase(),), **empty}, type_safe=False)


def phase(**changes: Any) -> ConfigDict:
    """A phase, as the plans of ``jaxtl.transfer`` create them: the given fields, and the default of every other."""
    return ConfigDict({**{name: field.default for name, field in PHASE_FIELDS.items()}, **changes}, type_safe=False)


def choose(recipe: str, recipes: Mapping[str, T]) -> T:
    """Choose a recipe by its name, in a config file that has several: ``--config configs/resnet18.py:best``.

    Raises:
      UserError: for a name that is not among them.

    >>> choose("best", {"replica": 1, "best": 2})
    2
    """
    if recipe not in recipes:
        raise UserError(f"The config has no recipe {recipe!r}; {nearest(recipe, recipes)}")
    return recipes[recipe]


def repeats(config: Mapping[str, Any], seeds: Iterable[int] = (), *, vary_split: bool = False) -> dict[str, Tree]:
    """The config once for each seed and for each fold that is held out in turn, by name; empty where it is one run.

    Source and baselines get the same draw. With ``vary_split`` the seeds are values of ``data.split_seed``, too.

    Raises:
      UserError: a seed is not one, or there is none to vary the split by.

    >>> list(repeats({"data": {"folds": 2}}, [0, 7]))
    ['seed0_fold0', 'seed0_fold1', 'seed7_fold0', 'seed7_fold1']
    """
    field = FIELDS["seed"].check
    expect("vary_split", vary_split, bool, "True or False")
    try:
        seeds = list(itertools.islice(seeds, _MOST_SEEDS + 1))
    except TypeError as error:  # also of an array without a dimension
        raise UserError(f"seeds is {seeds!r}, but must be whole numbers, for example range(5) or [5].") from error
    if strange := [n for n in seeds if not isinstance(n, numbers.Integral) or isinstance(n, bool) or field.fault(n)]:
        raise UserError(f"{strange[0]!r} is not a seed; give whole numbers {field.allowed}, for example range(5).")
    if len(seeds) > _MOST_SEEDS:
        raise UserError(f"There are more than {_MOST_SEEDS:,} seeds, a run each; give fewer, for example range(5).")
    if vary_split and not seeds:
        raise UserError("The split varies with the seeds, but none was named; add some, as in --seeds 0..4.")
    tree = tree_of(config)
    data = tree.get("data", {})
    folds = data.get("folds", 0) if data.get("fold", -1) < 0 else 0
    seeded: Tree = {f"seed{n}": {"seed": n, "data": {"split_seed": n} if vary_split else {}} for n in map(int, seeds)}
    folded: Tree = {f"fold{n}": {"data": {"fold": n}} for n in range(folds)}
    found = {"": tree}
    for draws in filter(None, (seeded, folded)):
        found = {
            f"{name}_{draw}".lstrip("_"): merge(each, changes)
            for name, each in found.items()
            for draw, changes in draws.items()
        }
    return found if seeded or folded else {}


def variants(config: Mapping[str, Any]) -> dict[str, Tree]:
    """The main config under ``""``, its source under ``"source"``, its baselines under ``"baselines.NAME"``.

    Each is complete: a source or a baseline inherits what it does not change.
    """
    return resolve(parts_of(tree_of(config)))


def tree_of(config: Any) -> Tree:
    """A config of any kind as plain dictionaries.

    Raises:
      UserError: it is not a config.
    """
    tree = plain(config)
    files = "jaxtl.config.flags.load_config(FILE)"
    expect("The config", tree, dict, f"a config, as jaxtl.config.default_config() or, of a file, {files} returns it")
    return dict(tree)


def parts_of(tree: Tree) -> dict[str, Any]:
    """Split a config into what it says of each run, by place: the main run, its source, its baselines."""
    parts: dict[str, Any] = {"": {key: value for key, value in tree.items() if key not in (SOURCE, BASELINES)}}
    source, baselines = tree.get(SOURCE, {}), tree.get(BASELINES, {})
    if source != {}:
        parts[SOURCE] = source
    if not isinstance(baselines, dict):
        return {**parts, BASELINES: baselines}
    return parts | {f"{BASELINES}.{name}": changes for name, changes in baselines.items()}


def resolve(parts: Mapping[str, Tree]) -> dict[str, Tree]:
    """The complete config of each run, from ``parts_of``."""
    main = with_defaults(parts[""])
    runs = {"": main}
    for where, changes in parts.items():
        if not where:
            continue
        # A source trains from scratch unless it says otherwise: it cannot start from itself.
        own: Tree = {"name": f"{main['name']}: {where.split('.', 1)[-1]}"}
        inherited = merge(main, {**own, **({"model": {"weights": ""}} if where == SOURCE else {})})
        if changes.get("model", {}).get("name", main["model"]["name"]) != main["model"]["name"]:
            inherited["model"].pop("options", None)  # which belong to the other network
        runs[where] = with_defaults(merge(inherited, changes))
    return runs


def kept_config(tree: Mapping[str, Any]) -> Tree:
    """A config that was kept in a folder, with the defaults of fields that are newer than the folder."""
    others = {where: with_defaults(part) for where, part in tree.items() if where.split(".")[0] in (SOURCE, BASELINES)}
    return {**with_defaults(tree), **others}


def with_defaults(tree: Mapping[str, Any]) -> Tree:
    """Complete the config of one run with the defaults."""
    complete: Tree = {}
    for path, field in FIELDS.items():
        assign(complete, path, field.default)
    complete = merge(complete, tree)
    defaults = {name: field.default for name, field in PHASE_FIELDS.items()}
    complete["phases"] = tuple({**defaults, **changes} for changes in complete.get("phases", ({},)))
    return complete

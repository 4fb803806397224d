"""Configs as a command gets them: a file, and flags that change its fields."""

import ast
import copy
import importlib.util
import inspect
import pathlib
from collections.abc import Iterable, Sequence
from typing import Any

from jaxtl.config.fields import BASELINES, OPTIONS, SOURCE, find_field, in_run, nearest, no_field, read_text, wrong_type
from jaxtl.config.tree import Tree, assign, plain
from jaxtl.errors import UserError
from jaxtl.runtime.files import user_path

_FLAG = "--config."


def load_config(place: str | pathlib.Path) -> Tree:
    """What ``get_config()`` of a config file returns.

    Args:
      place: a file, or ``FILE:RECIPE`` for a file whose ``get_config(recipe)`` takes the name of a recipe.

    Raises:
      UserError: if there is no such file, or it does not give a config.
    """
    path, recipe = split_recipe(place)
    if not path.is_file():
        there = ", ".join(sorted(file.name for file in path.parent.glob("*.py"))) or "no config"
        raise UserError(f"There is no config file {path}; the folder {path.parent} holds {there}.")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise UserError(f"The config file {path} is no Python file; give a file like configs/cnn.py.")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        if recipe and not inspect.signature(module.get_config).parameters:
            raise UserError(
                f"The config file {path} has one recipe alone, not {recipe!r}; leave {':' + recipe!r} away."
            )
        config = plain(module.get_config(recipe) if recipe else module.get_config())
    except UserError:
        raise
    except Exception as error:  # whatever is wrong with a person's own file, they want its name and the reason
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise UserError(f"The config file {path} does not give a config ({reason}); mend its get_config().") from error
    if not isinstance(config, dict):
        raise UserError(
            f"get_config() of {path} returns {config!r}, which is no config; "
            "return one that jaxtl.config.default_config() made."
        )
    return config


def split_recipe(place: str | pathlib.Path) -> tuple[pathlib.Path, str]:
    """(file, recipe): ``configs/resnet18.py:best`` names a recipe, ``configs/resnet18.py`` none.

    >>> split_recipe("configs/resnet18.py:best")[1]
    'best'
    """
    head, colon, recipe = str(place).rpartition(":")
    if colon and head.endswith(".py"):
        return user_path(head), recipe
    return user_path(place), ""


def split_flags(argv: Sequence[str]) -> tuple[list[tuple[str, str]], list[str]]:
    """The (path, text) pairs of ``--config.PATH=TEXT`` and ``--config.PATH TEXT``, and the other arguments.

    >>> split_flags(["--config", "x.py", "--config.seed=3", "--config.data.size", "64"])
    ([('seed', '3'), ('data.size', '64')], ['--config', 'x.py'])
    """
    assignments, others, rest = [], [], list(argv)
    while rest:
        flag = rest.pop(0)
        if not flag.startswith(_FLAG):
            others.append(flag)
            continue
        path, equals, text = flag.removeprefix(_FLAG).partition("=")
        if not equals and rest and not rest[0].startswith("--"):
            text = rest.pop(0)
        assignments.append((path, text))
    return assignments, others


def override(config: Tree, assignments: Iterable[tuple[str, str]]) -> list[str]:
    """Set fields from the command line, in place; return what is wrong with them, one sentence each.

    Args:
      config: from ``load_config``.
      assignments: (path, text) pairs, ``("phases.0.epochs", "3")`` say. The text is read as the type of the field;
        elements of a tuple are separated by commas.
    """
    # The main run's first: the phases of a source or a baseline that has none of its own are copies of the main ones.
    by_run = sorted(((*_split_run(path), text) for path, text in assignments), key=lambda item: item[0] != "")
    faults = [(where, _override(config, where, path, text)) for where, path, text in by_run]
    return [in_run(where, fault) for where, fault in faults if fault]


def _override(config: Tree, where: str, path: str, text: str) -> str | None:
    part = config
    for key in where.split(".") if where else ():
        part = part.get(key) or {}
    if not part:
        described = [f"{BASELINES}.{name}" for name in config.get(BASELINES) or ()]
        described += [SOURCE] if config.get(SOURCE) else []
        hint = nearest(where, described) if described else "describe one in its file."
        return f"{path} changes nothing, because the config has no {where}; {hint}"
    field, option = find_field(path), path.startswith(f"{OPTIONS}.")
    if field is None and not option:
        return no_field(path)
    if path.startswith("phases.") and "phases" not in part:
        part["phases"] = copy.deepcopy(config.get("phases", ({},)))
    value = read_text(text, field.type) if field else _read_literal(text)
    if field and (fault := wrong_type(path, value, field.type, field.default)):
        return fault
    try:
        assign(part, path, value)
    except (IndexError, TypeError):  # no such phase, or `phases` is something else, which `check` tells
        return f"{path} does not exist in the phases of the config, which are counted from 0."
    return None


def _split_run(path: str) -> tuple[str, str]:
    """``baselines.scratch.data.size`` as ``("baselines.scratch", "data.size")``; the main run is ``""``."""
    parts = path.split(".")
    count = {SOURCE: 1, BASELINES: 2}.get(parts[0], 0)
    return ".".join(parts[:count]), ".".join(parts[count:])


def _read_literal(text: str) -> Any:
    """A Python literal, or the text itself where it is none."""
    try:
        return plain(ast.literal_eval(text))
    except (SyntaxError, ValueError):
        return text

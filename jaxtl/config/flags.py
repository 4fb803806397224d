"""Configs from a file and flags that change its fields.

The spelling is that of ``ml_collections.config_flags``, which stops at the first problem and knows no field inside a
tuple (``phases.0.epochs``), in an empty mapping (``model.options.dropout``) or in a source that inherits its phases.
"""

import argparse
import contextlib
import copy
import importlib.util
import inspect
import itertools
import pathlib
import re
import sys
import traceback
import types
from collections.abc import Container, Iterable, Iterator, Sequence
from typing import Any

from jaxtl.config.checks import check, raise_problems
from jaxtl.config.fields import (
    BASELINES,
    FIELDS,
    OPTIONS,
    SOURCE,
    find_field,
    in_run,
    nearest_field,
    no_field,
    read_literal,
    read_text,
    wrong_type,
)
from jaxtl.config.title import retitle, titled_fields
from jaxtl.config.tree import Tree, assign, plain
from jaxtl.errors import UserError, nearest
from jaxtl.runtime.command import path, tell
from jaxtl.runtime.files import user_path

_ROOT = pathlib.Path(__file__).parents[1]
# The configs that come with jaxtl: in a wheel, and in a clone.
_PACKAGED = (_ROOT / "recipes", _ROOT.parent / "configs")
_FLAG = "--config."
_GROUPS = {path.split(".")[0] for path in FIELDS if "." in path} | {"phases", SOURCE, BASELINES}
_number = itertools.count()


def parse_config(
    parser: argparse.ArgumentParser, argv: Sequence[str], own: Container[str] = ()
) -> tuple[Tree, argparse.Namespace]:
    """The config that a command line names and changes, and the command's other arguments, including ``workdir``.

    Args:
      parser: knows the arguments of the command other than ``--config``, ``--workdir`` and the fields.
      argv: the command line.
      own: names of fields that are arguments of the command itself, such as a sampler's ``seed``.

    Raises:
      UserError: whatever is wrong with the config, all at once.
    """
    parser.add_argument("--config", required=True, help="FILE or FILE:RECIPE; the name of one of jaxtl's own is enough")
    parser.add_argument("--workdir", type=path, help="folder of the results; default: runs/NAME OF THE CONFIG")
    assignments, others = split_flags(argv, own)
    arguments, unknown = parser.parse_known_args(others)
    if unknown:
        near = nearest_field(unknown[0].strip("-").partition("=")[0].replace("-", "_"))
        hint = f"did you mean --config.{near}?" if near else "--help lists the flags, jaxtl fields those of the config."
        raise UserError(f"There is no argument {unknown[0]}; {hint}")
    config = load_config(arguments.config)
    raise_problems(override(config, assignments) + check(config), arguments.config)
    arguments.workdir = arguments.workdir or default_workdir(arguments.config)
    return config, arguments


def default_workdir(place: str | pathlib.Path) -> pathlib.Path:
    """Where the results of a config go: ``runs/resnet18_best`` for ``resnet18:best``."""
    file, recipe = split_recipe(place)
    return pathlib.Path("runs", "_".join(filter(None, (file.stem, recipe))))


# --- files -----------------------------------------------------------------------------------------------------------


def load_config(place: str | pathlib.Path) -> Tree:
    """Load a config file: what its ``get_config()`` returns.

    Args:
      place: a file, or ``FILE:RECIPE`` for a file whose ``get_config(recipe)`` takes the name of a recipe. The files
        that come with jaxtl need no more than their name: ``resnet18:best``.

    Raises:
      UserError: if there is no such file, or it does not give a config.
    """
    config = plain(call_in_file(place, "get_config"))
    if not isinstance(config, dict):
        raise UserError(
            f"get_config() of {split_recipe(place)[0]} returns {config!r}, which is not a config; "
            "return one that jaxtl.config.default_config() made."
        )
    return config


def call_in_file(place: str | pathlib.Path, function: str, *, default: Any = None) -> Any:
    """Call a function of a config file, with the recipe if there is one and the function takes an argument.

    Args:
      place: as ``load_config`` takes it.
      function: its name.
      default: what to return where the file lacks the function; ``None``: that is an error.

    Raises:
      UserError: if there is no such file, or anything in it fails; file and line are named.
    """
    path, recipe = split_recipe(place)
    _refuse_missing(place, path)
    with _errors_explained(path, function):
        module = _load(path)
        if default is not None and not hasattr(module, function):
            return default
        found = getattr(module, function)
        takes_recipe = bool(inspect.signature(found).parameters)
        if recipe and not takes_recipe and function == "get_config":
            raise UserError(f"The config file {path} has a single recipe, not {recipe!r}; leave out {':' + recipe!r}.")
        return found(recipe) if recipe and takes_recipe else found()


def _refuse_missing(place: str | pathlib.Path, path: pathlib.Path) -> None:
    own = sorted(file.stem for folder in _PACKAGED for file in folder.glob("[!_]*.py"))
    if not str(place):
        raise UserError(f"The name of the config is empty; give a file, or one of: {', '.join(own)}.")
    if str(place).endswith(":"):
        raise UserError(f"The recipe is missing after the colon in {str(place)!r}; add its name, or drop the colon.")
    if path.is_file():
        return
    if re.fullmatch(r"\w+(:.*)?", str(place)):
        raise UserError(f"There is no config {path.name!r} that comes with jaxtl; {nearest(path.name, own)}")
    if path.is_dir():
        raise UserError(f"{path} is a folder; give a config file, for example configs/cnn.py.")
    if not path.parent.is_dir():
        raise UserError(f"There is no config file {path}; there is no folder {path.parent}.")
    there = ", ".join(sorted(file.name for file in path.parent.glob("*.py"))) or "no config"
    raise UserError(f"There is no config file {path}; the folder {path.parent} holds {there}.")


def split_recipe(place: str | pathlib.Path) -> tuple[pathlib.Path, str]:
    """Split ``configs/resnet18.py:best`` into file and recipe; without a recipe the second is "".

    >>> split_recipe("configs/resnet18.py:best")[1]
    'best'
    """
    found = re.fullmatch(r"(\w+|.*\.py):([^/\\]*)", str(place), re.DOTALL)
    name, recipe = found.groups() if found else (str(place), "")
    path = user_path(name) if name else pathlib.Path()
    if re.fullmatch(r"\w+", name) and not path.is_file():
        path = packaged(f"{name}.py") or path
    return path, recipe


def packaged(name: str) -> pathlib.Path | None:
    """The file of that name among the configs that come with jaxtl; ``None`` if there is none."""
    return next((file for folder in _PACKAGED if (file := folder / name).is_file()), None)


def _load(path: pathlib.Path) -> types.ModuleType:
    """Import the file as a module of a package, so that it can import its neighbours: ``from .cnn import …``.

    The package has a new name each time: the file may have changed, and folders may have files of the same name.
    """
    package = types.ModuleType(f"_jaxtl_configs_{next(_number)}")
    package.__path__ = [str(path.parent.absolute())]
    spec = importlib.util.spec_from_file_location(f"{package.__name__}.{path.stem}", path.absolute())
    if spec is None or spec.loader is None:
        raise UserError(f"The config file {path} is not a Python file; give a file like configs/cnn.py.")
    module = importlib.util.module_from_spec(spec)
    sys.modules.update({package.__name__: package, spec.name: module})
    importlib.invalidate_caches()  # neighbours may be new
    spec.loader.exec_module(module)
    return module


@contextlib.contextmanager
def _errors_explained(path: pathlib.Path, function: str) -> Iterator[None]:
    """Turn any error in a config file into a sentence with file, line and reason."""
    try:
        yield
    except (Exception, SystemExit) as error:
        steps = [(pathlib.Path(step.filename), step.lineno) for step in traceback.extract_tb(error.__traceback__)]
        if isinstance(error, SyntaxError) and error.filename:
            steps.append((pathlib.Path(error.filename), error.lineno))
        # The innermost step in the file or in a neighbour of it; none where the file lacks the function.
        here = [(name, line) for name, line in steps if name.parent == path.parent.absolute()]
        where = f"{path.with_name(here[-1][0].name)}, line {here[-1][1]}," if here else str(path)
        if isinstance(error, UserError):
            raise UserError(f"{where[:-1]}: {error}" if here else str(error)) from error
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise UserError(f"The config file {where} fails with {reason}; correct its {function}().") from error


# --- flags -----------------------------------------------------------------------------------------------------------


def split_flags(argv: Sequence[str], own: Container[str] = ()) -> tuple[list[tuple[str, str]], list[str]]:
    """Split a command line into (path, text) pairs of ``--config.PATH=TEXT`` or ``--config.PATH TEXT``, and the rest.

    ``--data.size=64``, without ``config.``, means the same; so does ``--seed=3`` where the command has no such flag.

    Raises:
      UserError: a flag has no value.

    >>> split_flags(["--config", "x.py", "--config.seed=3", "--data.size", "64"])
    ([('seed', '3'), ('data.size', '64')], ['--config', 'x.py'])
    """
    assignments, others, rest = [], [], list(argv)
    while rest:
        flag = rest.pop(0)
        path, equals, text = flag.removeprefix(_FLAG).removeprefix("--").partition("=")
        is_field = flag.startswith("--") and (path.split(".")[0] in _GROUPS or (path in FIELDS and path not in own))
        if not flag.startswith(_FLAG) and not is_field:
            others.append(flag)
            continue
        if not equals:
            if not rest or rest[0].startswith("--"):
                raise UserError(f"{flag} has no value; write {flag}=VALUE.")
            text = rest.pop(0)
        assignments.append((path, text))
    return assignments, others


def override(config: Tree, assignments: Iterable[tuple[str, str]]) -> list[str]:
    """Set fields from the command line, in place; return the problems, one sentence each.

    Another network drops the options of the old one, with a message. Another network or other data change the title
    too, unless it is set as well.

    Args:
      config: from ``load_config``.
      assignments: (path, text) pairs, for example ``("phases.0.epochs", "3")``. The text is read as the type of the
        field; elements of a tuple are separated by commas.
    """
    # The main run's first: the phases of a source or a baseline that has none of its own are copies of the main ones.
    split = [(*_split_run(path), text) for path, text in assignments]
    split.sort(key=lambda item: (item[0] != "", item[1] != "model.name"))
    before = titled_fields(config)
    faults = [(where, _override(config, where, path, text)) for where, path, text in split]
    if ("", "name") not in {item[:2] for item in split}:
        retitle(config, before)
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
    value = read_text(text, field.type) if field else plain(read_literal(text))
    if field and (fault := wrong_type(path, value, field)):
        return fault
    if path == "model.name":
        _drop_options(part, value)
    try:
        assign(part, path, value)
    except (IndexError, TypeError):  # no such phase, or `phases` is something else, which `check` tells
        phases = part.get("phases", ())
        count = len(phases) if isinstance(phases, tuple) else 0
        return f"{path} does not exist: the config has {count} phase(s), counted from 0."
    return None


def _drop_options(part: Tree, network: str) -> None:
    """Drop the options of a network that another one replaces."""
    model = part.get("model", {})
    if network != model.get("name", network) and (options := model.pop("options", {})):
        told = ", ".join(f"{name}={value!r}" for name, value in options.items())
        tell(f"The options of {model['name']} do not apply to {network} and are left out: {told}.")


def _split_run(path: str) -> tuple[str, str]:
    """``baselines.scratch.data.size`` as ``("baselines.scratch", "data.size")``; the main run is ``""``."""
    parts = path.split(".")
    count = {SOURCE: 1, BASELINES: 2}.get(parts[0], 0)
    return ".".join(parts[:count]), ".".join(parts[count:])

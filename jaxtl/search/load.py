"""The space of a search: what a config file says, and what the command line adds."""

import importlib.util
import inspect
import sys
from collections.abc import Iterable, Mapping
from typing import Any

from jaxtl.config.fields import OPTIONS, find_field, read_text
from jaxtl.config.flags import split_recipe
from jaxtl.errors import UserError
from jaxtl.models import option_types
from jaxtl.search.space import Space
from jaxtl.search.text import read_distribution


def load_space(place: str) -> Space:
    """What ``get_space()`` of a config file returns; an empty space where the file has none.

    Args:
      place: a file that ``jaxtl.config.flags.load_config`` could read, or ``FILE:RECIPE``: where ``get_space`` takes
        an argument, it is the name of the recipe.

    Raises:
      UserError: if ``get_space()`` fails, or returns something else.
    """
    path, recipe = split_recipe(place)
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise UserError(f"The config file {path} is no Python file; give a file like configs/stl10_search.py.")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        if not hasattr(module, "get_space"):
            return Space({})
        takes_recipe = recipe and inspect.signature(module.get_space).parameters
        space = module.get_space(recipe) if takes_recipe else module.get_space()
    except Exception as error:  # whatever is wrong with a person's own file, they want its name and the reason
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise UserError(f"The config file {path} does not give a space ({reason}); mend its get_space().") from error
    if (
        not isinstance(space, Space)
        or not isinstance(space.parameters, Mapping)
        or not isinstance(space.final, Mapping)
        or not (space.apply is None or callable(space.apply))
    ):
        raise UserError(
            f"get_space() of {path} returns {space!r}, which is no space; return jaxtl.search.Space({{NAME: "
            "DISTRIBUTION, …}}), with a function for apply and a dictionary for final where they are needed."
        )
    return space


def extend(
    space: Space, model: str, parameters: Iterable[tuple[str, str]], final: Iterable[tuple[str, str]]
) -> tuple[Space, list[str]]:
    """The space with what the command line says, and what is wrong with that, one sentence each.

    Args:
      space: of the config file.
      model: name of the network, whose options have types of their own.
      parameters: (name, text) pairs of ``--space``; a name of the file's is searched as the text says.
      final: (path, text) pairs of ``--final``.
    """
    distributions, changes, faults = dict(space.parameters), dict(space.final), []
    for name, text in parameters:
        try:
            distributions[name] = read_distribution(name, text, _type_of(name, model))
        except UserError as error:
            faults.append(str(error))
    for path, text in final:
        type_ = _type_of(path, model)
        changes[path] = text if type_ is None else read_text(text, type_)
    return Space(distributions, space.apply, changes), faults


def write_out_phases(config: Any, space: Space) -> None:
    """Give a config without phases the default one, in place, where the space names it."""
    if not config.get("phases") and any(name.startswith("phases.0.") for name in (*space.parameters, *space.final)):
        config["phases"] = ({},)


def _type_of(path: str, model: str) -> Any:
    field = find_field(path)
    if field is not None:
        return field.type
    return option_types(model).get(path.removeprefix(f"{OPTIONS}.")) if path.startswith(f"{OPTIONS}.") else None


def have_optuna() -> None:
    """Check that the one library that a search needs beside the others is there.

    Raises:
      UserError: it is not.
    """
    if "optuna" not in sys.modules and importlib.util.find_spec("optuna") is None:
        raise UserError(
            "The search of hyperparameters needs the library Optuna, which is not installed; run "
            "pip install 'jaxtl[search]'."
        )

"""All commands under one name: ``jaxtl train my_images``; ``python -m jaxtl`` lists them."""

import importlib
import sys
from collections.abc import Sequence
from pathlib import Path

import jaxtl
from jaxtl.config.fields import nearest
from jaxtl.errors import UserError
from jaxtl.runtime.command import exit_status, put

# Name of the command -> its module and what it does.
COMMANDS = {
    "train": ("jaxtl.main", "train, test and report what a config describes"),
    "predict": ("jaxtl.predict", "ask a finished run about images"),
    "evaluate": ("jaxtl.evaluate", "test a finished run on another data set, split or image size"),
    "compare": ("jaxtl.compare", "compare finished runs: tables, charts, paired tests"),
    "search": ("jaxtl.search.__main__", "search hyperparameters on validation images"),
    "export": ("jaxtl.export.__main__", "write a finished run as files that others can load"),
    "lr-find": ("jaxtl.lr_find", "find a learning rate to begin with"),
    "weights": ("jaxtl.weights.__main__", "list, fetch and check pretrained weights"),
    "fields": ("jaxtl.main", "list every field of a config with its default and meaning"),
}
# These take a config first: ``jaxtl train my_images:scratch`` is ``jaxtl train --config my_images:scratch``.
TAKES_CONFIG = ("train", "search", "lr-find")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command that the first argument names; return its exit status, 2 where there is no such command."""
    return exit_status(lambda: _dispatch(argv))


def _dispatch(argv: Sequence[str] | None) -> int:
    name, *arguments = list(sys.argv[1:] if argv is None else argv) or ["--help"]
    if name in ("-h", "--help"):
        return _print(overview())
    if name == "--version":
        return _print(f"jaxtl {jaxtl.__version__}\n")
    if name not in COMMANDS:
        raise UserError(f"There is no command {name!r}; {nearest(name, COMMANDS)}")
    if name in TAKES_CONFIG and arguments and not arguments[0].startswith("-"):
        arguments = ["--config", find_config(arguments[0]), *arguments[1:]]
    if name == "fields":
        arguments = ["--help-fields", *arguments]
    status: int = importlib.import_module(COMMANDS[name][0]).main(arguments)
    return status


def find_config(place: str) -> str:
    """The path of a config that comes with jaxtl, by its name; a place with a folder or an ending stays as it is.

    >>> find_config("configs/mine.py:best")
    'configs/mine.py:best'
    """
    name, colon, recipe = place.partition(":")
    if not name.isidentifier():
        return place
    package = Path(jaxtl.__file__).parent
    folders = (package / "recipes", package.parent / "configs")  # of a wheel, of a clone
    found = [path for folder in folders if (path := folder / f"{name}.py").is_file()]
    if not found:
        known = sorted(path.stem for folder in folders for path in folder.glob("[!_]*.py"))
        raise UserError(f"There is no config {name!r} that comes with jaxtl; {nearest(name, known)}")
    return f"{found[0]}{colon}{recipe}"


def overview() -> str:
    """The commands, one a line.

    >>> print(overview().splitlines()[0])
    usage: jaxtl COMMAND [ARGUMENTS]; jaxtl COMMAND --help tells more
    """
    width = max(map(len, COMMANDS))
    lines = [f"  {name:{width}}  {what}" for name, (_, what) in COMMANDS.items()]
    return "\n".join(["usage: jaxtl COMMAND [ARGUMENTS]; jaxtl COMMAND --help tells more", "", *lines, ""])


def _print(text: str) -> int:
    put(text)
    return 0


def run_command() -> None:
    """What the console script ``jaxtl`` calls."""
    sys.exit(main())


if __name__ == "__main__":
    run_command()

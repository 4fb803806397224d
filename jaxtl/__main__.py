"""All commands under one name: ``jaxtl train my_images``; ``python -m jaxtl`` lists them."""

import importlib
import sys
from collections.abc import Sequence

import jaxtl
from jaxtl.errors import UserError, nearest
from jaxtl.runtime.command import exit_status

# Name of the command -> its module and what it does.
COMMANDS = {
    "train": ("jaxtl.main", "train, test and report what a config describes"),
    "predict": ("jaxtl.predict", "name what images show, by a finished run"),
    "evaluate": ("jaxtl.evaluate", "test a finished run on another data set, split or image size"),
    "compare": ("jaxtl.compare", "compare finished runs: tables, charts, paired tests"),
    "study": ("jaxtl.study", "run the rows of a study's table, and show ours beside the study's"),
    "search": ("jaxtl.search.__main__", "search hyperparameters on validation images"),
    "export": ("jaxtl.export.__main__", "write a finished run as files that others can load"),
    "lr-find": ("jaxtl.lr_find", "find a learning rate to begin with"),
    "weights": ("jaxtl.weights.__main__", "list, fetch and check pretrained weights"),
    "fields": ("jaxtl.main", "list every field of a config with its default and meaning"),
}
# These take a config first: ``jaxtl train my_images:scratch`` is ``jaxtl train --config my_images:scratch``.
TAKES_CONFIG = ("train", "search", "lr-find")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command that the first argument names, and return its exit status.

    Its module is imported before anything catches errors, so that Ctrl-C ends the process until the command begins.
    """
    name, *arguments = (sys.argv[1:] if argv is None else argv) or ["--help"]
    if name not in COMMANDS or (name == "fields" and arguments[:1] not in ([], ["-h"], ["--help"])):
        return exit_status(lambda: _about(name, arguments))
    if name in TAKES_CONFIG and arguments and not arguments[0].startswith("-"):
        arguments = ["--config", *arguments]
    if name == "fields":
        arguments = ["--help-fields"]
    status: int = importlib.import_module(COMMANDS[name][0]).main(arguments)
    return status


def _about(name: str, arguments: Sequence[str]) -> int:
    """Print the commands or the version; anything else is a user error."""
    if name in ("-h", "--help"):
        width = max(map(len, COMMANDS))
        print("usage: jaxtl COMMAND [ARGUMENTS]; jaxtl COMMAND --help shows its arguments\n")
        for command, (_, what) in COMMANDS.items():
            print(f"  {command:{width}}  {what}")
        return 0
    if name == "--version":
        print(f"jaxtl {jaxtl.__version__}")
        return 0
    if name == "fields":
        raise UserError(f"jaxtl fields lists all fields and takes no arguments; leave out {arguments[0]!r}.")
    raise UserError(f"There is no command {name!r}; {nearest(name, COMMANDS)}")


def run_command() -> None:
    """Entry point of the console script ``jaxtl``."""
    sys.exit(main())


if __name__ == "__main__":
    run_command()

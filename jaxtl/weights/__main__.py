"""``python -m jaxtl.weights list | fetch NAME | convert NAME FILE | verify NAME``: pretrained weights by hand."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import rich
import safetensors.numpy
from rich.table import Table

from jaxtl.data import load_dataset
from jaxtl.errors import UserError
from jaxtl.models import list_models
from jaxtl.weights import store
from jaxtl.weights.cards import CARDS, WeightCard, card_for, weights_for
from jaxtl.weights.convert import to_torch
from jaxtl.weights.readme import HEADINGS, cells, readme
from jaxtl.weights.verify import (
    Check,
    check_dataset,
    check_imagenet_folder,
    check_reference_logits,
    predictor,
)


def parser() -> argparse.ArgumentParser:
    """The flags of all commands."""
    whole = argparse.ArgumentParser(prog="python -m jaxtl.weights", description="Pretrained weights by hand.")
    commands = whole.add_subparsers(required=True, metavar="COMMAND")

    listing = commands.add_parser("list", help="the table of cards")
    listing.add_argument("pattern", nargs="?", default="*", help="shell pattern of the model's name")
    listing.add_argument("--markdown", action="store_true", help="print weights/README.md")
    listing.set_defaults(run=_list)

    fetching = commands.add_parser("fetch", help="download, check, convert and keep")
    _name(fetching)
    fetching.add_argument("--tag", help="of the card; default: all of the model's")
    fetching.add_argument("--weights-dir", type=Path, help="folder with files that are here already")
    fetching.set_defaults(run=_fetch)

    converting = commands.add_parser("convert", help="a file of PyTorch to safetensors of ours, or back")
    _name(converting)
    converting.add_argument("file", type=Path, help="PyTorch file, or safetensors of PyTorch's or of our names")
    converting.add_argument(
        "--output", type=Path, help="file to write; default: FILE with the ending .jaxtl.safetensors"
    )
    converting.add_argument(
        "--to-torch", action="store_true", help="write PyTorch's names and shapes, as .torch.safetensors"
    )
    converting.set_defaults(run=_convert)

    verifying = commands.add_parser("verify", help="compare with stored logits and published accuracy")
    _name(verifying)
    verifying.add_argument("--weights", help="tag or file; default: the first of the model's cards")
    verifying.add_argument("--card", help="tag of the card to compare a file with; default: the first")
    verifying.add_argument("--weights-dir", type=Path, help="folder with files that are here already")
    verifying.add_argument("--reference", type=Path, help="folder with elefant.jpg and NAME_elefant_output_ref.npy")
    verifying.add_argument("--images", type=Path, help="folder of photographs, named or grouped by synset")
    verifying.add_argument("--synsets", type=Path, help="file with the synset of each class, one a line")
    verifying.add_argument("--cifar", type=Path, help="folder that holds CIFAR-10")
    verifying.add_argument("--logits", type=Path, help="with --cifar: .npz with `logits` of the whole test set")
    verifying.set_defaults(run=_verify)
    return whole


def _name(command: argparse.ArgumentParser) -> None:
    command.add_argument("name", help="of the model, as list_models() has it")


def _list(arguments: argparse.Namespace) -> int:
    if arguments.markdown:
        print(readme(), end="")
        return 0
    names = list_models(arguments.pattern)
    columns = [HEADINGS.index(heading) for heading in ("model", "tag", "top-1 %", "input", "licence", "file")]
    table = Table(*(HEADINGS[column] for column in columns), box=None)
    for card in CARDS:
        if card.model in names:
            table.add_row(*(cells(card)[column] for column in columns))
    if not table.row_count:
        raise UserError(f"No card is of a model that matches {arguments.pattern!r}; list without a pattern shows all.")
    rich.print(table)
    return 0


def _fetch(arguments: argparse.Namespace) -> int:
    cards = (card_for(arguments.name, arguments.tag),) if arguments.tag else _cards(arguments.name)
    for card in cards:
        store.load(card.model, card.tag, weights_dir=arguments.weights_dir)
        print(f"{card.model} {card.tag}: {store.converted_path(card)}")
    return 0


def _convert(arguments: argparse.Namespace) -> int:
    if not arguments.file.is_file():
        raise UserError(f"There is no file {arguments.file}.")
    ending = ".torch.safetensors" if arguments.to_torch else ".jaxtl.safetensors"
    output = arguments.output or arguments.file.with_name(arguments.file.name.partition(".")[0] + ending)
    variables = store.read_weights(arguments.name, arguments.file)
    metadata = {"model": arguments.name, "source": arguments.file.name}
    if arguments.to_torch:
        store.write_whole(output, safetensors.numpy.save(to_torch(arguments.name, variables), metadata))
    else:
        store.save(variables, output, metadata)
    print(output)
    return 0


def _verify(arguments: argparse.Namespace) -> int:
    cards = _cards(arguments.name)
    chosen = arguments.weights or cards[0].tag
    tag = arguments.card or (chosen if store.is_tag(arguments.name, chosen) else cards[0].tag)
    card = card_for(arguments.name, tag)
    variables = store.load(arguments.name, chosen, weights_dir=arguments.weights_dir)
    predict = predictor(arguments.name, variables, card.classes)
    checks: list[Check] = []
    if arguments.reference:
        checks.append(check_reference_logits(card, predict, arguments.reference))
    if arguments.images:
        if not arguments.synsets or not arguments.synsets.is_file():
            raise UserError("--images needs --synsets FILE: the synset of each class, one a line in the logits' order.")
        synsets = arguments.synsets.read_text().split()
        checks.append(check_imagenet_folder(card, predict, arguments.images, synsets))
    if arguments.cifar:
        check, logits = check_dataset(card, predict, load_dataset("cifar10", "test", arguments.cifar, download=False))
        checks.append(check)
        if arguments.logits:
            with np.load(arguments.logits) as stored:
                difference = float(np.abs(logits - stored["logits"]).max())
            checks.append(Check("logits of the test set", f"largest difference {difference:.1e}", difference <= 1e-3))
    if not checks:
        print(f"{arguments.name}: all {len(variables['params'])} stages are there and have the right shapes; nothing")
        print("to compare with was given: --reference, --images with --synsets, --cifar.")
    for check in checks:
        print(f"{'ok ' if check.passed else 'BAD'} {arguments.name}, {check.what}: {check.found}")
    return 0 if all(check.passed for check in checks) else 1


def _cards(name: str) -> tuple[WeightCard, ...]:
    cards = weights_for(name)
    if not cards:
        raise UserError(f"There are no weights for {name!r}; `list` shows the models that have some.")
    return cards


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; 0 if all went well, 1 if a check failed, 2 for a mistake that a person can mend."""
    arguments = parser().parse_args(argv)
    try:
        return arguments.run(arguments)
    except (UserError, OSError) as error:
        print(f"jaxtl: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())

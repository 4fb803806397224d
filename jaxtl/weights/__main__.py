"""``python -m jaxtl.weights list | fetch NAME | convert NAME FILE | verify NAME``: pretrained weights by hand."""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from jaxtl.data import load_dataset
from jaxtl.errors import UserError
from jaxtl.models import list_models
from jaxtl.models.registry import known
from jaxtl.runtime.command import CommandParser, command, path
from jaxtl.runtime.files import damage_explained, read_object
from jaxtl.weights import store, verify
from jaxtl.weights.cards import CARDS, WeightCard, card_for, weights_for
from jaxtl.weights.convert import to_torch
from jaxtl.weights.formats.safetensors_file import save, save_arrays
from jaxtl.weights.hub import hub_card, hub_tags, is_hub, write_timm_folder

OURS, TORCH, TIMM = ".jaxtl.safetensors", ".torch.safetensors", ".timm"  # the last is a folder
# Columns of the tables of cards and of the hub on a terminal.
_SHORT = ("weights", "model", "tag", "top-1 %", "input", "at pixels", "licence", "file")


def parser() -> argparse.ArgumentParser:
    """The flags of all commands."""
    whole = CommandParser(prog="python -m jaxtl.weights", description="Pretrained weights by hand.")
    commands = whole.add_subparsers(required=True, metavar="COMMAND")

    listing = commands.add_parser("list", help="the table of cards")
    listing.add_argument("pattern", nargs="?", default="*", help="shell pattern of the model's name")
    listing.add_argument("--markdown", action="store_true", help="as in weights/README.md")
    listing.add_argument("--hub", action="store_true", help="the repositories on the Hugging Face hub that timm names")
    listing.set_defaults(run=_list)

    fetching = commands.add_parser("fetch", help="download, check and keep")
    fetching.add_argument("--tag", help="of the card; default: all of the model's")
    fetching.set_defaults(run=_fetch)

    converting = commands.add_parser("convert", help="a file of PyTorch to safetensors of ours, or back")
    converting.add_argument("--output", type=path, help=f"file to write; default: FILE with the ending {OURS}")
    converting.add_argument("--force", action="store_true", help="replace the file to write, even if it is FILE")
    target = converting.add_mutually_exclusive_group()
    target.add_argument("--to-torch", action="store_true", help=f"write PyTorch's names and shapes, as {TORCH}")
    target.add_argument("--to-timm", action="store_true", help=f"write a folder for timm, as {TIMM}")
    converting.set_defaults(run=_convert)

    verifying = commands.add_parser("verify", help="compare with stored logits and published accuracy")
    verifying.add_argument("--weights", help="tag or file; default: the first of the model's cards")
    verifying.add_argument("--card", help="tag of the card to compare a file with; default: the first")
    verifying.add_argument("--reference", type=path, help="folder of elefant.jpg and NAME_elefant_output_ref.npy")
    verifying.add_argument("--images", type=path, help="folder of photographs, named or grouped by synset")
    verifying.add_argument("--synsets", type=path, help="file with the synset of each class, one a line")
    verifying.add_argument("--cifar", type=path, help="folder that holds CIFAR-10")
    verifying.add_argument("--logits", type=path, help="with --cifar: .npy or .npz (`logits`) of the test set")
    verifying.set_defaults(run=_verify)

    for each in (fetching, converting, verifying):
        each.add_argument("name", help="of the model, as list_models() has it")
    converting.add_argument("file", type=path, help="PyTorch file, or safetensors of PyTorch's or of our names")
    for each in (fetching, verifying):
        each.add_argument("--weights-dir", type=path, help="folder with files that are here already")
    return whole


def _list(arguments: argparse.Namespace) -> None:
    names = list_models(arguments.pattern)
    all_rows = hub_tags() if arguments.hub else [cells(card, linked=arguments.markdown) for card in CARDS]
    rows = [row for row in all_rows if row["model"] in names]
    if not rows:
        what = "repository of timm's" if arguments.hub else "card"
        raise UserError(
            f"No {what} is of a model that matches {arguments.pattern!r}; list without a pattern shows all."
        )
    if arguments.markdown:
        print(markdown(rows), end="")
        return
    headings = [heading for heading in rows[0] if heading in _SHORT]
    table = Table(*headings, box=None)
    for row in rows:
        table.add_row(*(row[heading] for heading in headings))
    # A file or a program gets whole lines; only a terminal has a width.
    Console(width=None if sys.stdout.isatty() else 1000, highlight=False).print(table)


def cells(card: WeightCard, *, linked: bool = False) -> dict[str, str]:
    """A card as a line of the table, by heading; the file may be a link of markdown."""
    return {
        "model": card.model,
        "tag": card.tag,
        "top-1 %": "" if card.top1 is None else f"{card.top1:.2f}",
        "trained on": card.data,
        "input": str(card.input_size),
        "resize": "" if card.resize is None else f"{card.resize}, {card.interpolation}",
        "mean": " ".join(f"{value:g}" for value in card.mean),
        "std": " ".join(f"{value:g}" for value in card.std),
        "licence": card.licence,
        "file": f"[{card.file}]({card.url})" if linked and card.url else card.file,
        "hash": f"{store.HASHES[card.digest[0]]} {card.digest[1][:8]}" if card.digest else "",
    }


def markdown(rows: Sequence[Mapping[str, str]]) -> str:
    """A table as ``weights/README.md`` has it."""
    lines = [rows[0], ["---"] * len(rows[0]), *(row.values() for row in rows)]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def _fetch(arguments: argparse.Namespace) -> None:
    for card in (card_for(arguments.name, arguments.tag),) if arguments.tag else _cards(arguments.name):
        print(f"{card.model} {card.tag}: {store.card_file(card, weights_dir=arguments.weights_dir)}")


def _convert(arguments: argparse.Namespace) -> None:
    name, file = known(arguments.name), arguments.file
    if not file.is_file():
        raise UserError(f"{file} is a folder; name the file in it." if file.is_dir() else f"There is no file {file}.")
    stem = next((file.name.removesuffix(end) for end in (OURS, TORCH) if file.name.endswith(end)), file.stem)
    ending = TORCH if arguments.to_torch else TIMM if arguments.to_timm else OURS
    output = arguments.output or file.with_name(stem + ending)
    if output.exists() and not arguments.force:
        raise UserError(f"There is {output} already; name another by --output, or replace it by --force.")
    variables = store.load(name, file)
    metadata = {"model": name, "source": file.name}
    if arguments.to_torch:
        save_arrays(to_torch(name, variables), output, metadata)
    elif arguments.to_timm:
        write_timm_folder(name, variables, output, **_described(file.with_name("model.json")))
    else:
        save(variables, output, metadata)
    print(output)


def _described(path: Path) -> dict[str, Any]:
    """What ``jaxtl.export`` says of a run's images and classes beside its weights, for ``write_timm_folder``."""
    if not path.is_file():
        return {}
    with damage_explained(path):
        about = read_object(path)
        seen = about["input"]
        mean, std = (np.broadcast_to(np.array(seen[key], float), 3).tolist() for key in ("mean", "std"))
        size = int(seen["image_shape"][0])
        return {"mean": mean, "std": std, "input_size": size, "labels": [str(name) for name in about["class_names"]]}


def _verify(arguments: argparse.Namespace) -> int:
    chosen = arguments.weights or _cards(arguments.name)[0].tag
    if is_hub(chosen) and not arguments.card:
        card = hub_card(chosen)
    else:
        known_tag = store.is_tag(arguments.name, chosen)
        card = card_for(arguments.name, arguments.card or (chosen if known_tag else _cards(arguments.name)[0].tag))
    checks = _checks(arguments, card)
    variables = store.load(arguments.name, chosen, weights_dir=arguments.weights_dir)
    predict = verify.predictor(card, variables, chosen)
    outcomes = [outcome for check in checks for outcome in check(predict)]
    for outcome in outcomes:
        print(f"{'ok ' if outcome.passed else 'BAD'} {arguments.name}, {outcome.what}: {outcome.found}")
    return 0 if all(outcome.passed for outcome in outcomes) else 1


def _checks(arguments: argparse.Namespace, card: WeightCard) -> list[verify.Check]:
    """What the flags give to compare with, read before anything is computed."""
    for flag, needed in (("logits", "cifar"), ("synsets", "images"), ("images", "synsets")):
        if getattr(arguments, flag) and not getattr(arguments, needed):
            raise UserError(f"--{flag} is of use only with --{needed}: give both, or leave it out.")
    checks = []
    if arguments.reference:
        checks.append(verify.reference_logits(card, arguments.reference))
    if arguments.images:
        checks.append(verify.imagenet_folder(card, arguments.images, verify.read_synsets(arguments.synsets)))
    if arguments.cifar:
        if card.data != "CIFAR-10":
            raise UserError(f"--cifar is for weights of CIFAR-10, but {card.model} {card.tag} is of {card.data}.")
        test = load_dataset("cifar10", "test", arguments.cifar, download=False)
        shape = len(test), card.classes
        stored = verify.stored_logits(arguments.logits, shape) if arguments.logits else None
        checks.append(verify.whole_test_set(card, test, stored))
    if not checks:
        raise UserError(
            f"There is nothing to compare {card.model} with; give --cifar FOLDER, --reference FOLDER, or --images "
            "FOLDER with --synsets FILE."
        )
    return checks


def _cards(name: str) -> tuple[WeightCard, ...]:
    if cards := weights_for(known(name)):
        return cards
    raise UserError(f"There are no weights for {name!r}; `list` shows the models that have some.")


def _run(argv: Sequence[str]) -> int | None:
    """Run a command; 1 if a check failed."""
    arguments = parser().parse_args(argv)
    return arguments.run(arguments)


main = command(_run)


if __name__ == "__main__":
    sys.exit(main())

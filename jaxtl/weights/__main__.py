"""``python -m jaxtl.weights list | fetch NAME | convert NAME FILE | verify NAME``: pretrained weights by hand."""

import argparse
import sys
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from jaxtl.data import load_dataset
from jaxtl.errors import UserError
from jaxtl.models import list_models
from jaxtl.models.registry import known
from jaxtl.runtime.command import CommandParser, exit_status
from jaxtl.runtime.cpu import use_fast_cpu_lowerings
from jaxtl.runtime.files import user_path
from jaxtl.weights import store, verify
from jaxtl.weights.cards import CARDS, WeightCard, card_for, weights_for
from jaxtl.weights.convert import check_fit, to_torch
from jaxtl.weights.hub import hub_card, hub_tags, is_hub, write_timm_folder
from jaxtl.weights.table import HEADINGS, cells, markdown
from jaxtl.weights.variables_file import save, save_arrays

OURS, TORCH, TIMM = ".jaxtl.safetensors", ".torch.safetensors", ".timm"  # the last is a folder
_SHORT = ("model", "tag", "top-1 %", "input", "licence", "file")  # columns of the table on a terminal


def parser() -> argparse.ArgumentParser:
    """The flags of all commands."""
    whole = CommandParser(prog="python -m jaxtl.weights", description="Pretrained weights by hand.")
    commands = whole.add_subparsers(required=True, metavar="COMMAND")

    listing = commands.add_parser("list", help="the table of cards")
    listing.add_argument("pattern", nargs="?", default="*", help="shell pattern of the model's name")
    listing.add_argument("--markdown", action="store_true", help="as in weights/README.md")
    listing.add_argument("--hub", action="store_true", help="the repositories on the Hugging Face hub that timm names")
    listing.set_defaults(run=_list)

    fetching = commands.add_parser("fetch", help="download, check, convert and keep")
    fetching.add_argument("--tag", help="of the card; default: all of the model's")
    fetching.set_defaults(run=_fetch)

    converting = commands.add_parser("convert", help="a file of PyTorch to safetensors of ours, or back")
    converting.add_argument("--output", type=user_path, help=f"file to write; default: FILE with the ending {OURS}")
    converting.add_argument("--force", action="store_true", help="replace the file to write, even if it is FILE")
    target = converting.add_mutually_exclusive_group()
    target.add_argument("--to-torch", action="store_true", help=f"write PyTorch's names and shapes, as {TORCH}")
    target.add_argument("--to-timm", action="store_true", help=f"write a folder for timm, *{TIMM}")
    converting.set_defaults(run=_convert)

    verifying = commands.add_parser("verify", help="compare with stored logits and published accuracy")
    verifying.add_argument("--weights", help="tag or file; default: the first of the model's cards")
    verifying.add_argument("--card", help="tag of the card to compare a file with; default: the first")
    verifying.add_argument("--reference", type=user_path, help="folder of elefant.jpg and NAME_elefant_output_ref.npy")
    verifying.add_argument("--images", type=user_path, help="folder of photographs, named or grouped by synset")
    verifying.add_argument("--synsets", type=user_path, help="file with the synset of each class, one a line")
    verifying.add_argument("--cifar", type=user_path, help="folder that holds CIFAR-10")
    verifying.add_argument("--logits", type=user_path, help="with --cifar: .npy or .npz (`logits`) of the test set")
    verifying.set_defaults(run=_verify)

    for command in (fetching, converting, verifying):
        command.add_argument("name", help="of the model, as list_models() has it")
    converting.add_argument("file", type=user_path, help="PyTorch file, or safetensors of PyTorch's or of our names")
    for command in (fetching, verifying):
        command.add_argument("--weights-dir", type=user_path, help="folder with files that are here already")
    return whole


def _list(arguments: argparse.Namespace) -> None:
    names = list_models(arguments.pattern)
    if arguments.hub:
        shown = [tag for tag in hub_tags() if tag.model in names]
        if not shown:
            raise UserError(
                f"timm has no weights of a model that matches {arguments.pattern!r}; leave the pattern out."
            )
        _print_table(("weights", "top-1 %", "at pixels", "licence"), [(tag[0], *tag[2:]) for tag in shown])
        return
    cards = [card for card in CARDS if card.model in names]
    if not cards:
        raise UserError(f"No card is of a model that matches {arguments.pattern!r}; list without a pattern shows all.")
    if arguments.markdown:
        print(markdown(cards), end="")
        return
    rows = [dict(zip(HEADINGS, cells(card), strict=True)) for card in cards]
    _print_table(_SHORT, [[row[heading] for heading in _SHORT] for row in rows])


def _print_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    table = Table(*headings, box=None)
    for row in rows:
        table.add_row(*row)
    # A file or a program gets whole lines; only a terminal has a width.
    Console(width=None if sys.stdout.isatty() else 1000, highlight=False).print(table)


def _fetch(arguments: argparse.Namespace) -> None:
    for card in (card_for(arguments.name, arguments.tag),) if arguments.tag else _cards(arguments.name):
        store.load(card.model, card.tag, weights_dir=arguments.weights_dir)
        kept = store.converted_path(card)
        if not kept.is_file():
            raise UserError(f"{kept} was not written; set JAXTL_CACHE to a folder that can be.")
        print(f"{card.model} {card.tag}: {kept}")


def _convert(arguments: argparse.Namespace) -> None:
    name, file = known(arguments.name), arguments.file
    if not file.is_file():
        raise UserError(f"{file} is a folder; name the file in it." if file.is_dir() else f"There is no file {file}.")
    stem = next((file.name.removesuffix(end) for end in (OURS, TORCH) if file.name.endswith(end)), file.stem)
    ending = TORCH if arguments.to_torch else TIMM if arguments.to_timm else OURS
    output = arguments.output or file.with_name(stem + ending)
    if output.exists() and not arguments.force:
        raise UserError(f"There is {output} already; name another by --output, or replace it by --force.")
    variables = store.read_weights(name, file)
    check_fit(name, variables, str(file))
    metadata = {"model": name, "source": file.name}
    if arguments.to_torch:
        save_arrays(to_torch(name, variables), output, metadata)
    elif arguments.to_timm:
        write_timm_folder(name, variables, output)
    else:
        save(variables, output, metadata)
    print(output)


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
            raise UserError(f"--{flag} is of use only with --{needed}: give both, or leave it away.")
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


def _run(arguments: argparse.Namespace) -> int:
    try:
        return arguments.run(arguments) or 0
    except BrokenPipeError:
        raise
    except OSError as error:
        where = f"{error.filename} cannot be used" if error.filename else "The system refused"
        raise UserError(f"{where}: {error.strerror or error}; correct the path or its permissions.") from error


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; return 0 if all went well, 1 if a check failed, 2 for a user error."""
    arguments = parser().parse_args(argv)
    use_fast_cpu_lowerings()
    return exit_status(lambda: _run(arguments))


if __name__ == "__main__":
    sys.exit(main())

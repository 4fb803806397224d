"""Get pretrained weights: by a card, from a folder or the network; from the hub; or from a file of one's own."""

import contextlib
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from jaxtl.errors import UserError, closest
from jaxtl.models import model_options
from jaxtl.runtime.fetch import fetch, file_hash
from jaxtl.runtime.files import cache_dir, user_path
from jaxtl.weights.cards import WeightCard, card_for, weights_for
from jaxtl.weights.convert import Variables, check_fit, from_keras, from_torch
from jaxtl.weights.formats.keras_file import is_hdf5, read_keras_file
from jaxtl.weights.formats.npz_file import read_npz
from jaxtl.weights.formats.safetensors_file import is_ours, unflattened
from jaxtl.weights.formats.torch_file import read_with_metadata
from jaxtl.weights.hub import hub_file, is_hub

FOLDER_VARIABLE = "JAXTL_WEIGHTS"
IN_CLONE = Path(__file__).parents[2] / "weights"  # where a clone has weights that this project trained
HASHES = {"sha256": "SHA-256", "md5": "MD5"}


def load(name: str, weights: str | Path, *, weights_dir: str | Path | None = None) -> Variables:
    """The variables of a model from pretrained weights, whole, head included.

    Args:
      name: one of ``list_models()``.
      weights: tag of one of the model's cards; ``hf:OWNER/NAME`` or ``hf:OWNER/NAME@REVISION`` for a repository on the
        Hugging Face hub, ``local-dir:FOLDER`` for a folder in timm's layout; or path of a file of the model without
        options, of PyTorch, Keras or numpy, or one that ``save`` wrote.
      weights_dir: see ``card_file``.

    Returns:
      ``{"params": …, "batch_stats": …}``, numpy arrays.

    Raises:
      UserError: for an unknown tag, a file that is missing, damaged or of another model, or a download that fails;
        it then gives the address and where to put the file.
    """
    if is_tag(name, weights):
        card = card_for(name, str(weights))
        return read_weights(name, card_file(card, weights_dir=weights_dir), **card.options)
    variables = read_weights(name, weights)
    check_fit(name, variables, str(weights))
    return variables


def read_weights(name: str, path: str | Path, **options: Any) -> Variables:
    """The variables in a file on this machine, of PyTorch, Keras, numpy or ``save``, or in a repository on the hub.

    Args:
      name: one of ``list_models()``.
      path: the file, or the repository as ``load`` takes it. What ``save`` wrote is not compared with the model.
      **options: options of the architecture; a stage that they leave out may be in the file. VGG's dense layers may be
        missing.

    Raises:
      UserError: if the file cannot be read, or is of another model.
    """
    path = hub_file(name, str(path)) if is_hub(path) else _existing(name, path)
    metadata: Mapping[str, str] = {}
    arrays = read_keras_file(path) if is_hdf5(path) else read_npz(path)
    if arrays is None:
        arrays, metadata = read_with_metadata(path)
    if is_ours(arrays):
        return unflattened(arrays, metadata, str(path))
    convert: Callable[..., Variables] = from_keras if any("/" in key for key in arrays) else from_torch
    options = {option: value for option, value in options.items() if option != "head"}  # theirs is linear
    try:
        return convert(name, arrays, **options)
    except UserError as error:
        for others in [{}, {**options, "hidden": ()}] if "hidden" in model_options(name) else []:
            with contextlib.suppress(UserError):
                return convert(name, arrays, **others)
        raise UserError(f"{path}: {error}") from error


def is_tag(name: str, weights: str | Path) -> bool:
    """Whether ``weights`` is the tag of one of the model's cards, and not a path."""
    return isinstance(weights, str) and any(card.tag == weights for card in weights_for(name))


def card_file(card: WeightCard, *, weights_dir: str | Path | None = None) -> Path:
    """The publisher's file of a card, its hash checked.

    It is looked for in ``weights_dir``, in the folder ``weights`` of a clone, then in the cache, and is else downloaded
    into the cache.

    Args:
      card: of the weights.
      weights_dir: folder with files that are on this machine already; default ``$JAXTL_WEIGHTS``.

    Raises:
      jaxtl.runtime.fetch.UnreachableError: there is no connection to download it.
      UserError: for a file of another hash, or a download that fails otherwise.
    """
    folder, place = _named_folder(weights_dir), download_path(card)
    # "state_dicts" is the folder that the zoo's archive unpacks to.
    places = [folder / sub / card.file for sub in ("", "state_dicts", card.model)] if folder else []
    for path in (*places, IN_CLONE / card.file):
        if _is_file(path):
            return _checked(card, path)
    absent = f"{card.file} is not in {folder}. " if folder else ""
    if card.url is None or card.digest is None:
        if _is_file(place):
            return _checked(card, place)
        source = (
            f"the zip file {card.archive}, which has no published hash and is therefore not downloaded by itself"
            if card.archive
            else "the folder weights of jaxtl's repository"
        )
        raise UserError(
            f"{absent}The weights {card.tag} of {card.model} are {card.file} in {source}: get it, and put {card.file} "
            f"at {place} or into the folder ${FOLDER_VARIABLE}."
        )
    try:
        return fetch(card.url, place, sha256=card.sha256, md5=card.md5)
    except UserError as error:  # UnreachableError too, which stays one
        raise type(error)(f"{absent}{error}") from error


def download_path(card: WeightCard) -> Path:
    """Where a download of the publisher's file goes, and where a person without network can put it."""
    return cache_dir() / "weights" / card.model / card.file


def _existing(name: str, path: str | Path) -> Path:
    """The path of a file that is there, with ``~`` resolved."""
    if not isinstance(path, str | os.PathLike) or not str(path):
        raise UserError(f"weights is {path!r}, but it is a card's tag, a path, or None for random variables.")
    there, tags = user_path(path), [card.tag for card in weights_for(name)]
    if _is_file(there):
        return there
    near = closest(str(path), tags)
    hint = f"; did you mean {near!r}?" if near else "."
    known = ", ".join(tags) or "none"
    raise UserError(f"There is no file of weights {there}, and no such tag: the tags of {name} are: {known}{hint}")


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a folder on the way may not be entered
        return False


def _named_folder(weights_dir: str | Path | None) -> Path | None:
    """The folder that the caller or the environment names, if one does."""
    named = weights_dir or os.environ.get(FOLDER_VARIABLE)
    folder = user_path(named) if named else None
    if folder and not folder.is_dir():
        raise UserError(
            f"There is no folder {folder} to look for weights in; correct weights_dir or ${FOLDER_VARIABLE}."
        )
    return folder


def _checked(card: WeightCard, path: Path) -> Path:
    """The path of a file, whose hash is the card's if that has one."""
    if card.digest:
        algorithm, wanted = card.digest
        found = file_hash(path, algorithm)
        if not found.startswith(wanted):
            raise UserError(
                f"{path} is not the file of {card.model} {card.tag}: its {HASHES[algorithm]} begins with {found[:8]} "
                f"instead of {wanted[:8]}; replace or delete it."
            )
    return path

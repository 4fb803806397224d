"""Get pretrained weights: from the cache, a folder, or the network; converted once and kept as safetensors."""

import contextlib
import difflib
import os
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from jaxtl.errors import UserError
from jaxtl.models import model_options
from jaxtl.runtime.fetch import fetch, file_hash
from jaxtl.runtime.files import cache_dir, user_path
from jaxtl.weights.cards import WeightCard, card_for, weights_for
from jaxtl.weights.convert import Variables, check_fit, from_keras, from_torch
from jaxtl.weights.formats.keras_file import SIGNATURE, read_keras_file
from jaxtl.weights.formats.torch_file import read_with_metadata
from jaxtl.weights.hub import hub_file, is_hub
from jaxtl.weights.variables_file import is_ours, save, unflattened

FOLDER_VARIABLE = "JAXTL_WEIGHTS"
HASHES = {"sha256": "SHA-256", "md5": "MD5"}
_SOURCE_HASH = "source_sha256"  # in a conversion's metadata: of the publisher's file


def load(
    name: str,
    weights: str | Path,
    *,
    weights_dir: str | Path | None = None,
    progress: bool = True,
    timeout_s: float = 30.0,
) -> Variables:
    """The variables of a model from pretrained weights, whole, head included.

    A tag's file is looked for in ``weights_dir``, where it counts more than what the cache keeps, and is else
    downloaded; the hash of the publisher's file is checked, and the file converted and cached. A path is read as it is:
    a file of PyTorch or Keras, or one that ``save`` wrote.

    Args:
      name: one of ``list_models()``.
      weights: tag of one of the model's cards; ``hf:OWNER/NAME`` or ``hf:OWNER/NAME@REVISION`` for a repository on the
        Hugging Face hub, ``local-dir:FOLDER`` for a folder in timm's layout; or path of a file of the model without
        options.
      weights_dir: folder with files that are on this machine already; default ``$JAXTL_WEIGHTS``.
      progress: draw a progress bar while downloading.
      timeout_s: how long a server may stay silent, in seconds.

    Returns:
      ``{"params": …, "batch_stats": …}``, numpy arrays.

    Raises:
      UserError: for an unknown tag, a file that is missing, damaged or of another model, or a download that fails;
        it then gives the address and where to put the file.
    """
    if is_tag(name, weights):
        return _of_card(card_for(name, str(weights)), weights_dir, progress=progress, timeout_s=timeout_s)
    variables = read_weights(name, weights)
    check_fit(name, variables, str(weights))
    return variables


def read_weights(name: str, path: str | Path, **options: Any) -> Variables:
    """The variables in a file on this machine, of PyTorch, Keras or ``save``, or in a repository on the hub.

    Args:
      name: one of ``list_models()``.
      path: the file, or the repository as ``load`` takes it. What ``save`` wrote is not compared with the model.
      **options: options of the architecture; a stage that they leave away may be in the file. VGG's dense layers may be
        missing.

    Raises:
      UserError: if the file cannot be read, or is of another model.
    """
    path = hub_file(name, str(path)) if is_hub(path) else _existing(name, path)
    with path.open("rb") as file:
        is_hdf5 = file.read(len(SIGNATURE)) == SIGNATURE
    arrays, metadata = (read_keras_file(path), {}) if is_hdf5 else read_with_metadata(path)
    is_keras = is_hdf5 or any("/" in key for key in arrays)
    if is_ours(arrays):
        return unflattened(arrays, metadata, str(path))
    try:
        return _converted(from_keras if is_keras else from_torch, name, arrays, options)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error


def is_tag(name: str, weights: str | Path) -> bool:
    """Whether ``weights`` is the tag of one of the model's cards, and not a path."""
    return isinstance(weights, str) and any(card.tag == weights for card in weights_for(name))


def converted_path(card: WeightCard) -> Path:
    """Where the cache keeps a card's converted weights."""
    digest = f"-{card.digest[1][:8]}" if card.digest else ""
    return cache_dir() / "weights" / f"{card.model}-{card.tag}{digest}.safetensors"


def download_path(card: WeightCard) -> Path:
    """Where a download of the publisher's file goes, and where a person without network can put it."""
    return cache_dir() / "weights" / card.model / card.file


# --- a file ---


def _existing(name: str, path: str | Path) -> Path:
    """The path of a file that is there, with ``~`` resolved."""
    if not isinstance(path, str | os.PathLike) or not str(path):
        raise UserError(f"weights is {path!r}, but it is a card's tag, a path, or None for random variables.")
    there = user_path(path)
    if _is_file(there):
        return there
    tags = [card.tag for card in weights_for(name)]
    near = difflib.get_close_matches(str(path).lower(), tags, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else "."
    known = ", ".join(tags) or "none"
    raise UserError(f"There is no file of weights {there}, and no such tag: the tags of {name} are: {known}{hint}")


def _converted(
    convert: Callable[..., Variables], name: str, arrays: Mapping[str, Any], options: Mapping[str, Any]
) -> Variables:
    """``from_torch`` or ``from_keras``, also of a whole network where the options leave stages away, and of a VGG
    without dense layers."""
    options = {option: value for option, value in options.items() if option != "head"}  # theirs is linear
    try:
        return convert(name, arrays, **options)
    except UserError:
        for others in [{}, {**options, "hidden": ()}] if "hidden" in model_options(name) else []:
            with contextlib.suppress(UserError):
                return convert(name, arrays, **others)
        raise


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a folder on the way may not be entered
        return False


# --- a card ---


def _of_card(card: WeightCard, weights_dir: str | Path | None, **fetching: Any) -> Variables:
    folder = _named_folder(weights_dir)
    original = _find(card, folder)
    found = file_hash(original, "sha256") if original else None
    if kept := _read_converted(card, found):
        return kept
    path = original or _download(card, folder, **fetching)
    variables = read_weights(card.model, path, **card.options)
    origin = {"model": card.model, "tag": card.tag, "source": card.url or card.archive or ""}
    try:
        save(variables, converted_path(card), origin | {_SOURCE_HASH: found or file_hash(path, "sha256")})
        if original is None:
            path.unlink(missing_ok=True)  # the conversion holds the same numbers, and to_torch gives them back
    except (UserError, OSError) as error:
        warnings.warn(f"The converted weights are not kept: {error} $JAXTL_CACHE names that place.", stacklevel=3)
    return variables


def _named_folder(weights_dir: str | Path | None) -> Path | None:
    """The folder that the caller or the environment names, if one does."""
    named = weights_dir or os.environ.get(FOLDER_VARIABLE)
    if not named:
        return None
    folder = user_path(named)
    if not folder.is_dir():
        raise UserError(
            f"There is no folder {folder} to look for weights in; correct weights_dir or ${FOLDER_VARIABLE}."
        )
    return folder


def _find(card: WeightCard, folder: Path | None) -> Path | None:
    """The publisher's file on this machine, its hash checked; ``None`` if it is not there."""
    # "state_dicts" is the folder that the zoo's archive unpacks to.
    places = [folder / sub / card.file for sub in ("", "state_dicts", card.model)] if folder else []
    for place in (*places, download_path(card)):
        if _is_file(place):
            algorithm, wanted = card.digest or ("sha256", "")
            found = file_hash(place, algorithm)
            if not found.startswith(wanted):
                raise UserError(
                    f"{place} is not the file of {card.model} {card.tag}: its {HASHES[algorithm]} begins with "
                    f"{found[:8]} instead of {wanted[:8]}; replace or delete it."
                )
            return place
    return None


def _download(card: WeightCard, folder: Path | None, **fetching: Any) -> Path:
    absent = f"{card.file} is not in {folder}. " if folder else ""
    place = download_path(card)
    if card.url is None or card.digest is None:
        raise UserError(
            f"{absent}The weights {card.tag} of {card.model} are {card.file} in the zip file "
            f"{card.archive or card.url}, which has no published hash and is therefore not downloaded by itself: get "
            f"it, and put {card.file} at {place} or into the folder ${FOLDER_VARIABLE}."
        )
    try:
        return fetch(card.url, place, sha256=card.sha256, md5=card.md5, **fetching)
    except UserError as error:
        raise UserError(f"{absent}{error}") from error


def _read_converted(card: WeightCard, source_hash: str | None) -> Variables | None:
    """The conversion that the cache keeps; ``None`` if there is none that can be used, or it is of another file."""
    path = converted_path(card)
    if not _is_file(path):
        return None
    try:
        arrays, metadata = read_with_metadata(path)
        if source_hash and metadata.get(_SOURCE_HASH) != source_hash:
            return None
        variables = unflattened(arrays, metadata, str(path))
        check_fit(card.model, variables, str(path), **card.options)
    except UserError:
        return None  # damaged, or written by a version with other names: convert again
    return variables

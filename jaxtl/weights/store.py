"""Get pretrained weights: from the cache, a folder, or the network; converted once and kept as safetensors."""

import contextlib
import difflib
import os
import warnings
from pathlib import Path
from typing import Any, NamedTuple

from jaxtl.errors import UserError
from jaxtl.models import build_model
from jaxtl.runtime.cache import cache_dir
from jaxtl.runtime.fetch import fetch, file_hash
from jaxtl.weights.cards import WeightCard, card_for, weights_for
from jaxtl.weights.convert import Variables, check_fit, from_torch
from jaxtl.weights.formats.torch_file import StateDict, read_with_metadata
from jaxtl.weights.variables_file import is_ours, save, unflattened

FOLDER_VARIABLE = "JAXTL_WEIGHTS"
_SOURCE_HASH = "source_sha256"  # in a conversion's metadata: of the publisher's file


class Original(NamedTuple):
    """The publisher's file on this machine, and its SHA-256."""

    path: Path
    sha256: str


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
    a file of PyTorch, or one that ``save`` wrote.

    Args:
      name: one of ``list_models()``.
      weights: tag of one of the model's cards, or path of a file of the model without options.
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
        return _of_card(card_for(name, str(weights)), weights_dir, progress, timeout_s)
    variables = read_weights(name, weights)
    check_fit(name, variables, str(weights))
    return variables


def read_weights(name: str, path: str | Path, **options: Any) -> Variables:
    """The variables in a file on this machine, of PyTorch or of ``save``.

    Args:
      name: one of ``list_models()``.
      path: the file. One that ``save`` wrote is not compared with the model.
      **options: options of the architecture; a stage that they leave away may be in PyTorch's file.

    Raises:
      UserError: if the file cannot be read, or is PyTorch's of another model.
    """
    path = _existing(name, path)
    arrays, metadata = read_with_metadata(path)
    if is_ours(arrays):
        return unflattened(arrays, metadata, str(path))
    try:
        return _from_torch(name, arrays, options)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error


def is_tag(name: str, weights: str | Path) -> bool:
    """Whether ``weights`` is the tag of one of the model's cards, and not a path."""
    return isinstance(weights, str) and any(card.tag == weights for card in weights_for(name))


def converted_path(card: WeightCard) -> Path:
    """Where the cache keeps a card's converted weights."""
    digest = f"-{card.sha256}" if card.sha256 else ""
    return cache_dir() / "weights" / f"{card.model}-{card.tag}{digest}.safetensors"


def download_path(card: WeightCard) -> Path:
    """Where a download of the publisher's file goes, and where a person without network can put it."""
    return cache_dir() / "weights" / card.model / card.file


# --- a file ---


def _existing(name: str, path: str | Path) -> Path:
    """The path of a file that is there, with ``~`` resolved."""
    if not isinstance(path, str | os.PathLike) or not str(path):
        raise UserError(f"weights is {path!r}, but it is a card's tag, a path, or None for random variables.")
    there = Path(path).expanduser()
    if _is_file(there):
        return there
    tags = [card.tag for card in weights_for(name)]
    near = difflib.get_close_matches(str(path).lower(), tags, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else "."
    known = ", ".join(tags) or "none"
    raise UserError(f"There is no file of weights {there}, and no such tag: the tags of {name} are: {known}{hint}")


def _from_torch(name: str, arrays: StateDict, options: dict[str, Any]) -> Variables:
    """``from_torch``, also of a whole network where the options leave stages away."""
    options = {option: value for option, value in options.items() if option != "head"}  # PyTorch's is linear
    try:
        return from_torch(name, arrays, **options)
    except UserError:
        if not set(build_model(name, 0, **options).stage_names) < set(build_model(name, 0).stage_names):
            raise
        with contextlib.suppress(UserError):
            return from_torch(name, arrays)
        raise


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a folder on the way may not be entered
        return False


# --- a card ---


def _of_card(card: WeightCard, weights_dir: str | Path | None, progress: bool, timeout_s: float) -> Variables:
    folder = _named_folder(weights_dir)
    original = _find(card, folder)
    if kept := _read_converted(card, original):
        return kept
    downloaded = original is None
    if original is None:
        original = _download(card, folder, progress, timeout_s)
    variables = read_weights(card.model, original.path)
    if _keep(card, original, variables) and downloaded:
        with contextlib.suppress(OSError):  # the conversion holds the same numbers, and to_torch gives them back
            original.path.unlink()
    return variables


def _named_folder(weights_dir: str | Path | None) -> Path | None:
    """The folder that the caller or the environment names, if one does."""
    named = weights_dir or os.environ.get(FOLDER_VARIABLE)
    if not named:
        return None
    folder = Path(named).expanduser()
    if not folder.is_dir():
        raise UserError(
            f"There is no folder {folder} to look for weights in; correct weights_dir or ${FOLDER_VARIABLE}."
        )
    return folder


def _find(card: WeightCard, folder: Path | None) -> Original | None:
    """The publisher's file on this machine, its hash checked; ``None`` if it is not there."""
    # "state_dicts" is the folder that the zoo's archive unpacks to.
    places = [folder / sub / card.file for sub in ("", "state_dicts", card.model)] if folder else []
    for place in (*places, download_path(card)):
        if _is_file(place):
            found = file_hash(place, "sha256")
            if card.sha256 and not found.startswith(card.sha256):
                raise UserError(
                    f"{place} is not the file of {card.model} {card.tag}: its SHA-256 begins with {found[:8]} instead "
                    f"of {card.sha256}; replace or delete it."
                )
            return Original(place, found)
    return None


def _download(card: WeightCard, folder: Path | None, progress: bool, timeout_s: float) -> Original:
    place = download_path(card)
    absent = f"{card.file} is not in {folder}, and " if folder else ""
    if card.url is None or card.sha256 is None:
        raise UserError(
            f"{absent}the weights {card.tag} of {card.model} are {card.file} in the zip file "
            f"{card.archive or card.url}, which has no published hash and is therefore not downloaded by itself: get "
            f"it, and put {card.file} at {place} or into the folder ${FOLDER_VARIABLE}."
        )
    try:
        path = fetch(card.url, place, sha256=card.sha256, progress=progress, timeout_s=timeout_s)
    except UserError as error:
        raise UserError(f"{absent}{error}") from error
    return Original(path, file_hash(path, "sha256"))


def _keep(card: WeightCard, original: Original, variables: Variables) -> bool:
    """Cache the conversion; whether that could be done."""
    origin = {"model": card.model, "tag": card.tag, "source": card.url or card.archive or ""}
    try:
        save(variables, converted_path(card), origin | {_SOURCE_HASH: original.sha256})
    except UserError as error:
        warnings.warn(f"The converted weights are not kept: {error} $JAXTL_CACHE names that place.", stacklevel=2)
        return False
    return True


def _read_converted(card: WeightCard, original: Original | None) -> Variables | None:
    """The conversion that the cache keeps; ``None`` if there is none that can be used, or of this original."""
    path = converted_path(card)
    if not _is_file(path):
        return None
    try:
        arrays, metadata = read_with_metadata(path)
        if original and metadata.get(_SOURCE_HASH) != original.sha256:
            return None
        variables = unflattened(arrays, metadata, str(path))
        check_fit(card.model, variables, str(path))
    except UserError:
        return None  # damaged, or written by a version with other names: convert anew
    return variables

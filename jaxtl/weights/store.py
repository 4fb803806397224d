"""Get pretrained weights: from the cache, a folder, or the network; converted once and kept as safetensors."""

import contextlib
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy
from flax import traverse_util

from jaxtl.cache import cache_dir
from jaxtl.errors import UserError
from jaxtl.fetch import fetch, file_hash
from jaxtl.weights.cards import WeightCard, card_for, weights_for
from jaxtl.weights.convert import Variables, from_torch, skeleton
from jaxtl.weights.torch_file import read_torch_file

FOLDER_VARIABLE = "JAXTL_WEIGHTS"
_SEPARATOR = "/"


def load(
    name: str,
    weights: str | Path,
    *,
    weights_dir: str | Path | None = None,
    progress: bool = True,
    timeout_s: float = 30.0,
) -> Variables:
    """The variables of a model from pretrained weights, whole, head included.

    A tag is looked for as a converted file in the cache, as its publisher's file in ``weights_dir``, and is else
    downloaded; the hash of the publisher's file is checked, and the file converted and cached. A path is read as it
    is: a file of PyTorch, or one that ``save`` wrote.

    Args:
      name: one of ``list_models()``.
      weights: tag of one of the model's cards, or path of a file.
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
        card = card_for(name, str(weights))
        return _read_converted(card) or _obtain(card, weights_dir, progress, timeout_s)
    path = Path(weights)
    if not path.is_file():
        tags = ", ".join(card.tag for card in weights_for(name)) or "none"
        raise UserError(f"There is no file of weights {path}, and no such tag: the tags of {name} are: {tags}.")
    return read_weights(name, path)


def read_weights(name: str, path: Path) -> Variables:
    """The variables in a file on this machine, of PyTorch or of ``save``.

    Raises:
      UserError: if the file cannot be read or is not of this model.
    """
    arrays = read_torch_file(path)
    if arrays and all(key.startswith(("params/", "batch_stats/")) for key in arrays):
        variables = traverse_util.unflatten_dict(arrays, sep=_SEPARATOR)
        check_fit(name, variables, str(path))
        return variables
    try:
        return from_torch(name, arrays)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error


def check_fit(name: str, variables: Mapping[str, Any], source: str) -> None:
    """Compare names and shapes with those of the model.

    Raises:
      UserError: naming every leaf that is missing, left over or of another shape.
    """
    given = traverse_util.flatten_dict(dict(variables))
    bias = given.get(("params", "head", "linear", "bias"))
    wanted = skeleton(name, 0 if bias is None else len(bias))
    faults = [f"{_SEPARATOR.join(path)} is missing" for path in wanted if path not in given]
    faults += [f"{_SEPARATOR.join(path)} has no place" for path in given if path not in wanted]
    faults += [
        f"{_SEPARATOR.join(path)} has shape {given[path].shape} where the model has {shape}"
        for path, shape in wanted.items()
        if path in given and given[path].shape != shape
    ]
    if faults:
        raise UserError(f"{source} does not fit {name}: {'; '.join(faults)}.")


def is_tag(name: str, weights: str | Path) -> bool:
    """Whether ``weights`` is the tag of one of the model's cards, and not a path."""
    return isinstance(weights, str) and any(card.tag == weights for card in weights_for(name))


def save(variables: Mapping[str, Any], path: Path, metadata: Mapping[str, str] | None = None) -> None:
    """Write variables as safetensors, keys such as ``params/stem/conv/kernel``: a whole file or none.

    Raises:
      UserError: if it cannot be written.
    """
    flat = traverse_util.flatten_dict(dict(variables), sep=_SEPARATOR)
    write_whole(
        path, safetensors.numpy.save({k: np.ascontiguousarray(v) for k, v in flat.items()}, dict(metadata or {}))
    )


def write_whole(path: Path, raw: bytes) -> None:
    """Write a file: all of it or none.

    Raises:
      UserError: if it cannot be written.
    """
    with _explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=path.name, suffix=".partial", delete=False) as file:
            try:
                file.write(raw)
                file.flush()
                os.fsync(file.fileno())
                Path(file.name).replace(path)
            except BaseException:
                Path(file.name).unlink(missing_ok=True)
                raise


def converted_path(card: WeightCard) -> Path:
    """Where the cache keeps a card's converted weights."""
    digest = f"-{card.sha256}" if card.sha256 else ""
    return cache_dir() / "weights" / f"{card.model}-{card.tag}{digest}.safetensors"


def download_path(card: WeightCard) -> Path:
    """Where a download of the publisher's file goes, and where a person without network can put it."""
    return cache_dir() / "weights" / card.model / card.file


def _obtain(card: WeightCard, weights_dir: str | Path | None, progress: bool, timeout_s: float) -> Variables:
    """The publisher's file, converted, and the conversion kept."""
    original = _find(card, weights_dir)
    downloaded = original is None
    if original is None:
        original = _download(card, progress, timeout_s)
    variables = read_weights(card.model, original)
    origin = {"model": card.model, "tag": card.tag, "source": card.url or card.archive or ""}
    save(variables, converted_path(card), origin)
    if downloaded:  # the conversion holds the same numbers, and to_torch gives them back
        with contextlib.suppress(OSError):
            original.unlink()
    return variables


def _find(card: WeightCard, weights_dir: str | Path | None) -> Path | None:
    """The publisher's file on this machine, its hash checked; ``None`` if it is not there."""
    named = weights_dir or os.environ.get(FOLDER_VARIABLE) or None
    folders = [Path(named).expanduser()] if named else []
    if named and not folders[0].is_dir():
        raise UserError(
            f"There is no folder {folders[0]} to look for weights in; correct weights_dir or ${FOLDER_VARIABLE}."
        )
    # "state_dicts" is the folder that the zoo's archive unpacks to.
    places = [folder / sub / card.file for folder in folders for sub in ("", "state_dicts", card.model)]
    places.append(download_path(card))
    for place in places:
        if place.is_file():
            if card.sha256 and not (found := file_hash(place, "sha256")).startswith(card.sha256):
                raise UserError(
                    f"{place} is not the file of {card.model} {card.tag}: its SHA-256 begins with {found[:8]} instead "
                    f"of {card.sha256}; replace or delete it."
                )
            return place
    return None


def _download(card: WeightCard, progress: bool, timeout_s: float) -> Path:
    place = download_path(card)
    if card.url is None or card.sha256 is None:
        raise UserError(
            f"The weights {card.tag} of {card.model} are {card.file} in the zip file {card.archive or card.url}, which "
            f"has no published hash and is therefore not downloaded by itself: get it, and put {card.file} at {place} "
            f"or into the folder ${FOLDER_VARIABLE}."
        )
    return fetch(card.url, place, sha256=card.sha256, progress=progress, timeout_s=timeout_s)


def _read_converted(card: WeightCard) -> Variables | None:
    """The conversion that the cache keeps; ``None`` if there is none that can be used."""
    path = converted_path(card)
    if not path.is_file():
        return None
    try:
        variables = traverse_util.unflatten_dict(safetensors.numpy.load_file(path), sep=_SEPARATOR)
        check_fit(card.model, variables, str(path))
    except (safetensors.SafetensorError, OSError, UserError, ValueError):
        return None  # cut short, or written by a version with other names: convert anew
    return variables


@contextlib.contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(
            f"{path} cannot be written: {error.strerror or error}; make its folder writable, or set JAXTL_CACHE."
        ) from error

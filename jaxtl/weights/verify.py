"""Check pretrained weights against what is known of them: stored logits, and accuracy on labelled images.

A check reads all that it needs when it is made, so that a wrong file is named before anything is computed, and is then
called with a network.
"""

import functools
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from jaxtl.data import Dataset
from jaxtl.data.decode import Undecodable, read_image
from jaxtl.data.image_files import is_image
from jaxtl.errors import UserError
from jaxtl.models import build_model
from jaxtl.models.fit import leaves, shown
from jaxtl.weights.cards import WeightCard
from jaxtl.weights.convert import classes_of

# Logits of one network differ between libraries by their order of summation, ten times less than this.
LOGIT_TOLERANCE = 1e-3


class Outcome(NamedTuple):
    """What was compared, what was found, in words with figures, and whether it is as it should be."""

    what: str
    found: str
    passed: bool


# Normalised float32 images ``[B, H, W, 3]`` to float32 logits ``[B, classes]``.
Predict = Callable[[np.ndarray], np.ndarray]
Check = Callable[[Predict], list[Outcome]]


def predictor(card: WeightCard, variables: Mapping[str, Any], source: str) -> Predict:
    """The compiled network of a card with variables from ``source``.

    Raises:
      UserError: if the variables have another number of classes than the card.
    """
    classes = classes_of(leaves(variables))
    if classes != card.classes or not classes:
        raise UserError(
            f"{source} has {classes or 'no'} classes, but the card {card.tag} of {card.model} has {card.classes}, so "
            "that they cannot be compared; name weights of these classes, or another card by --card."
        )
    apply = jax.jit(functools.partial(build_model(card.model, classes).apply, train=False))
    variables = jax.tree.map(jnp.asarray, dict(variables))
    return lambda images: np.asarray(apply(variables, jnp.asarray(images, jnp.float32)))


def preprocess(image: Image.Image, card: WeightCard) -> np.ndarray:
    """An image as the weights expect it, with the order and roundings of torchvision: float32 ``[S, S, 3]``."""
    image = image.convert("RGB")
    if card.resize is not None:
        short = min(image.size)
        size = [card.resize if side == short else int(card.resize * side / short) for side in image.size]
        image = image.resize((size[0], size[1]), Image.Resampling[(card.interpolation or "bilinear").upper()])
    left, top = (round((side - card.input_size) / 2) for side in image.size)
    return normalise(np.asarray(image.crop((left, top, left + card.input_size, top + card.input_size))), card)


def normalise(pixels: np.ndarray, card: WeightCard) -> np.ndarray:
    """uint8 ``[..., 3]`` to float32: divided by 255, less the card's mean, divided by its std."""
    scaled = pixels.astype(np.float32) / 255
    return (scaled - np.array(card.mean, np.float32)) / np.array(card.std, np.float32)


def reference_logits(card: WeightCard, folder: Path) -> Check:
    """Compare with ``<model>_elefant_output_ref.npy``, logits ``[1, classes]`` of ``elefant.jpg``.

    The picture is squeezed to 224 x 224 by Pillow with its default filter, bicubic.

    Raises:
      UserError: if the folder lacks one of the two files, or one of them cannot be used.
    """
    picture, stored = folder / "elefant.jpg", folder / f"{card.model}_elefant_output_ref.npy"
    if missing := [str(path) for path in (picture, stored) if not path.is_file()]:
        raise UserError(f"There is no {' and no '.join(missing)}: give the folder of reference logits of {card.model}.")
    expected = stored_logits(stored, (1, card.classes))
    images = normalise(np.asarray(_opened(picture).resize((224, 224))), card)[None]

    def check(predict: Predict) -> list[Outcome]:
        found = predict(images)
        difference = float(np.abs(found - expected).max() / np.abs(expected).max())
        ours, theirs = int(found.argmax()), int(expected.argmax())
        words = (
            f"largest difference {difference:.1e} of the largest logit, top-1 class {ours} "
            f"{'as' if ours == theirs else f'instead of {theirs}'} stored"
        )
        return [Outcome(f"logits of {picture.name}", words, ours == theirs and difference <= LOGIT_TOLERANCE)]

    return check


def stored_logits(path: Path, shape: tuple[int, int]) -> np.ndarray:
    """Logits that ``numpy.save`` wrote, or ``numpy.savez`` under the name ``logits``.

    Raises:
      UserError: if there is no such file, it cannot be read, or it holds other shapes or no numbers.
    """
    try:
        with path.open("rb") as file:
            content = np.load(file, allow_pickle=False)
            if isinstance(content, np.lib.npyio.NpzFile):
                if "logits" not in content.files:
                    names = ", ".join(map(shown, content.files[:8])) or "nothing"
                    raise UserError(f"{path} holds no array `logits`, but {names}; name the array so.")
                content = content["logits"]
    except UserError:
        raise
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}; name a file of logits.") from error
    except Exception as error:  # a damaged header raises all kinds
        raise UserError(f"{path} is not a file of numpy.save or numpy.savez, or is damaged; get it again.") from error
    if content.shape != shape or content.dtype.kind != "f":
        raise UserError(
            f"{path} holds {content.dtype} of shape {content.shape}, but the logits are float32 of shape {shape}; name "
            "the file of this network and data set."
        )
    return content


def read_synsets(path: Path) -> list[str]:
    """The synsets of a file, one a line, in the order of the logits.

    Raises:
      UserError: if it cannot be read, or holds anything else.
    """
    try:
        synsets = path.read_text("utf-8").split()
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not text; name a file with the synset of each class, one a line.") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}; name the file of synsets.") from error
    for synset in synsets:
        if not re.fullmatch(r"n\d{8}", synset):
            raise UserError(f"{path} has {shown(synset)!r} where a synset such as n02504458 belongs; correct the line.")
    return synsets


def imagenet_folder(card: WeightCard, folder: Path, synsets: Sequence[str], batch_size: int = 32) -> Check:
    """Top-1 accuracy on photographs whose file or folder begins with their synset, ``n02504458_1234.JPEG``.

    It passes if the published accuracy lies within three standard errors: a folder of a hundred images can tell 10
    points, all 50,000 can tell half a point. The folder is searched at all depths, and images without a synset are
    left out. ``synsets`` are those of all classes in the order of the logits.

    Raises:
      UserError: if the folder holds no such image, or one whose synset is not among ``synsets``.
    """
    if len(synsets) != card.classes:
        raise UserError(
            f"The list has {len(synsets)} synsets, but {card.model} {card.tag} has {card.classes} classes; name "
            "the list of these classes."
        )
    files = list(_labelled(folder, {synset: label for label, synset in enumerate(synsets)}))
    if not files:
        raise UserError(f"{folder} holds no image whose name or folder begins with a synset such as n02504458.")
    paths, labels = zip(*files, strict=True)

    def read(part: slice) -> np.ndarray:
        return np.stack([preprocess(_opened(path), card) for path in paths[part]])

    def check(predict: Predict) -> list[Outcome]:
        guesses = _in_batches(predict, len(paths), batch_size, read).argmax(-1)
        right = int((guesses == np.array(labels)).sum())
        return [_accuracy(card, right, len(paths), f"top-1 on {folder}", exact=False)]

    return check


def whole_test_set(card: WeightCard, test: Dataset, stored: np.ndarray | None = None, batch_size: int = 500) -> Check:
    """Top-1 accuracy on a whole test set, against the published one to the last image.

    ``stored`` are logits ``[N, classes]`` to compare with, each on its own.
    """

    def check(predict: Predict) -> list[Outcome]:
        logits = _in_batches(predict, len(test), batch_size, lambda part: normalise(test.images[part], card))
        right = int((logits.argmax(-1) == test.labels).sum())
        outcomes = [_accuracy(card, right, len(test), f"top-1 on {len(test):,} test images", exact=True)]
        if stored is not None:
            difference = float(np.abs(logits - stored).max())
            words = f"largest difference {difference:.1e}"
            outcomes.append(Outcome("logits of the test set", words, difference <= LOGIT_TOLERANCE))
        return outcomes

    return check


def _in_batches(predict: Predict, count: int, batch_size: int, read: Callable[[slice], np.ndarray]) -> np.ndarray:
    """Logits ``[count, classes]``; all batches have one size, so that one compilation serves them."""
    parts = []
    for start in range(0, count, batch_size):
        images = read(slice(start, start + batch_size))
        padding = min(batch_size, count) - len(images)
        parts.append(predict(np.pad(images, [(0, padding), (0, 0), (0, 0), (0, 0)]))[: len(images)])
    return np.concatenate(parts)


def _accuracy(card: WeightCard, right: int, count: int, what: str, *, exact: bool) -> Outcome:
    found = 100 * right / count
    if card.top1 is None:
        return Outcome(what, f"{found:.2f} % ({right:,} of {count:,}); there is no published figure", True)
    share = card.top1 / 100
    # Two decimals are published, so half of the last digit does not count.
    exactly = 0.005 + 100 * card.top1_left_out / count
    allowed = exactly if exact else 300 * (share * (1 - share) / count) ** 0.5
    words = f"{found:.2f} % ({right:,} of {count:,}), published {card.top1:.2f} %, {allowed:.2g} allowed"
    return Outcome(what, words, abs(found - card.top1) <= allowed + 1e-9)


def _labelled(folder: Path, labels: Mapping[str, int]) -> Iterator[tuple[Path, int]]:
    """The images under a folder and their labels, in the order of their names."""
    if not folder.is_dir():
        raise UserError(f"There is no folder {folder} of images; correct --images.")
    for path in sorted(folder.rglob("*")):
        named = re.match(r"n\d{8}", path.name) or re.match(r"n\d{8}", path.parent.name)
        if named and is_image(path):
            if named[0] not in labels:
                raise UserError(f"{path} has the synset {named[0]}, which is not in the list of synsets.")
            yield path, labels[named[0]]


def _opened(path: Path) -> Image.Image:
    try:
        return Image.fromarray(read_image(path))
    except Undecodable as error:
        raise UserError(f"{path} cannot be read as an image: {error}; replace or remove it.") from error

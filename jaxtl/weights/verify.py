"""Check pretrained weights against what is known of them: stored logits, and accuracy on labelled images."""

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxtl.data import Dataset
from jaxtl.errors import UserError
from jaxtl.models import build_model
from jaxtl.weights.cards import WeightCard

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".JPEG", ".JPG")
# Logits of one network differ between libraries by their order of summation, ten times less than this.
LOGIT_TOLERANCE = 1e-3


class Check(NamedTuple):
    """The outcome of one comparison.

    Attributes:
      what: what was compared.
      found: in words, with figures.
      passed: whether it is as it should be.
    """

    what: str
    found: str
    passed: bool


def predictor(name: str, variables: Mapping[str, Any], num_classes: int) -> Callable[[np.ndarray], np.ndarray]:
    """The compiled model: normalised float32 images ``[B, H, W, 3]`` to float32 logits ``[B, num_classes]``."""
    model = build_model(name, num_classes)
    apply = jax.jit(functools.partial(model.apply, train=False))
    variables = jax.tree.map(jnp.asarray, dict(variables))
    return lambda images: np.asarray(apply(variables, jnp.asarray(images, jnp.float32)))


def preprocess(image: Any, card: WeightCard) -> np.ndarray:
    """A photograph as the weights expect it, in the order and with the roundings of torchvision.

    Args:
      image: a ``PIL.Image`` of any size and mode.
      card: says sizes, interpolation, mean and std.

    Returns:
      float32 ``[input_size, input_size, 3]``, normalised.
    """
    from PIL import Image

    image = image.convert("RGB")
    if card.resize is not None:
        width, height = image.size
        short, long = card.resize, int(card.resize * max(width, height) / min(width, height))
        size = (short, long) if width <= height else (long, short)
        image = image.resize(size, Image.Resampling[(card.interpolation or "bilinear").upper()])
    width, height = image.size
    left, top = round((width - card.input_size) / 2), round((height - card.input_size) / 2)
    image = image.crop((left, top, left + card.input_size, top + card.input_size))
    return normalise(np.asarray(image), card)


def normalise(pixels: np.ndarray, card: WeightCard) -> np.ndarray:
    """uint8 ``[..., 3]`` to float32: divided by 255, less the card's mean, divided by its std."""
    scaled = pixels.astype(np.float32) / 255
    return (scaled - np.array(card.mean, np.float32)) / np.array(card.std, np.float32)


def check_reference_logits(card: WeightCard, predict: Callable[[np.ndarray], np.ndarray], folder: Path) -> Check:
    """Compare with ``<model>_elefant_output_ref.npy``: logits ``[1, classes]`` of ``elefant.jpg`` at 224 x 224.

    The picture is squeezed to that size by Pillow with its default filter, bicubic.

    Raises:
      UserError: if the folder lacks one of the two files.
    """
    from PIL import Image

    picture, stored = folder / "elefant.jpg", folder / f"{card.model}_elefant_output_ref.npy"
    if missing := [str(path) for path in (picture, stored) if not path.is_file()]:
        raise UserError(f"There is no {' and no '.join(missing)}: give the folder of reference logits of {card.model}.")
    expected = np.load(stored)
    with Image.open(picture) as image:
        found = predict(normalise(np.asarray(image.convert("RGB").resize((224, 224))), card)[None])
    difference = float(np.abs(found - expected).max() / np.abs(expected).max())
    same = int(found.argmax()) == int(expected.argmax())
    words = (
        f"largest difference {difference:.1e} of the largest logit, top-1 class {int(found.argmax())} "
        f"{'as' if same else f'instead of {int(expected.argmax())}'} stored"
    )
    return Check(f"logits of {picture.name}", words, same and difference <= LOGIT_TOLERANCE)


def check_imagenet_folder(
    card: WeightCard,
    predict: Callable[[np.ndarray], np.ndarray],
    folder: Path,
    synsets: Sequence[str],
    batch_size: int = 32,
) -> Check:
    """Top-1 accuracy on photographs whose file or folder begins with their synset, ``n02504458_1234.JPEG``.

    It passes if the published accuracy lies within three standard errors: a folder of a hundred images can tell 10
    points, all 50,000 can tell half a point.

    Args:
      card: of the weights.
      predict: see ``predictor``.
      folder: is searched at all depths; images without a synset are left out.
      synsets: of all classes in the order of the logits.
      batch_size: images at a time.

    Raises:
      UserError: if the folder holds no such image, or one whose synset is not among ``synsets``.
    """
    if len(synsets) != card.classes:
        raise UserError(f"The list has {len(synsets)} synsets, but {card.model} {card.tag} has {card.classes} classes.")
    labels = {synset: label for label, synset in enumerate(synsets)}
    files = list(_labelled(folder, labels))
    if not files:
        raise UserError(f"{folder} holds no image whose name or folder begins with a synset such as n02504458.")
    right = 0
    for start in range(0, len(files), batch_size):
        batch = files[start : start + batch_size]
        images = np.stack([_open(path, card) for path, _ in batch])
        padding = [(0, batch_size - len(batch)), (0, 0), (0, 0), (0, 0)]  # one size of batch, one compilation
        guesses = predict(np.pad(images, padding))[: len(batch)].argmax(-1)
        right += int((guesses == [label for _, label in batch]).sum())
    return _accuracy(card, right, len(files), f"top-1 on {folder}", exact=False)


def check_dataset(
    card: WeightCard, predict: Callable[[np.ndarray], np.ndarray], test: Dataset, batch_size: int = 500
) -> tuple[Check, np.ndarray]:
    """Top-1 accuracy on a whole test set, against the published one to the last image.

    Args:
      card: of the weights.
      predict: see ``predictor``.
      test: uint8 images ``[N, H, W, 3]`` of the card's input size.
      batch_size: images at a time.

    Returns:
      The outcome, and the logits ``[N, classes]``.
    """
    parts = []
    for start in range(0, len(test), batch_size):
        images = normalise(test.images[start : start + batch_size], card)
        count = len(images)
        padding = [(0, min(batch_size, len(test)) - count), (0, 0), (0, 0), (0, 0)]
        parts.append(predict(np.pad(images, padding))[:count])
    logits = np.concatenate(parts)
    right = int((logits.argmax(-1) == test.labels).sum())
    return _accuracy(card, right, len(test), f"top-1 on {len(test):,} test images", exact=True), logits


def _accuracy(card: WeightCard, right: int, count: int, what: str, *, exact: bool) -> Check:
    found = 100 * right / count
    if card.top1 is None:
        return Check(what, f"{found:.2f} % ({right:,} of {count:,}); nothing is published", True)
    share = card.top1 / 100
    # Two decimals are published, so that half of the last digit is no difference.
    exactly = 0.005 + 100 * card.top1_left_out / count
    allowed = exactly if exact else 300 * (share * (1 - share) / count) ** 0.5
    words = f"{found:.2f} % ({right:,} of {count:,}), published {card.top1:.2f} %, {allowed:.2g} allowed"
    return Check(what, words, abs(found - card.top1) <= allowed + 1e-9)


def _labelled(folder: Path, labels: Mapping[str, int]) -> Iterator[tuple[Path, int]]:
    """The images under a folder and their labels, in the order of their names."""
    if not folder.is_dir():
        raise UserError(f"There is no folder {folder} of images.")
    for path in sorted(folder.rglob("*")):
        if path.suffix not in IMAGE_SUFFIXES:
            continue
        for name in (path.name, path.parent.name):
            synset = name[:9]
            if len(synset) == 9 and synset[0] == "n" and synset[1:].isdecimal():
                if synset not in labels:
                    raise UserError(f"{path} has the synset {synset}, which is not in the list of synsets.")
                yield path, labels[synset]
                break


def _open(path: Path, card: WeightCard) -> np.ndarray:
    from PIL import Image

    try:
        with Image.open(path) as image:
            return preprocess(image, card)
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read as an image: {error}.") from error

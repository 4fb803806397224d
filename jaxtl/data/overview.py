"""What was read: parts, classes, images of each class, images that stand twice, and what a person should look at."""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxtl.data.dataset import Dataset, Remark
from jaxtl.data.stored import StoredImages

# Groups of equal images, each as (part, image, class).
Groups = Sequence[Sequence[tuple[str, str, str]]]

IMBALANCE = 3  # the largest class has so many times the training images of the smallest: worth a warning
_MOST_REPEATED = 100  # groups of equal images that are listed
_TABLE_CLASSES = 20  # more are summed up


def repeated(parts: Mapping[str, Dataset]) -> list[list[tuple[str, str, str]]]:
    """Groups of equal images that stand in more than one part or class, as (part, image, class).

    Images are equal whose pixels are, or whose files are where they are stored.

    Args:
      parts: the parts by what their images are called, "training" for example, in their order.

    >>> images = np.zeros((1, 2, 2, 3), np.uint8)
    >>> train = test = Dataset(images, np.zeros(1, np.int32), ("a", "b"))
    >>> repeated({"training": train, "test": test})
    [[('training', '0', 'a'), ('test', '0', 'a')]]
    """
    groups: dict[bytes, list[tuple[str, str, str]]] = {}
    for part, dataset in parts.items():
        for digest, name, label in zip(_digests(dataset), dataset.ids, dataset.labels, strict=True):
            groups.setdefault(digest, []).append((part, str(name), dataset.class_names[label]))
    return [group for group in groups.values() if len({(part, of) for part, _, of in group}) > 1]


def remarks_on(groups: Groups) -> list[Remark]:
    """A remark for every image of a group but the first."""
    remarks = []
    for (part, name, of), *others in groups:
        for other_part, other_name, other_of in others:
            another = f", which is {of} there and {other_of} here" if of != other_of else ""
            place = f"{other_part} image {other_name}"
            remarks.append(Remark(place, f"the same image is {part} image {name}{another}", "kept"))
    return remarks


def overview(parts: Mapping[str, Dataset], remarks: Sequence[Remark], groups: Groups) -> dict[str, Any]:
    """What was read, as plain values: the key ``data`` of ``summary.json``.

    Args:
      parts: ``training``, ``validation`` where there is one, and ``test``.
      remarks: what was noticed about the images.
      groups: see ``repeated``.

    Returns:
      ``class_names``; ``image_shape`` (H, W, C); ``parts``, for each the number of images of every class;
      ``passed_over``, for each reason how many files and one of them; ``repeated``, groups of equal images in two parts
      or classes, each a list of {part, image, class}; ``warnings``, a sentence each.
    """
    class_names = parts["training"].class_names
    counts = {part: np.bincount(of.labels, minlength=len(class_names)).tolist() for part, of in parts.items()}
    left_out = [remark for remark in remarks if remark.consequence != "kept"]
    examples = {(remark.problem, remark.consequence): remark.place for remark in reversed(left_out)}
    reasons = Counter((remark.problem, remark.consequence) for remark in left_out)
    return {
        "class_names": list(class_names),
        "image_shape": list(parts["training"].image_shape),
        "parts": counts,
        "passed_over": [
            {"problem": problem, "consequence": consequence, "n": n, "example": examples[problem, consequence]}
            for (problem, consequence), n in reasons.most_common()
        ],
        "repeated": [
            [{"part": part, "image": name, "class": of} for part, name, of in group]
            for group in groups[:_MOST_REPEATED]
        ],
        "warnings": _warnings(class_names, counts, groups),
    }


def _warnings(class_names: Sequence[str], counts: Mapping[str, Sequence[int]], groups: Groups) -> list[str]:
    warnings = []
    train = counts["training"]
    most, least = int(np.argmax(train)), int(np.argmin(train))
    if train[most] >= IMBALANCE * train[least]:
        warnings.append(
            f"The classes are unbalanced: {class_names[most]} has {train[most]:,} training images, "
            f"{class_names[least]} has {train[least]:,}."
        )
    for part, of_class in counts.items():
        if lacking := [name for name, n in zip(class_names, of_class, strict=True) if not n]:
            more = f" and {len(lacking) - 5} more" if len(lacking) > 5 else ""
            warnings.append(f"No {part} images: {', '.join(lacking[:5])}{more}.")
    across = sum(len({part for part, _, _ in group}) > 1 for group in groups)
    twice = sum(len({of for _, _, of in group}) > 1 for group in groups)
    if across:
        warnings.append(
            f"{across:,} image{'s stand' if across > 1 else ' stands'} in more than one part: figures on images that "
            "were trained on are too good."
        )
    if twice:
        warnings.append(f"{twice:,} image{'s stand' if twice > 1 else ' stands'} in more than one class.")
    return warnings


def lines(data: Mapping[str, Any]) -> list[str]:
    """What ``overview`` gave, as lines for the screen."""
    names, parts, (H, W, C) = data["class_names"], data["parts"], data["image_shape"]
    sizes = ", ".join(f"{sum(counts):,} {part}" for part, counts in parts.items())
    kind = "grey" if C == 1 else "RGB"
    told = [f"Images: {sizes}; {len(names)} classes; read as {H} x {W} pixels, {kind}."]
    if len(names) <= _TABLE_CLASSES:
        width = max(len(name) for name in ("class", *names))
        told.append(f"  {'class':<{width}}" + "".join(f"  {part:>10}" for part in parts))
        for k, name in enumerate(names):
            told.append(f"  {name:<{width}}" + "".join(f"  {counts[k]:>10,}" for counts in parts.values()))
    else:
        spread = (f"{part} {min(of):,} to {max(of):,} (median {np.median(of):,.0f})" for part, of in parts.items())
        told.append(f"Images of a class: {', '.join(spread)}.")
    for reason in data["passed_over"]:
        more = ", ..." if reason["n"] > 1 else ""
        told.append(f"{reason['n']:,} {reason['consequence']}: {reason['problem']} ({reason['example']}{more}).")
    return told + [f"Warning: {warning}" for warning in data["warnings"]]


def _digests(dataset: Dataset) -> Sequence[bytes]:
    """Of every image, equal for images with equal pixels, or for stored ones with equal files."""
    if isinstance(dataset.images, StoredImages):
        return list(dataset.images.digests)
    return [hashlib.blake2b(image.tobytes(), digest_size=16).digest() for image in dataset.images]

"""What was read: parts, classes, images of each class, equal images, and what a person should look at."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from jaxtl.data.dataset import Dataset, Remark
from jaxtl.data.stored import StoredImages, pixel_digest
from jaxtl.errors import listed

# Groups of equal images, each as {"part": …, "index": its place in that part, "image": what it is called, "class": …}.
Groups = Sequence[Sequence[Mapping[str, Any]]]

IMBALANCE = 3  # the largest class has so many times the training images of the smallest: worth a warning
_MOST_REPEATED, _MOST_OF_GROUP = 100, 20  # groups of equal images that are listed, and images of each
_TABLE_CLASSES = 20  # more are summed up


def repeated(parts: Mapping[str, Dataset]) -> list[list[dict[str, Any]]]:
    """Groups of equal images that are in more than one part, "training" for example, or in more than one class.

    Images are equal whose pixels are, once they are read.

    >>> images = np.zeros((1, 2, 2, 3), np.uint8)
    >>> train = test = Dataset(images, np.zeros(1, np.int32), ("a", "b"))
    >>> [[(each["part"], each["index"]) for each in group] for group in repeated({"training": train, "test": test})]
    [[('training', 0), ('test', 0)]]
    """
    places: dict[bytes, list[tuple[str, int]]] = {}
    for part, dataset in parts.items():
        for index, digest in enumerate(_digests(dataset)):
            places.setdefault(digest, []).append((part, index))

    def described(part: str, index: int) -> dict[str, Any]:
        dataset = parts[part]
        name, of = str(dataset.ids[index]), dataset.class_names[dataset.labels[index]]
        return {"part": part, "index": index, "image": name, "class": of}

    groups = [[described(*place) for place in equal] for equal in places.values() if len(equal) > 1]
    return [group for group in groups if len({(each["part"], each["class"]) for each in group}) > 1]


def remarks_on(groups: Groups) -> list[Remark]:
    """A remark for every image of a group but the first."""
    remarks = []
    for first, *others in groups:
        for each in others:
            differs = each["class"] != first["class"]
            another = f", which is {first['class']} there and {each['class']} here" if differs else ""
            problem = f"the same image is {first['part']} image {first['image']}{another}"
            remarks.append(Remark(f"{each['part']} image {each['image']}", problem, "kept"))
    return remarks


def overview(parts: Mapping[str, Dataset], remarks: Sequence[Remark], groups: Groups) -> dict[str, Any]:
    """What was read, as plain values: the key ``data`` of ``summary.json``.

    Args:
      parts: ``training``, ``validation`` where there is one, and ``test``.
      remarks: what was noticed about the images.
      groups: see ``repeated``.

    Returns:
      ``class_names``; ``image_shape`` (H, W, C); ``original_sizes``, (height, width) of the ``smallest``, the
      ``median`` and the ``largest`` image by its number of pixels before it was resized, or ``None`` where that is not
      known; ``parts``, for each the number of images of every class; ``passed_over``, for each reason how many files
      and one of them; ``repeated``, the first groups of equal images in two parts or classes, each a list of {part,
      index, image, class}: ``parts[part].images[index]`` is the picture, ``image`` its name; ``warnings``, a sentence
      each.
    """
    class_names = parts["training"].class_names
    counts = {part: np.bincount(of.labels, minlength=len(class_names)).tolist() for part, of in parts.items()}
    left_out = [remark for remark in remarks if remark.consequence != "kept"]
    examples = {(remark.problem, remark.consequence): remark.place for remark in reversed(left_out)}
    reasons = Counter((remark.problem, remark.consequence) for remark in left_out)
    return {
        "class_names": list(class_names),
        "image_shape": list(parts["training"].image_shape),
        "original_sizes": _original_sizes(parts.values()),
        "parts": counts,
        "passed_over": [
            {"problem": problem, "consequence": consequence, "n": n, "example": examples[problem, consequence]}
            for (problem, consequence), n in reasons.most_common()
        ],
        "repeated": [list(group[:_MOST_OF_GROUP]) for group in groups[:_MOST_REPEATED]],
        "warnings": _warnings(class_names, counts, groups),
    }


def _original_sizes(parts: Iterable[Dataset]) -> dict[str, list[int]] | None:
    known = [part.original_sizes for part in parts if part.original_sizes is not None and len(part)]
    if not known:
        return None
    sizes = np.concatenate(known)
    by_pixels = sizes[np.argsort(sizes.prod(1, dtype=np.int64), kind="stable")]
    places = {"smallest": 0, "median": len(sizes) // 2, "largest": -1}
    return {name: by_pixels[place].tolist() for name, place in places.items()}


def _warnings(class_names: Sequence[str], counts: Mapping[str, Sequence[int]], groups: Groups) -> list[str]:
    warnings = []
    train = np.asarray(counts["training"])
    most, least = int(train.argmax()), int(np.where(train, train, train.max()).argmin())  # of the classes with images
    if train[most] >= IMBALANCE * train[least]:
        warnings.append(
            f"The classes are unbalanced: {class_names[most]} has {train[most]:,} training images, "
            f"{class_names[least]} has {train[least]:,}; class_weights='balanced' or balanced_sampling=True of a phase "
            "can make up for that."
        )
    for part, of_class in counts.items():
        if lacking := [name for name, n in zip(class_names, of_class, strict=True) if not n]:
            warnings.append(f"No {part} images: {listed(lacking, 5)}.")
    across = sum(len({each["part"] for each in group}) > 1 for group in groups)
    twice = sum(len({each["class"] for each in group}) > 1 for group in groups)
    if across:
        warnings.append(
            f"{across:,} image{'s stand' if across > 1 else ' stands'} in more than one part: the figures of the test "
            "are too high where its images were trained on."
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
    if data["original_sizes"]:
        originals = [f"{H} x {W} ({name})" for name, (H, W) in data["original_sizes"].items()]
        told.append(f"Original sizes in pixels: {', '.join(originals)}.")
    if len(names) <= _TABLE_CLASSES:
        width = max(len(name) for name in ("class", *names))
        told.append(f"  {'class':<{width}}" + "".join(f"  {part:>10}" for part in parts))
        for k, name in enumerate(names):
            told.append(f"  {name:<{width}}" + "".join(f"  {counts[k]:>10,}" for counts in parts.values()))
    else:
        spread = (f"{part} {min(of):,} to {max(of):,} (median {np.median(of):,.0f})" for part, of in parts.items())
        told.append(f"Images of a class: {', '.join(spread)}.")
    for reason in data["passed_over"]:
        more = f" and {reason['n'] - 1:,} more" if reason["n"] > 1 else ""
        told.append(f"{reason['example']}{more}: {reason['problem']} ({reason['consequence']}).")
    return told + [f"Warning: {warning}" for warning in data["warnings"]]


def _digests(dataset: Dataset) -> Sequence[bytes]:
    """Of every image, equal for images with equal pixels."""
    images = dataset.images
    return list(images.digests) if isinstance(images, StoredImages) else [pixel_digest(image) for image in images]

"""Choose images by class: the same for the same seed, everywhere.

Labels are integers [N]. Indices are int64 and sorted; those of two parts are together 0..N-1.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from jaxtl.errors import UserError


def stratified_split(labels: np.ndarray, fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The indices that remain, and those of a fraction of every class, in [0, 1), held out at random.

    A class of n images gives ``round(fraction * n)`` of them, and at least one if ``fraction`` > 0 and n >= 2, but
    never all.
    """
    rng = np.random.default_rng(seed)
    is_held = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        at_least = 1 if fraction > 0 and len(members) >= 2 else 0
        count = min(max(round(fraction * len(members)), at_least), len(members) - 1)
        is_held[rng.permutation(members)[:count]] = True
    return np.flatnonzero(~is_held).astype(np.int64), np.flatnonzero(is_held).astype(np.int64)


def stratified_fold(labels: np.ndarray, fold: int, folds: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The indices that remain, and those of one of several folds (at least 2), counted from 0.

    Folds have equally many images of every class, give or take one. As in scikit-learn's
    ``StratifiedKFold(shuffle=True)``, those of a seed share no image and are together all images.

    Raises:
      UserError: no class has as many images as there are folds.
    """
    if folds > (most := int(np.bincount(labels).max(initial=0))):
        raise UserError(f"{folds} folds cannot be made of classes of {most} images at most; choose fewer.")
    order = np.random.default_rng(seed).permutation(len(labels))
    dealt = np.empty(len(labels), np.int64)
    dealt[order[np.argsort(labels[order], kind="stable")]] = np.arange(len(labels)) % folds
    return np.flatnonzero(dealt != fold).astype(np.int64), np.flatnonzero(dealt == fold).astype(np.int64)


def per_class(
    labels: np.ndarray, count: int | Mapping[str, int], seed: int, class_names: Sequence[str] = ()
) -> np.ndarray:
    """The indices of ``count`` images of every class, chosen at random.

    Args:
      labels: see above.
      count: one number for all classes, or numbers by name, at least 1; of a class that is not named all images are
        chosen.
      seed: chooses the images.
      class_names: what errors call the classes, and ``count`` if it is a mapping.

    Raises:
      UserError: a class has fewer images.
    """
    rng = np.random.default_rng(seed)
    chosen = []
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        n = count.get(class_names[label], len(members)) if isinstance(count, Mapping) else count
        if len(members) < n:
            name = repr(class_names[label]) if class_names else label
            raise UserError(
                f"{n} images of the class {name} cannot be chosen, which has only {len(members)}; choose fewer."
            )
        chosen.append(rng.permutation(members)[:n])
    return np.sort(np.concatenate(chosen)).astype(np.int64) if chosen else np.zeros(0, np.int64)

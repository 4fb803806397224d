import numpy as np
import pytest
from sklearn.model_selection import StratifiedKFold

from jaxtl.data.split import per_class, stratified_fold, stratified_split
from jaxtl.errors import UserError

LABELS = np.random.default_rng(0).permutation(np.repeat(np.arange(4), [40, 25, 7, 2]))


@pytest.mark.parametrize(
    ("fraction", "held_of_class"),
    [
        (0.0, [0, 0, 0, 0]),
        (0.01, [1, 1, 1, 1]),  # at least one of each
        (0.2, [8, 5, 1, 1]),
        (0.5, [20, 12, 4, 1]),  # round(12.5) is 12, round(3.5) is 4
        (0.9, [36, 22, 6, 1]),  # never all of a class
    ],
)
def test_every_class_gives_its_share(fraction, held_of_class):
    rest, held = stratified_split(LABELS, fraction, seed=3)
    assert np.bincount(LABELS[held], minlength=4).tolist() == held_of_class
    assert np.array_equal(np.sort(np.concatenate([rest, held])), np.arange(len(LABELS)))


def test_the_indices_are_sorted_int64():
    for indices in (*stratified_split(LABELS, 0.2, seed=3), per_class(LABELS, 2, seed=3)):
        assert indices.dtype == np.int64
        assert np.all(np.diff(indices) > 0)


def test_a_single_image_stays_in_the_rest():
    rest, held = stratified_split(np.array([0, 0, 1]), 0.1, seed=0)
    assert 2 in rest
    assert len(held) == 1


def test_the_seed_decides():
    same, again, other = (stratified_split(LABELS, 0.2, seed=seed)[1] for seed in (1, 1, 2))
    assert np.array_equal(same, again)
    assert not np.array_equal(same, other)


def test_a_seed_means_the_same_images_everywhere():
    labels = np.tile(np.arange(2), 10)
    assert stratified_split(labels, 0.2, seed=0)[1].tolist() == [5, 8, 12, 19]
    assert per_class(labels, 2, seed=0).tolist() == [5, 8, 12, 19]


def test_per_class_takes_n_of_each():
    chosen = per_class(LABELS, 2, seed=5)
    assert np.bincount(LABELS[chosen]).tolist() == [2, 2, 2, 2]
    assert not np.array_equal(chosen, per_class(LABELS, 2, seed=6))


def test_per_class_takes_other_numbers_of_classes_that_are_named():
    names = tuple("abcd")
    chosen = per_class(LABELS, {"b": 1, "d": 2}, seed=5, class_names=names)
    counts = np.bincount(LABELS)
    assert np.bincount(LABELS[chosen]).tolist() == [counts[0], 1, counts[2], 2]
    with pytest.raises(UserError, match="500 images of the class 'b' cannot be chosen"):
        per_class(LABELS, {"b": 500}, seed=5, class_names=names)


def test_per_class_names_the_class_that_has_too_few():
    with pytest.raises(UserError, match="8 images of the class 2 cannot be chosen, which has only 7"):
        per_class(LABELS, 8, seed=0)


def test_no_labels_give_no_indices():
    rest, held = stratified_split(np.zeros(0, np.int32), 0.5, seed=0)
    assert len(rest) == len(held) == len(per_class(np.zeros(0, np.int32), 1, seed=0)) == 0


def test_folds_are_disjoint_stratified_and_together_all_images():
    parts = [stratified_fold(LABELS, fold, 5, seed=3) for fold in range(5)]
    held = [held for _, held in parts]
    assert np.array_equal(np.sort(np.concatenate(held)), np.arange(len(LABELS)))
    for rest, part in parts:
        assert np.array_equal(np.sort(np.concatenate([rest, part])), np.arange(len(LABELS)))
        assert rest.dtype == part.dtype == np.int64 and (np.diff(rest) > 0).all() and (np.diff(part) > 0).all()
    counts = np.array([np.bincount(LABELS[part], minlength=4) for part in held])
    assert (counts.max(0) - counts.min(0) <= 1).all() and np.ptp(counts.sum(1)) <= 1


@pytest.mark.filterwarnings("ignore:The least populated class")
def test_folds_hold_as_many_of_each_class_as_those_of_scikit_learn():
    theirs = StratifiedKFold(5, shuffle=True, random_state=0).split(LABELS, LABELS)
    ours = (stratified_fold(LABELS, fold, 5, seed=0) for fold in range(5))
    counts = [sorted(np.bincount(LABELS[held], minlength=4)[0] for _, held in parts) for parts in (ours, theirs)]
    assert counts[0] == counts[1] == [8] * 5
    with pytest.raises(UserError, match="41 folds cannot be made of classes of 40 images at most; choose fewer"):
        stratified_fold(LABELS, 0, 41, seed=0)


def test_the_seed_decides_the_folds():
    same, again, other = (stratified_fold(LABELS, 1, 5, seed=seed)[1] for seed in (1, 1, 2))
    assert np.array_equal(same, again)
    assert not np.array_equal(same, other)

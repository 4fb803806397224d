"""The contact sheet of augmented images: what the network sees, and what is said of it."""

import re

import numpy as np
import pytest

from jaxtl.data.augment import compose, normalise, resize
from jaxtl.data.dataset import Dataset
from jaxtl.models import build_model
from jaxtl.report.figures import AUGMENTED, DRAWS, augmented
from jaxtl.runtime.mesh import data_mesh
from jaxtl.train.task import Task
from jaxtl.transfer import Phase

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.3, 0.25)
IMAGES = np.random.default_rng(0).integers(0, 256, (12, 8, 8, 3), np.uint8)
TRAIN = Dataset(IMAGES, np.arange(12, dtype=np.int32) % 3, ("ant", "bee", "cat"))


def cards(*plan, size=8):
    preprocess = compose(resize(size, size), normalise(MEAN, STD))
    task = Task(build_model("logistic_regression", 3), plan, TRAIN, None, preprocess, 4, 0, data_mesh(4))
    return augmented(task, MEAN, STD).get(AUGMENTED, [])


def test_nothing_is_shown_of_a_run_that_does_not_augment():
    assert cards(Phase(), Phase(crop_border="reflect")) == []


def test_an_image_of_each_class_stands_before_its_random_draws():
    found = cards(Phase(), Phase(flip=True), Phase())
    assert [card.lines for card in found] == [["ant"], ["bee"], ["cat"]]
    for k, card in enumerate(found):
        (image, said), *views = card.images
        assert said == "as it is" and len(views) == DRAWS
        assert any((image == other).all() for other in IMAGES[TRAIN.labels == k])
        mirrored = [(view == image[:, ::-1]).all() for view, said in views]
        kept = [(view == image).all() for view, said in views]
        assert all(one != other for one, other in zip(mirrored, kept, strict=True)), "the normalisation is undone"
        assert any(mirrored) and any(kept)
        assert {said for _, said in views} == {""}


@pytest.mark.parametrize("recipe", [{"mixup": 0.4}, {"cutmix": 1.0}])
def test_mixed_images_have_the_shares_of_their_labels(recipe):
    said = [words for card in cards(Phase(**recipe)) for _, words in card.images[1:]]
    mixed = [words for words in said if words]
    assert len(mixed) > len(said) / 3
    for words in mixed:
        shares = re.fullmatch(r"(\d+)\s?% (ant|bee|cat), (\d+)\s?% (ant|bee|cat)", words)
        assert shares and abs(int(shares[1]) + int(shares[3]) - 100) <= 1 and int(shares[1]) >= int(shares[3])


def test_images_have_the_size_that_the_network_sees():
    (card, *_) = cards(Phase(erasing=0.5), size=12)
    assert card.images[0][0].shape == (8, 8, 3) and card.images[1][0].shape == (12, 12, 3)

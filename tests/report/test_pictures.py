"""Images in a report: which are chosen, what is said of them, and how they get into the page."""

import base64
import dataclasses
import io

import numpy as np
import pytest
from PIL import Image

from jaxtl.data.dataset import Dataset
from jaxtl.report import figures as captions
from jaxtl.report import pictures
from jaxtl.report.figures import step_rates
from jaxtl.report.run import Trained
from jaxtl.train.evaluate import Evaluation
from jaxtl.train.loop import Fitted
from jaxtl.train.task import Task
from jaxtl.transfer.phases import Phase

HISTORY = [
    {"phase": "all", "phase_index": 0, "epoch": 1, "train_loss": 1.0, "train_accuracy": 0.5, "learning_rate": 0.1}
]


def images(n, size=8, channels=3):
    return np.random.default_rng(0).integers(0, 256, (n, size, size, channels), np.uint8)


def test_largest_losses_come_first_and_only_of_those_asked_for():
    losses = np.array([0.1, 3.0, 0.5, 3.0, 7.0])
    assert pictures.largest(losses, 3, losses > 0).tolist() == [4, 1, 3]
    assert pictures.largest(losses, 3, losses < 1).tolist() == [2, 0]


def test_classes_take_turns():
    labels = np.array([0, 0, 0, 1, 1, 1, 2, 2])
    among = np.array([0, 1, 3, 5, 6])
    assert pictures.class_by_class(labels, among, 99).tolist() == [0, 3, 6, 1, 5]
    assert pictures.class_by_class(labels, among, 2).tolist() == [0, 3]
    assert pictures.class_by_class(labels, among[:0], 2).tolist() == []


def test_samples_are_of_their_class_and_always_the_same():
    labels = np.repeat([0, 1, 3], 50)
    first, again = (pictures.samples_of_classes(labels, 4, 5) for _ in range(2))
    assert [len(chosen) for chosen in first] == [5, 5, 0, 5]
    assert all((labels[chosen] == k).all() for k, chosen in enumerate(first))
    assert [chosen.tolist() for chosen in first] == [chosen.tolist() for chosen in again]


def decoded(uri):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition("base64,")[2]))))


@pytest.mark.parametrize("channels", [1, 3])
def test_small_pictures_keep_their_pixels(channels):
    image = images(1, 32, channels)[0]
    uri = pictures.data_uri(image, 176)
    np.testing.assert_array_equal(decoded(uri), np.broadcast_to(image, (32, 32, 3)))
    card = pictures.Card([(image, "said")], ["line"])
    assert card.sources() == [(uri, "said", True)]


def test_large_pictures_have_as_many_pixels_as_a_dense_screen_shows():
    uri = pictures.data_uri(np.zeros((600, 1200, 3), np.uint8), 176)
    assert uri.startswith("data:image/jpeg") and decoded(uri).shape == (176, 352, 3)
    assert not pictures.Card([(np.zeros((100, 65, 3), np.uint8), "")], []).sources()[0][2]


def test_heat_lies_on_a_grey_image():
    image = images(1)[0]
    cold, hot = (pictures.heated(image, np.full((2, 2), value)) for value in (0.0, 1.0))
    assert cold.shape == hot.shape == (160, 160, 3), "large enough for a smooth map"
    assert hot[..., :2].mean() > cold[..., :2].mean() + 50, "yellow, not dark blue"
    other = pictures.heated(np.full_like(image, image.mean()), np.eye(2))
    assert len(np.unique(other.reshape(-1, 3), axis=0)) > 50, "the map is smooth"


def test_a_wall_holds_every_picture_of_every_card():
    cards = [pictures.Card([(np.full((8, 8, 1), 10 * i, np.uint8), "")] * 2, []) for i in range(1, 6)]
    wall = pictures.wall(cards, columns=4, side=16)
    assert wall.shape == (48, 64, 3)
    assert set(np.unique(wall)) == {10, 20, 30, 40, 50, 255}


def drawn(
    labels, predicted, probability, losses, explain=lambda shown: None, ids=None, originals=None, plan=(), repeated=()
):
    n, of_image = len(labels), np.arange(len(labels))
    confusion = np.zeros((3, 3), int)
    np.add.at(confusion, (labels, predicted), 1)
    ids = np.arange(n) if ids is None else ids
    dataset = Dataset(images(n), labels.astype(np.int32), tuple("abc"), ids)
    shares = np.full((n, 3), np.nan)
    shares[of_image, labels], shares[of_image, predicted] = np.exp(-losses), probability
    rest = (1 - np.nansum(shares, axis=1)) / np.isnan(shares).sum(1)
    found = Evaluation(
        loss=float(losses.mean()),
        accuracy=float((labels == predicted).mean()),
        confusion=confusion,
        logits=np.log(np.where(np.isnan(shares), rest[:, None], shares)),
        labels=labels,
        seconds=1.0,
        compile_s=1.0,
    )
    task = Task(None, plan, dataset, None, None, batch_size=12, seed=0, mesh=None)
    fitted = Fitted({}, 1, None, HISTORY, 0.0, 0.0, None)
    trained = Trained(task, dataset, {"repeated": repeated}, fitted, 0.0)
    config = {"data": {"name": "folder", "dir": str(originals or ""), "labels": "", "mean": (0.5,), "std": (0.25,)}}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(captions, "explain", lambda trained, found, shown: explain(shown))
        return captions.draw(config=config, trained=trained, found=found, comparison=None)


@pytest.fixture
def run():
    """Labels, predictions, probabilities and losses of 60 images, of which the first 20 are wrong."""
    labels = np.arange(60) % 3
    predicted = np.where(np.arange(60) < 20, (labels + 1) % 3, labels)
    probability = np.linspace(0.99, 0.4, 60)
    losses = np.where(labels == predicted, -np.log(probability), 4 + probability)
    return labels, predicted, probability, losses


def test_no_image_is_shown_twice(run):
    found = drawn(*run)
    parts = [found[caption] for caption in (captions.MISTAKES, captions.UNSURE, captions.TYPICAL)]
    assert [len(part) for part in parts] == [12, 6, 12]
    assert [{card.right for card in part} for part in parts] == [{False}, {True}, {True}]
    names = [card.name for part in parts for card in part]
    assert len(set(names)) == len(names)
    assert names[:3] == ["image 0", "image 1", "image 2"], "the largest losses first"
    assert [card.name for card in parts[1]] == [f"image {i}" for i in range(59, 53, -1)], "the least sure first"
    assert [card.lines[0].split()[1] for card in parts[2][:4]] == ["a", "b", "c", "a"], "class by class"
    assert captions.CLASS_MAPS not in found


def test_a_mistake_has_both_probabilities_and_the_name_of_its_file(run):
    labels, predicted, probability, losses = run
    losses[:4] = -np.log([0.0002, 0.004, 0.01, 0.02])
    found = drawn(labels, predicted, probability, losses, ids=np.array([f"test/{i}.jpg" for i in range(60)]))
    first, second = found[captions.MISTAKES][:2]
    assert (first.name, first.lines) == ("test/0.jpg", ["True: a (< 0.1 %)", "Predicted: b (99 %)"])
    assert (second.name, second.lines[0]) == ("test/1.jpg", "True: b (0.4 %)")
    assert found[captions.UNSURE][0].lines == ["Predicted: c (40 %)"]


def test_photographs_are_shown_as_they_are_and_linked(run, tmp_path):
    ids = np.array([f"photo {i}.png" for i in range(59)] + [300 * "x"])  # the last is no name of a file
    Image.new("RGB", (300, 200), (200, 0, 0)).save(tmp_path / "photo 0.png")
    (tmp_path / "photo 1.png").write_bytes(b"damaged since")
    found = drawn(*run, ids=ids, originals=tmp_path)
    first, second, third = found[captions.MISTAKES][:3]
    assert first.images[0][0].shape == (200, 300, 3)
    assert first.link == (tmp_path / "photo 0.png").as_uri() and first.link.endswith("photo%200.png")
    assert second.images[0][0].shape == (8, 8, 3) and second.link, "what the network saw"
    assert third.link == "", "the file is gone"


def test_a_constant_learning_rate_is_not_drawn(run):
    assert captions.LEARNING_RATE not in drawn(*run)
    assert captions.LEARNING_RATE not in drawn(*run, plan=(Phase(epochs=1),))
    assert captions.LEARNING_RATE in drawn(*run, plan=(Phase(epochs=1, schedule="linear"),))
    assert captions.CALIBRATION in drawn(*run)


def test_equal_images_are_shown_once_with_every_part_and_class(run):
    at = [("training", 3, "a"), ("training", 4, "b"), ("test", 7, "b"), ("test", 8, "b")]
    group = [{"part": part, "index": i, "image": str(i), "class": of} for part, i, of in at]
    found = drawn(*run, repeated=[group] * 20)
    first, *others = found[captions.REPEATED]
    assert len(others) == 11
    assert (first.name, first.right, first.link) == ("image 3", None, "")
    assert first.lines == ["Training: a", "Training: b", "Test: b"]
    np.testing.assert_array_equal(first.images[0][0], images(60)[3])
    assert captions.REPEATED not in drawn(*run)


def test_equal_files_are_shown_as_they_are_and_linked(run, tmp_path):
    Image.new("RGB", (300, 200), (200, 0, 0)).save(tmp_path / "red.png")
    group = [{"part": part, "index": 0, "image": "red.png", "class": "a"} for part in ("training", "test")]
    ids = np.array([f"{i}.png" for i in range(60)])
    (card,) = drawn(*run, ids=ids, originals=tmp_path, repeated=[group])[captions.REPEATED]
    assert card.images[0][0].shape == (200, 300, 3) and card.link == (tmp_path / "red.png").as_uri()


def test_every_step_that_was_run_has_its_learning_rate():
    phases = (Phase(epochs=2, schedule="linear", learning_rate=1.0), Phase(epochs=3, learning_rate=0.5))
    task = Task(None, phases, range(7), None, None, batch_size=4, seed=0, mesh=None)
    history = [{"phase_index": i} for i in (0, 1, 1)]  # the first phase ended early
    assert step_rates(task, history).tolist() == [1.0, 0.75, 0.5, 0.5, 0.5, 0.5]
    assert step_rates(dataclasses.replace(task, plan=()), []).tolist() == []


def test_without_mistakes_there_are_none_to_show(run):
    labels, _, probability, losses = run
    found = drawn(labels, labels, probability, losses)
    assert captions.MISTAKES not in found and len(found[captions.UNSURE]) == 6


def test_few_images_are_explained_and_mistakes_for_their_true_class_too(run):
    asked = []

    def explain(shown):
        asked.append(shown)
        true = np.ones((len(shown), 2, 2), np.float32)
        true[1] = 0  # nothing speaks for its true class
        return np.stack([np.ones_like(true), true])

    found = drawn(*run, explain)
    (shown,) = asked
    cards = found[captions.CLASS_MAPS]
    assert [card.right for card in cards] == [False] * 4 + [True] * 3
    assert [card.name for card in cards] == [f"image {i}" for i in shown]
    assert [[said for _, said in card.images] for card in cards[:2]] == [
        ["", "for b", "for a"],
        ["", "for c", "for b: nothing"],
    ]
    assert [len(card.images) for card in cards[4:]] == [2] * 3
    known = {card.name for part in (captions.MISTAKES, captions.TYPICAL) for card in found[part]}
    assert {card.name for card in cards} <= known


def test_samples_are_a_card_a_class(run):
    cards = drawn(*run)[captions.SAMPLES]
    assert [(card.lines, len(card.images), card.right) for card in cards] == [([c], 8, None) for c in "abc"]

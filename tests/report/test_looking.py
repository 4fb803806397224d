"""Top losses and class-activation maps: which images are chosen, and what is drawn of them."""

import numpy as np
import pytest
from matplotlib.colors import to_hex

from jaxtl.models.grad_cam import ClassMaps
from jaxtl.report import html, plots
from jaxtl.report.figures import draw

RIGHT, WRONG = to_hex(plots.RIGHT), to_hex(plots.WRONG)
HISTORY = [{"phase": "all", "epoch": 1, "train_loss": 1.0, "train_accuracy": 0.5, "learning_rate": 0.1}]


def pictures(n, size=8, channels=3):
    return np.random.default_rng(0).integers(0, 256, (n, size, size, channels), np.uint8)


def titles(figure):
    return [axes.get_title() for axes in figure.axes if axes.get_title()]


def test_largest_losses_come_first_and_only_of_those_asked_for():
    losses = np.array([0.1, 3.0, 0.5, 3.0, 7.0])
    assert plots.largest_losses(losses, 3).tolist() == [4, 1, 3]
    assert plots.largest_losses(losses, 3, among=losses < 1).tolist() == [2, 0]


def test_loss_grid_gives_both_probabilities_and_the_loss():
    losses = -np.log([0.0002, 0.004, 0.2, 0.999])
    labels, predicted = np.array([0, 0, 1, 1]), np.array([1, 1, 1, 1])
    figure = plots.loss_grid(pictures(4), labels, predicted, np.array([0.97, 0.6, 0.2, 0.999]), losses, ["cat", "dog"])
    assert titles(figure) == [
        "True: cat (< 0.1 %)\nPrediction: dog (97 %)\nloss 8.52",
        "True: cat (0.4 %)\nPrediction: dog (60 %)\nloss 5.52",
        "True: dog (20 %)\nPrediction: dog (20 %)\nloss 1.61",
        "True: dog (100 %)\nPrediction: dog (100 %)\nloss 0.001",
    ]
    assert [to_hex(axes.title.get_color()) for axes in figure.axes] == [WRONG, WRONG, RIGHT, RIGHT]
    with pytest.raises(ValueError, match="at least one"):
        plots.loss_grid(pictures(0), labels[:0], predicted[:0], losses[:0], losses[:0], ["cat", "dog"])


@pytest.fixture
def class_map_figure():
    labels, predicted = np.array([0, 1, 0]), np.array([1, 1, 1])  # wrong, right, wrong
    maps = np.zeros((2, 3, 2, 2), np.float32)
    maps[0, :, 0, 1], maps[1, 0, 1, 0] = 1, 1  # the third image: nothing speaks for its true class
    certain = np.array([0.9, 0.8, 0.7])
    return plots.class_map_grid(pictures(3), labels, predicted, certain, *maps, ["cat", "dog"], stage="stage3")


def test_class_maps_show_the_true_class_on_mistakes_alone(class_map_figure):
    assert titles(class_map_figure) == [
        *("True: cat", "Prediction: dog (90 %)", "For cat"),
        *("True: dog", "Prediction: dog (80 %)"),
        *("True: cat", "Prediction: dog (70 %)", "For cat"),
    ]
    words = {text.get_text() for axes in class_map_figure.axes for text in axes.texts}
    assert words == {"nothing"}
    assert "stage3, 2 x 2" in class_map_figure.texts[1].get_text()


def test_class_maps_lie_on_the_whole_grey_image(class_map_figure):
    plain, heated, *_ = class_map_figure.axes
    base, heat = heated.images
    assert plain.images[0].get_extent() == base.get_extent() == list(heat.get_extent())
    np.testing.assert_array_equal(heat.get_array(), [[0, 1], [0, 0]])
    assert (heat.norm.vmin, heat.norm.vmax) == (0, 1)
    grey = np.asarray(base.get_array())
    assert (grey == grey[..., :1]).all() and not (np.asarray(plain.images[0].get_array()) == grey).all()


@pytest.mark.parametrize("size", [8, 128])
def test_nothing_runs_into_anything(size):
    names = ["hook-and-loop fastener of the second kind", "the other one, which has a long name too"]
    labels, predicted = np.array([0, 0, 1, 1, 0, 1]), np.array([1, 0, 0, 1, 1, 0])
    half = np.full(6, 0.5)
    maps = np.ones((2, 6, 3, 3), np.float32)
    for figure in (
        plots.class_map_grid(pictures(6, size, 1), labels, predicted, half, *maps, names, stage="stage4"),
        plots.loss_grid(pictures(6, size, 1), labels, predicted, half, np.full(6, 9.21), names),
    ):
        figure.draw_without_rendering()
        boxes = [axes.title.get_window_extent() for axes in figure.axes if axes.get_title()]
        boxes += [axes.get_window_extent() for axes in figure.axes] + [t.get_window_extent() for t in figure.texts]
        assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])
        assert all(figure.bbox.fully_contains(*corner) for box in boxes for corner in (box.min, box.max))


def drawn(labels, predicted, probability, losses, explain=lambda shown: None):
    n = len(labels)
    confusion = np.zeros((3, 3), int)
    np.add.at(confusion, (labels, predicted), 1)
    return draw(
        history=HISTORY,
        best_epoch=1,
        class_names=["a", "b", "c"],
        train_images=pictures(n),
        train_labels=labels,
        test_images=pictures(n),
        test_labels=labels,
        predicted=predicted,
        probability=probability,
        losses=losses,
        confusion=confusion,
        comparison=[],
        histories={},
        explain=explain,
    )


def test_largest_losses_are_not_shown_twice():
    labels = np.zeros(40, int)
    predicted = np.where(np.arange(40) < 20, 1, 0)
    probability = np.linspace(0.99, 0.5, 40)
    agreeing = np.where(labels == predicted, -np.log(probability), 10 * probability)  # as with two classes
    figures = drawn(labels, predicted, probability, agreeing)
    assert html.LOSSES not in figures and html.CLASS_MAPS not in figures
    assert titles(figures[html.UNSURE])[0] == "True: a (50 %)\nPrediction: a (50 %)\nloss 0.69"

    differing = np.where(labels == predicted, agreeing, 10 - probability)
    figures = drawn(labels, predicted, probability, differing)
    assert len(titles(figures[html.LOSSES])) == 10
    assert all("Prediction: b" in title for title in titles(figures[html.LOSSES]))


def test_right_images_among_the_largest_losses_are_not_repeated_among_the_unsure():
    labels = np.zeros(60, int)
    predicted = np.where(np.arange(60) < 2, 1, 0)
    losses = np.concatenate([[5.0, 6.0], np.linspace(0.1, 1.6, 58)])  # the last are the least sure
    figures = drawn(labels, predicted, np.full(60, 0.9), losses)
    top, unsure = ([title.split()[-1] for title in titles(figures[part])] for part in (html.LOSSES, html.UNSURE))
    assert top + unsure == [f"{loss:.2f}" for loss in np.sort(losses)[::-1][:15]]


def test_few_images_are_explained_and_they_are_among_the_predictions():
    labels = np.arange(30) % 3
    predicted = np.where(np.arange(30) < 10, (labels + 1) % 3, labels)
    asked = []

    def explain(shown):
        asked.append(shown)
        return ClassMaps("stem", *np.ones((2, len(shown), 2, 2), np.float32))

    figures = drawn(labels, predicted, np.linspace(0.9, 0.6, 30), np.ones(30), explain)
    (shown,) = asked
    assert (labels[shown] != predicted[shown]).tolist() == [True] * 4 + [False] * 4
    assert len(titles(figures[html.CLASS_MAPS])) == 4 * 3 + 4 * 2
    assert {title.split("\n")[0] for title in titles(figures[html.PREDICTIONS])} >= {"True: a", "True: b", "True: c"}

import itertools
import types
import warnings

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure

from jaxtl.report import plots
from jaxtl.report.plots.style import fit_names, text_width
from jaxtl.report.statistics import wilson_interval


def history(epochs, *, head=0, validation=True):
    return [
        {
            "phase": "head" if epoch <= head else "all",
            "epoch": epoch,
            "train_loss": 1.0 / epoch,
            "train_accuracy": 1 - 0.5 / epoch,
            "val_loss": 1.1 / epoch if validation else None,
            "val_accuracy": 1 - 0.6 / epoch if validation else None,
            "learning_rate": 0.1 / epoch,
            "images_per_s": 1000.0,
            "seconds": 1.0,
        }
        for epoch in range(1, epochs + 1)
    ]


def runs(names, accuracies, intervals, seconds=(1.0,) * 99, reported=((None, None),) * 99):
    columns = zip(names, accuracies, intervals, seconds, reported, strict=False)
    fields = ("name", "accuracy", "interval", "train_s", "reported_point")
    return [types.SimpleNamespace(**dict(zip(fields, values, strict=True))) for values in columns]


def line(axes, label):
    (found,) = [line for line in axes.lines if line.get_label() == label]
    return found


def whiskers(axes, dimension):
    """(low, high) of each interval that is drawn across (0) or up and down (1)."""
    return [tuple(pytest.approx(end) for end in bars.get_segments()[0][:, dimension]) for bars in axes.collections]


def legend(axes):
    return [text.get_text() for text in axes.get_legend().get_texts()]


def test_curves_draw_both_splits_of_loss_and_accuracy():
    loss, accuracy = plots.curves(history(5), best_epoch=4).axes
    assert (loss.get_title("left"), accuracy.get_title("left")) == ("Loss", "Accuracy")
    np.testing.assert_allclose(line(loss, "train").get_ydata(), [1, 1 / 2, 1 / 3, 1 / 4, 1 / 5])
    np.testing.assert_array_equal(line(accuracy, "validation").get_xdata(), [1, 2, 3, 4, 5])
    mark = line(accuracy, "tested: epoch 4, 85.0 %")
    np.testing.assert_allclose(mark.get_xydata(), [[4, 0.85]])
    assert line(loss, "tested: epoch 4, 0.275")


def test_curves_without_validation_mark_the_training_curve():
    loss, accuracy = plots.curves(history(5, validation=False), best_epoch=5).axes
    assert legend(loss) == ["train", "tested: epoch 5, 0.2"]
    assert legend(accuracy) == ["train", "tested: epoch 5, 90.0 %"]


def test_curves_skip_epochs_that_were_not_validated_or_diverged():
    lines = history(4)
    lines[1]["val_loss"] = None
    del lines[2]["val_loss"]
    lines[3]["train_loss"] = float("nan")
    loss, _ = plots.curves(lines).axes
    np.testing.assert_array_equal(line(loss, "validation").get_xdata(), [1, 4])
    np.testing.assert_array_equal(line(loss, "train").get_xdata(), [1, 2, 3])


def test_curves_of_one_epoch_are_visible_markers_on_a_whole_tick():
    figure = plots.curves(history(1), best_epoch=1)
    plots.png(figure)
    for axes in figure.axes:
        assert line(axes, "train").get_marker() == "o"
        assert axes.get_xlim() == (0.5, 1.5)
        assert [tick for tick in axes.get_xticks() if 0.5 <= tick <= 1.5] == [1]


def test_curves_of_nothing_measured_say_so():
    loss, _ = plots.curves([{"phase": "all", "epoch": 1}]).axes
    assert [text.get_text() for text in loss.texts] == ["not measured"]


def test_phases_have_a_boundary_and_a_name():
    for axes in plots.curves(history(10, head=3)).axes:
        boundary = [line for line in axes.lines if list(line.get_xdata()) == [3.5, 3.5]]
        assert len(boundary) == 1
        assert [text.get_text() for text in axes.texts] == ["head", "all"]
    assert not plots.curves(history(10)).axes[0].texts  # one phase needs no name


def test_names_of_short_phases_do_not_overlap():
    names = ["head"] * 2 + ["the last stage"] * 2 + ["the last two stages"] * 2 + ["all"] * 90 + ["polish at the end"]
    lines = [{**line, "phase": name} for line, name in zip(history(len(names)), names, strict=True)]
    figure = plots.curves(lines)
    figure.draw_without_rendering()
    for axes in figure.axes:
        boxes = [text.get_window_extent() for text in axes.texts]
        assert len(boxes) == 5
        assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])
        assert all(box.x1 <= axes.bbox.x1 + 1 for box in boxes)


def test_learning_rate_is_logarithmic_when_it_spans_orders_of_magnitude():
    assert plots.learning_rate(history(100), np.geomspace(1e-4, 1, 300)).axes[0].get_yscale() == "log"
    narrow = plots.learning_rate(history(10), np.linspace(0.1, 1, 20)).axes[0]
    assert narrow.get_yscale() == "linear"


def test_every_step_has_its_learning_rate_within_its_epoch():
    rates = np.linspace(0.1, 1, 6)
    (axes,) = plots.learning_rate(history(3, head=1), rates).axes
    head, rest = (line for line in axes.lines if line.get_linestyle() == "-")
    np.testing.assert_allclose(np.concatenate([head.get_xdata(), rest.get_xdata()]), np.arange(0.75, 3.5, 0.5))
    np.testing.assert_allclose(np.concatenate([head.get_ydata(), rest.get_ydata()]), rates)
    assert len(head.get_xdata()) == 2, "no line from phase to phase"
    assert [text.get_text() for text in axes.texts] == ["head", "all"]


def test_confusion_matrix_is_normalised_by_row_and_shows_percentages():
    matrix = np.array([[8, 2], [1, 3]])
    axes, _ = plots.confusion_matrices({"": matrix}, ["ant", "bee"]).axes
    np.testing.assert_allclose(axes.images[0].get_array(), [[0.8, 0.2], [0.25, 0.75]])
    assert {text.get_position(): text.get_text() for text in axes.texts} == {
        (0, 0): "80",
        (1, 0): "20",
        (0, 1): "25",
        (1, 1): "75",
    }
    assert [label.get_text() for label in axes.get_yticklabels()] == ["ant", "bee"]


def test_confusion_shares_contrast_with_their_cells_on_a_light_page():
    matrix = np.array([[1000, 200, 0], [60, 500, 300], [0, 0, 7]])
    axes, _ = plots.confusion_matrices({"": matrix}, list("abc")).axes
    rgba = axes.images[0].to_rgba(axes.images[0].get_array())
    for text in axes.texts:
        column, row = text.get_position()
        over = rgba[row, column, :3] * rgba[row, column, 3] + (1 - rgba[row, column, 3])
        ink, cell = (_relative_luminance(color) for color in (matplotlib.colors.to_rgb(text.get_color()), over))
        assert (max(ink, cell) + 0.05) / (min(ink, cell) + 0.05) >= 4.5  # WCAG 2 AA


def _relative_luminance(color):
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in color[:3]]
    return float(np.dot([0.2126, 0.7152, 0.0722], linear))


@pytest.mark.parametrize(("num_classes", "counts", "names"), [(20, 20, 20), (21, 0, 21), (100, 0, 100)])
def test_confusion_shares_stop_at_twenty_classes(num_classes, counts, names):
    matrix = np.eye(num_classes, dtype=int)
    figure = plots.confusion_matrices({"": matrix}, [f"class {i}" for i in range(num_classes)])
    assert len(figure.axes[0].texts) == counts
    assert len(figure.axes[0].get_yticklabels()) == names


def test_confusion_matrix_of_a_thousand_classes_fits_a_page():
    figure = plots.confusion_matrices({"": np.eye(1000, dtype=int)}, [str(i) for i in range(1000)])
    assert max(figure.get_size_inches()) < 12
    assert len(plots.png(figure, dpi=30)) > 0


def test_confusion_matrix_accepts_an_empty_class_and_refuses_a_wrong_shape():
    axes, _ = plots.confusion_matrices({"": np.array([[0, 0], [1, 3]])}, ["a", "b"]).axes
    np.testing.assert_allclose(axes.images[0].get_array(), [[0, 0], [0.25, 0.75]])
    with pytest.raises(ValueError, match="3 class names"):
        plots.confusion_matrices({"": np.eye(2, dtype=int)}, list("abc"))


@pytest.mark.parametrize("num_classes", [2, 10, 20, 100])
def test_confusion_matrix_is_square_and_nothing_is_cut(num_classes):
    names = [f"a rather long class name {i}" for i in range(num_classes)]
    figure = plots.confusion_matrices({"": np.eye(num_classes, dtype=int)}, names)
    figure.draw_without_rendering()
    axes = figure.axes[0]
    assert axes.bbox.width == pytest.approx(axes.bbox.height)
    whole = figure.bbox.padded(1)
    for label in [*axes.get_xticklabels(), *axes.get_yticklabels(), axes.xaxis.label, axes.yaxis.label]:
        box = label.get_window_extent()
        assert whole.x0 <= box.x0 <= box.x1 <= whole.x1
        assert whole.y0 <= box.y0 <= box.y1 <= whole.y1


def test_accuracy_comparison_draws_each_arm_with_its_interval():
    figure = plots.accuracy_comparison(runs(["transfer", "scratch"], [0.93, 0.81], [(0.92, 0.94), (0.80, 0.82)]))
    (axes,) = figure.axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["transfer", "scratch"]
    assert axes.yaxis_inverted()  # the first arm is on top
    assert whiskers(axes, 0) == [(0.92, 0.94), (0.80, 0.82)]
    assert [text.get_text() for text in axes.texts] == ["93.0 %", "81.0 %"]


def test_overlaid_curves_show_validation_where_every_run_has_it():
    (axes,) = plots.overlaid_curves({"transfer": history(5), "scratch": history(9), "never measured": []}).axes
    assert legend(axes) == ["transfer", "scratch"]
    assert axes.get_title("left") == "Validation accuracy"
    assert axes.get_xlim() == (0.5, 9.5)
    np.testing.assert_allclose(line(axes, "transfer").get_ydata(), [1 - 0.6 / epoch for epoch in range(1, 6)])


def test_overlaid_curves_show_training_where_no_run_was_validated():
    (axes,) = plots.overlaid_curves({"a": history(5, validation=False), "b": history(3, validation=False)}).axes
    assert axes.get_title("left") == "Training accuracy"
    np.testing.assert_allclose(line(axes, "b").get_ydata(), [1 - 0.5 / epoch for epoch in range(1, 4)])


def test_overlaid_curves_show_both_where_some_runs_were_validated_in_one_colour_a_run():
    runs = {"blind": history(5, validation=False), "seen": history(4)}
    validation, training = plots.overlaid_curves(runs).axes
    assert (validation.get_title("left"), training.get_title("left")) == ("Validation accuracy", "Training accuracy")
    assert legend(validation) == ["seen"]
    assert legend(training) == ["blind", "seen"]
    assert (
        line(validation, "seen").get_color()
        == line(training, "seen").get_color()
        != line(training, "blind").get_color()
    )
    assert validation.get_ylim() == training.get_ylim()
    assert plots.accuracy_metrics(runs) == ["val_accuracy", "train_accuracy"]


def test_the_legend_of_many_curves_stands_beside_them():
    figure = plots.overlaid_curves({f"run {i}": history(i + 2, validation=i % 2) for i in range(30)})
    figure.draw_without_rendering()
    (beside,) = figure.legends
    assert len(beside.get_texts()) == 30
    box = beside.get_window_extent()
    assert box.y0 >= 0 and box.x1 <= figure.bbox.x1
    assert not any(axes.get_legend() or box.overlaps(axes.bbox) for axes in figure.axes)


def test_confusion_grid_shows_shares_of_the_true_class_on_one_scale():
    matrices = {
        "good": np.array([[8, 2], [1, 3]]),
        "bad": np.array([[50, 50], [1, 399]]),
        "empty": np.zeros((2, 2), int),
    }
    *panels, bar = plots.confusion_matrices(matrices, ["ant", "bee"]).axes
    assert [axes.get_title("left") for axes in panels] == ["good", "bad", "empty"]
    assert [[text.get_text() for text in axes.texts] for axes in panels] == [
        ["80", "20", "25", "75"],
        ["50", "50", "100"],  # 0.25 % rounds to 0 and is left blank
        [],
    ]
    assert {axes.images[0].get_clim() for axes in panels} == {(0, 1)}
    assert bar.get_ylabel() == "Share of the true class"
    with pytest.raises(ValueError, match="3 class names"):
        plots.confusion_matrices(matrices, list("abc"))
    with pytest.raises(ValueError, match="at least one"):
        plots.confusion_matrices({}, list("abc"))


@pytest.mark.parametrize(("runs", "num_classes"), [(1, 10), (2, 2), (4, 10), (5, 20), (7, 3), (3, 100)])
def test_confusion_grid_keeps_everything_apart_and_inside(runs, num_classes):
    names = [f"long class name {i}" for i in range(num_classes)]
    matrices = {f"a run whose name is rather long {i}": np.eye(num_classes, dtype=int) for i in range(runs)}
    figure = plots.confusion_matrices(matrices, names)
    figure.draw_without_rendering()
    *panels, _ = figure.axes
    whole = figure.bbox.padded(1)
    titles = [axes._left_title.get_window_extent() for axes in panels]
    assert not any(a.overlaps(b) for i, a in enumerate(titles) for b in titles[:i])
    for axes in panels:
        assert axes.bbox.width == pytest.approx(axes.bbox.height)
        words = [axes._left_title, axes.xaxis.label, axes.yaxis.label]
        for axis in (axes.xaxis, axes.yaxis):  # a tick outside the view is not drawn
            words += [tick.label1 for tick in axis.get_major_ticks() if 0 <= tick.get_loc() < num_classes]
        for box in (word.get_window_extent() for word in words if word.get_text() and word.get_visible()):
            assert whole.x0 <= box.x0 and box.x1 <= whole.x1 and whole.y0 <= box.y0 and box.y1 <= whole.y1
    written = [bool(axes.get_xlabel()) for axes in panels]
    assert sum(written) == min(runs, 2 if runs == 4 else 3), "the lowest panel of each column has the axis"


def test_names_that_are_cut_lose_their_middle_and_stay_apart():
    beginning = "DenseNet-161 with pretrained weights and a linear head, "
    names = ["CNN", beginning + "5 epochs", beginning + "15 epochs"]
    short = fit_names(names, points=120, size=9)
    assert short[0] == "CNN"
    assert len(set(short)) == 3
    assert short[1].startswith("Dense") and short[1].endswith("5 epochs") and "…" in short[1]
    assert all(text_width(name, 9) <= 120 for name in short)
    shorter, longer = fit_names([beginning, beginning + "from scratch"], points=250, size=9)
    assert shorter != longer and longer.endswith("from scratch"), "what is cut still shows where it differs"
    middles = ["a" * 40 + middle + "z" * 40 for middle in "xy"]
    assert len(set(fit_names(middles, points=120, size=9))) == 2


@pytest.fixture(scope="module")
def crowd():
    """Many runs, most of them close together."""
    rng = np.random.default_rng(0)
    seconds, accuracies = 10 ** rng.normal(3, 0.5, 20), 0.9 + 0.02 * rng.random(20)
    names = [f"configuration {i}, {'a long description' if i % 3 else 'short'}" for i in range(20)]
    intervals = [wilson_interval(round(10_000 * accuracy), 10_000) for accuracy in accuracies]
    return runs(names, accuracies, intervals, seconds)


def test_the_chart_of_time_and_accuracy_names_every_run_beside_it(crowd):
    figure = plots.time_accuracy(crowd)
    figure.draw_without_rendering()
    (axes,), (beside,) = figure.axes, figure.legends
    assert [text.get_text()[:2] for text in beside.get_texts()] == [run.name[:2] for run in crowd]
    assert len({text.get_text() for text in beside.get_texts()}) == len(crowd)
    box = beside.get_window_extent()
    assert figure.bbox.y0 <= box.y0 and box.x1 <= figure.bbox.x1 + 1 and not box.overlaps(axes.bbox)


def test_the_chart_of_time_and_accuracy_has_every_run_with_its_interval(crowd):
    (axes,) = plots.time_accuracy(crowd).axes
    assert axes.get_xscale() == "log"
    assert whiskers(axes, 1) == [run.interval for run in crowd]
    dots = [line for line in axes.lines if line.get_marker() not in ("None", "_")]
    np.testing.assert_allclose([line.get_xydata()[0] for line in dots], [(run.train_s, run.accuracy) for run in crowd])
    looks = {(line.get_color(), line.get_marker()) for line in dots}
    assert len(looks) == len(crowd), "colour and shape together tell the runs apart"


def test_the_chart_of_time_and_accuracy_is_deterministic(crowd):
    first, second = (plots.png(plots.time_accuracy(crowd), dpi=40) for _ in range(2))
    assert first == second


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        ((0.02, 0.4), {"0.01 s", "0.1 s"}),
        ((27, 9000), {"1 min", "10 min", "1 h"}),
        ((100, 101), {"1 min", "2 min"}),
        ((30, 40 * 86400), {"1 min", "1 h", "1 d", "10 d"}),
    ],
)
def test_the_axis_of_training_times_counts_in_round_times(seconds, expected):
    figure = plots.time_accuracy(runs("ab", (0.8, 0.9), ((0.7, 0.9), (0.8, 1.0)), seconds))
    figure.draw_without_rendering()
    (axes,) = figure.axes
    shown = axes.get_xticklabels()
    assert expected <= {label.get_text() for label in shown}
    boxes = [label.get_window_extent() for label in shown]
    assert 2 <= len(boxes) <= 12
    assert all(a.x1 < b.x0 for a, b in itertools.pairwise(boxes))


def test_reliability_shows_calibration_and_how_confident_mistakes_are():
    confidence, right = np.array([0.55, 0.95, 0.95, 0.95]), np.array([True, True, True, False])
    left, middle = plots.reliability(confidence, right).axes
    joined = left.lines[-1]
    np.testing.assert_allclose(joined.get_xydata(), [[0.55, 1], [0.95, 2 / 3]])
    assert left.get_title("left") == "Calibration error (ECE) 32.5 %"
    assert legend(middle) == ["3 right, mean confidence 81.7 %", "1 wrong, mean confidence 95.0 %"]
    plots.svg(plots.reliability(np.ones(3), np.ones(3, bool)))
    left, _ = plots.reliability(confidence, right, np.array([0.55, 0.75, 0.75, 0.75])).axes
    assert left.get_title("left") == "Calibration error (ECE) 32.5 %, 17.5 % before"
    assert legend(left) == ["before calibration"]


def test_class_names_are_never_formulas():
    names = ["$x$", "a_$b", r"$\frac$"]
    for figure in (
        plots.confusion_matrices({"": np.eye(3, dtype=int)}, names),
        plots.accuracy_comparison(runs(names, [0.5] * 3, [(0.4, 0.6)] * 3)),
    ):
        assert plots.png(figure, dpi=30).startswith(b"\x89PNG")


def test_a_chart_on_a_page_takes_the_colours_of_the_page():
    first, second = (plots.svg(plots.curves(history(3))) for _ in range(2))
    assert first == second
    assert first.startswith("<svg ") and "//" not in first and "<metadata>" not in first
    assert "var(--ink)" in first and "var(--muted)" in first and "var(--card)" in first
    assert "#1f2933" not in first and "#0072b2" in first, "colours of data stay"
    matrix = plots.svg(plots.confusion_matrices({"": np.eye(2, dtype=int)}, ["a", "b"]))
    assert "data:image/png;base64," in matrix


def test_png_is_deterministic_and_carries_no_metadata():
    first, second = (plots.png(plots.curves(history(3)), dpi=40) for _ in range(2))
    assert first == second
    assert b"tEXt" not in first
    assert len(plots.png(plots.curves(history(3)), dpi=80)) > len(first)


def test_drawing_leaves_matplotlib_as_it_was():
    before = dict(matplotlib.rcParams)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = plots.curves(history(3))
        plots.png(figure, dpi=30)
    assert isinstance(figure, Figure)
    assert dict(matplotlib.rcParams) == before


# --- few labels ---


def test_a_strategy_is_a_line_through_its_points_with_their_intervals():
    figure = plots.accuracy_by_labels(
        {
            "probe": [(100, 0.75, (0.7, 0.8)), (10, 0.5, (0.4, 0.6))],
            "scratch": [(10, 0.3, (0.2, 0.4)), (100, 0.7, (0.6, 0.8))],
        }
    )
    (axes,) = figure.axes
    lines = {line.get_label(): line for line in axes.lines if not line.get_label().startswith("_")}
    assert list(lines["probe"].get_ydata()) == [0.5, 0.75], "in the order of the labels"
    assert list(lines["scratch"].get_ydata()) == [0.3, 0.7]
    assert list(lines["probe"].get_xdata() / lines["scratch"].get_xdata()) != [1, 1], (
        "side by side, not one upon another"
    )
    assert all(abs(x / labels - 1) < 0.1 for x, labels in zip(lines["probe"].get_xdata(), (10, 100), strict=True))
    assert whiskers(axes, 1) == [(0.4, 0.6), (0.7, 0.8), (0.2, 0.4), (0.6, 0.8)]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["probe", "scratch"]
    assert axes.xaxis.get_major_formatter()(10, 0) == "10"


def test_what_a_study_reports_is_drawn_beside_ours():
    pair = runs("ab", (0.8, 0.9), ((0.7, 0.9), (0.8, 1.0)), (60.0, 90.0), ((0.6, 3000.0), (0.85, None)))
    (axes,) = plots.accuracy_comparison(pair).axes
    np.testing.assert_allclose(line(axes, "reported").get_xydata(), [[0.6, 0], [0.85, 1]])
    assert legend(axes) == ["reported"] and axes.get_xlim()[0] < 0.6
    (axes,) = plots.time_accuracy(pair).axes
    np.testing.assert_allclose(line(axes, "reported").get_xydata(), [[3000.0, 0.6]])
    assert axes.get_xlim()[1] > 3000 and axes.get_ylim()[0] < 0.6

import re
from html.parser import HTMLParser

import numpy as np
import pytest

from jaxtl.report import html, plots, statistics
from jaxtl.report.text import NOT_MEASURED

VOID = {"meta", "img", "br", "link", "input", "hr"}


class Page(HTMLParser):
    """Parses a page, checks that its tags nest, and keeps what the tests ask for."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.attributes, self.words = [], [], [], []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())  # split() takes the no-break space, too


CONFUSION = np.array([[90, 10], [4, 96]])
HISTORY = [
    {"phase": "head", "epoch": 1, "train_loss": 0.9, "train_accuracy": 0.7, "val_loss": None, "val_accuracy": None,
     "learning_rate": 1e-3, "images_per_s": 1234.5, "seconds": 2.5},
    {"phase": "all", "epoch": 2, "train_loss": 0.4, "train_accuracy": 0.9, "val_loss": 0.5, "val_accuracy": 0.88,
     "learning_rate": 1e-4, "images_per_s": 321.0, "seconds": 8.0},
]  # fmt: skip


def summary(class_names):
    scores = statistics.classification_scores(CONFUSION)
    per_class = [{"class": name, **line} for name, line in zip(class_names, scores.pop("per_class"), strict=True)]
    return {
        "name": "test",
        "test": {**scores, "loss": 0.25, "n": 200, "confusion_matrix": CONFUSION.tolist(), "per_class": per_class},
        "time": {"compile_s": 3.0, "train_s": 725.0, "inference_s": 0.42, "total_s": 730.0},
        "params": {"total": 1_234_567, "trainable": 2050},
        "best_epoch": 2,
        "epochs_run": 2,
    }


def write(tmp_path, **changes):
    class_names = changes.pop("class_names", ["ants", "bees"])
    arguments = {
        "title": "A run",
        "summary": summary(class_names),
        "config": {"seed": 0, "phases": [{"train": ["head"], "epochs": 1}, {"train": ["all"]}], "data": {"name": "x"}},
        "history": HISTORY,
        "class_names": class_names,
        "figures": {html.CURVES: plots.curves(HISTORY), html.CONFUSION: plots.confusion_matrix(CONFUSION, class_names)},
        "comparison": None,
        "environment": {"device": "cpu", "commit": "abc1234"},
        **changes,
    }
    path = tmp_path / "report" / "index.html"
    html.write_report(path, **arguments)
    return path.read_text(encoding="utf-8")


def test_page_is_well_formed_and_says_what_the_run_found(tmp_path):
    page = Page(write(tmp_path, notes=["The test images were used once."]))
    low, high = statistics.wilson_interval(186, 200)
    for words in (
        "A run",
        "93.00 %",
        f"95 % interval {100 * low:.2f} % to {100 * high:.2f} %",
        "12 min 5 s",
        "0.42 s",
        "2.05 k",
        "of 1,234,567",
        "The test images were used once.",
        "Macro mean",
        "abc1234",
    ):
        assert words in page.text


def test_confused_pairs_tell_both_directions_apart_and_are_left_out_without_mistakes(tmp_path):
    page = Page(write(tmp_path))
    headings = "True class Taken for Images Share of the true class The other way round"
    assert f"{headings} ants bees 10 10.0 % 4 bees ants 4 4.0 % 10 " in page.text
    faultless = summary(["ants", "bees"])
    faultless["test"]["confusion_matrix"] = [[100, 0], [0, 100]]
    assert "confused" not in Page(write(tmp_path, summary=faultless)).text


def test_confused_pairs_are_the_ten_most_frequent():
    matrix = np.arange(25).reshape(5, 5)
    pairs = html._frequent_confusions(matrix, list("abcde"))
    assert [pair["count"] for pair in pairs] == [23, 22, 21, 20, 19, 17, 16, 15, 14, 13]
    assert pairs[0] == {"true": "e", "predicted": "d", "count": 23, "share": 23 / 110, "back": 19}


def test_largest_losses_that_are_not_repeated_are_accounted_for(tmp_path):
    figure = plots.learning_rate(HISTORY)
    both = Page(write(tmp_path, figures={html.LOSSES: figure, html.UNSURE: figure, html.CLASS_MAPS: figure}))
    alone = Page(write(tmp_path, figures={html.UNSURE: figure}))
    assert both.tags.count("img") == 3 and alone.tags.count("img") == 1
    assert "that are not among these" in both.text and "nearly all among the predictions above" not in both.text
    assert "nearly all among the predictions above" in alone.text and "not among these" not in alone.text
    assert "Grad-CAM" in both.text and "Grad-CAM" not in alone.text


def test_page_needs_nothing_from_outside(tmp_path):
    text = write(tmp_path)
    page = Page(text)
    for tag, name, value in page.attributes:
        if name in {"src", "href", "data", "action", "poster", "srcset"}:
            assert value.startswith("data:image/png;base64," if tag == "img" else "#"), value
    without_figures = re.sub(r"data:image/png;base64,[A-Za-z0-9+/=]+", "", text)
    assert "//" not in without_figures
    assert "@import" not in text
    assert "url(" not in text
    assert not {"script", "link", "iframe"} & set(page.tags)


def test_links_inside_the_page_have_their_targets(tmp_path):
    page = Page(write(tmp_path, comparison=[{"name": "a", "accuracy": 0.9}]))
    targets = {value for _, name, value in page.attributes if name == "id"}
    links = {value[1:] for _, name, value in page.attributes if name == "href"}
    assert links == {"comparison", "curves", "classes", "details"}
    assert links <= targets


def test_everything_from_outside_is_escaped(tmp_path):
    evil = "<script>alert(1)</script>"
    text = write(
        tmp_path,
        title=evil,
        class_names=[evil, '"><img src=x onerror=alert(1)>'],
        config={evil: evil},
        environment={evil: evil},
        notes=[evil],
        history=[{**line, "phase": evil} for line in HISTORY],
        figures={evil: plots.curves(HISTORY)},
        comparison=[{"name": evil, "accuracy": 0.9, "description": evil}, {"name": "b", "accuracy": 0.8}],
    )
    page = Page(text)
    assert "script" not in page.tags
    assert not [name for _, name, _ in page.attributes if name.startswith("on")]
    assert page.tags.count("img") == 1
    assert evil in page.text


def test_figures_stand_in_their_sections_and_others_after_them(tmp_path):
    figures = {
        "Something else": plots.learning_rate(HISTORY),
        html.CONFUSION: plots.confusion_matrix(CONFUSION, ["a", "b"]),
        html.CURVES: plots.curves(HISTORY),
    }
    text = write(tmp_path, figures=figures)
    alts = re.findall(r'alt="([^"]+)"', text)
    assert [alt.split(":")[0] for alt in alts] == [
        "Loss and accuracy against the epoch",
        "Confusion matrix",
        "Something else",
    ]


def test_configuration_and_epochs_are_listed_in_full(tmp_path):
    text = write(tmp_path)
    for name, value in (
        ("seed", "0"),
        ("phases[0].train", "[&#34;head&#34;]"),
        ("phases[0].epochs", "1"),
        ("data.name", "&#34;x&#34;"),
    ):
        assert f'<th scope="row">{name}</th><td>{value}</td>' in text
    page = Page(text)
    assert "2 (tested)" in page.text
    assert "1,234" in page.text or "1,235" in page.text


def test_comparison_of_unpaired_arms_speaks_of_their_intervals(tmp_path):
    arms = [
        {"name": "transfer", "accuracy": 0.93, "interval": (0.92, 0.94), "n": 10, "train_s": 9.0, "description": "x"},
        {"name": "scratch", "accuracy": 0.81, "interval": (0.80, 0.82), "n": 10, "train_s": 5.0, "description": "y"},
    ]
    said = Page(write(tmp_path, comparison=arms)).text
    assert "“transfer” is the most accurate: 93.00 %, 12.0 percentage points above “scratch”." in said
    assert "Their 95 % intervals do not overlap." in said
    arms[1]["interval"] = (0.80, 0.925)
    assert "Their 95 % intervals overlap." in Page(write(tmp_path, comparison=arms)).text


def versus(name, difference, interval, p, p_holm=None):
    return {"name": name, "difference": difference, "interval": interval, "p_value": p, "p_holm": p_holm or p}


@pytest.mark.parametrize(
    ("difference", "interval", "p", "expected"),
    [
        (
            -0.12,
            (-0.14, -0.10),
            1e-9,
            "“a” is 12.0 percentage points more accurate than “b” (95 % interval 10.0 to 14.0;",
        ),
        (0.02, (-0.01, 0.05), 0.2, "“b” is 2.0 percentage points more accurate than “a” (95 % interval -1.0 to 5.0;"),
    ],
)
def test_the_verdict_of_paired_arms_names_the_better_one(tmp_path, difference, interval, p, expected):
    arms = [{"name": "a", "accuracy": 0.9}]
    arms += [{"name": "b", "accuracy": 0.9 + difference, "versus": versus("a", difference, interval, p)}]
    said = Page(write(tmp_path, comparison=arms)).text
    assert expected in said
    assert ("exact McNemar test, p < 0.001)" in said) == (p < 0.001)
    assert ("exact McNemar test, p = 0.2)" in said) == (p == 0.2)
    assert ("Chance alone could explain" in said) == (p > 0.05)
    assert "Holm" not in said


def test_every_baseline_has_its_paired_difference_and_several_are_corrected(tmp_path):
    arms = [
        {"name": "a", "accuracy": 0.9},
        {"name": "far", "accuracy": 0.7, "versus": versus("a", -0.2, (-0.25, -0.15), 1e-6, 2e-6)},
        {"name": "near", "accuracy": 0.88, "versus": versus("a", -0.02, (-0.05, 0.01), 0.03, 0.06)},
        {"name": "other images", "accuracy": 0.88},
    ]
    said = Page(write(tmp_path, comparison=arms)).text
    assert "-20.00 -25.00 to -15.00 < 0.001" in said
    assert "-2.00 -5.00 to +1.00 0.06" in said
    assert "“a” is 2.0 percentage points more accurate than “near”" in said, "the verdict is about the best baseline"
    assert "p = 0.06, corrected for 2 tests by Holm's method). Chance alone could explain" in said


def test_what_was_not_measured_is_a_dash(tmp_path):
    bare = {"test": {"accuracy": None}, "time": None, "params": {}, "best_epoch": None, "epochs_run": None}
    page = Page(write(tmp_path, summary=bare, history=[], figures={}, config={}, environment={}))
    assert page.text.count(NOT_MEASURED) >= 8
    assert "None" not in page.text
    assert "nan" not in page.text


def test_writing_again_replaces_the_file_and_leaves_no_draft(tmp_path):
    assert write(tmp_path) == write(tmp_path)  # nothing in the page depends on when it was written
    assert "Other" in write(tmp_path, title="Other")
    assert [path.name for path in (tmp_path / "report").iterdir()] == ["index.html"]

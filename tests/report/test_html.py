import re
from html.parser import HTMLParser

import numpy as np

from jaxtl.report import figures as captions
from jaxtl.report import html, plots, statistics
from jaxtl.report.comparison import compare_with_baselines
from jaxtl.report.pictures import Card
from jaxtl.report.text import NOT_MEASURED
from jaxtl.train.scores import classification_scores

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


DATA = {
    "class_names": ["ants", "bees"],
    "image_shape": [32, 32, 3],
    "original_sizes": None,
    "parts": {"training": [1000, 30], "test": [100, 100]},
    "passed_over": [],
    "repeated": [],
    "warnings": [],
}


def summary(class_names, confusion=CONFUSION):
    scores = classification_scores(np.asarray(confusion))
    per_class = [{"class": name, **line} for name, line in zip(class_names, scores.pop("per_class"), strict=True)]
    return {
        "name": "test",
        "data": DATA,
        "test": {
            **scores,
            "loss": 0.25,
            "n": 200,
            "majority": {"class": class_names[0], "accuracy": 0.5},
            "remarks": [],
            "confusion_matrix": np.asarray(confusion).tolist(),
            "per_class": per_class,
        },
        "calibration": {"temperature": 1.0, "validation_images": 0, "remark": "Not calibrated.", "answered": []},
        "time": {"compile_s": 3.0, "train_s": 725.0, "inference_s": 0.42, "total_s": 730.0},
        "params": {"total": 1_234_567, "trainable": 2050},
        "best_epoch": 2,
        "epochs_run": 2,
    }


PHASES = ({"train": ["head"], "epochs": 1}, {"train": ["all"]})


def write(tmp_path, **changes):
    class_names = changes.pop("class_names", ["ants", "bees"])
    arguments = {
        "summary": summary(class_names),
        "history": HISTORY,
        "figures": {
            captions.CURVES: plots.curves(HISTORY),
            captions.CONFUSION: plots.confusion_matrices({"": CONFUSION}, class_names),
        },
        "comparison": None,
        "environment": {"device": "cpu", "commit": "abc1234"},
        **changes,
        "config": {"name": "A run", "seed": 0, "phases": PHASES, "data": {"name": "x"}, **changes.get("config", {})},
    }
    path = tmp_path / "report" / "index.html"
    html.write_run_page(path, **arguments)
    return path.read_text(encoding="utf-8")


def test_page_is_well_formed_and_says_what_the_run_found(tmp_path):
    found = summary(["ants", "bees"])
    found["test"]["remarks"] = ["The test cannot tell the model from a guess."]
    page = Page(write(tmp_path, summary=found))
    low, high = statistics.wilson_interval(186, 200)
    for words in (
        "A run",
        "93.00 %",
        f"95 % interval {100 * low:.2f} % to {100 * high:.2f} %",
        "12 min 5 s",
        "0.42 s",
        "2.05 k",
        "of 1,234,567",
        "The test cannot tell the model from a guess.",
        "Macro mean",
        "abc1234",
    ):
        assert words in page.text


def test_calibration_is_told_with_what_would_be_answered(tmp_path):
    found = summary(["ants", "bees"])
    answered = [{"max_error": 0.02, "confidence": 0.875, "answered": 0.7, "error": 0.015}]
    found["calibration"] |= {"temperature": 1.4321, "validation_images": 500, "remark": "", "answered": answered}
    figures = {captions.CALIBRATION: plots.reliability(np.ones(3), np.ones(3, bool))}
    text = Page(write(tmp_path, summary=found, figures=figures)).text
    assert "divided by the temperature 1.43, which was fitted on 500 validation images." in text
    assert "2 % 87.50 % 70.00 % 1.50 %" in text
    found["calibration"] |= {"remark": "Not calibrated.", "answered": []}
    text = Page(write(tmp_path, summary=found, figures=figures)).text
    assert "Not calibrated." in text and "temperature" not in text and "--max-error" not in text


def test_confused_pairs_tell_both_directions_apart_and_are_left_out_without_mistakes(tmp_path):
    page = Page(write(tmp_path))
    headings = "True class Taken for Images Share of the true class The other way round"
    assert f"{headings} ants bees 10 10.0 % 4 bees ants 4 4.0 % 10 " in page.text
    faultless = summary(["ants", "bees"], np.diag([100, 100]))
    assert "confused" not in Page(write(tmp_path, summary=faultless)).text


def test_confused_pairs_are_the_ten_most_frequent():
    matrix = np.arange(25).reshape(5, 5)
    pairs = html.confusions_table(summary("abcde", matrix)["test"]).rows
    assert [int(images) for _, _, images, _, _ in pairs] == [23, 22, 21, 20, 19, 17, 16, 15, 14, 13]
    assert pairs[0] == ["e", "d", "23", "20.9 %", "19"]


def photo(name="", right=None, said=("",), link=""):
    return Card([(np.zeros((8, 8, 1), np.uint8), words) for words in said], [f"of {name}"], name, right, link)


def test_images_stand_in_their_sections_with_their_names(tmp_path):
    figures = {
        captions.MISTAKES: [photo("one.jpg", right=False, link="../data/one.jpg")],
        captions.UNSURE: [photo("two.jpg", right=True)],
        captions.CLASS_MAPS: [photo("one.jpg", right=False, said=("", "for ants"))],
        captions.SAMPLES: [photo()],
        captions.AUGMENTED: [photo(said=("as it is", "70 % ant, 30 % bee"))],
    }
    text = write(tmp_path, figures=figures)
    page = Page(text)
    assert page.tags.count("img") == 7
    assert page.text.index("of one.jpg") < page.text.index("of two.jpg") < page.text.index("Grad-CAM")
    assert "for ants" in page.text and "(the first 1 classes)" in page.text
    assert '<a href="../data/one.jpg">one.jpg</a>' in text and '<div class="photo wrong">' in text
    alone = Page(write(tmp_path, figures={captions.UNSURE: figures[captions.UNSURE]})).text
    assert "70 % ant, 30 % bee" in page.text and "what the network sees of it in training" in page.text
    assert (
        "Augmented images" not in alone
        and "Grad-CAM" not in alone
        and "Mistakes" not in alone
        and "Right but unsure" in alone
    )


def test_page_needs_nothing_from_outside(tmp_path):
    text = write(tmp_path)
    page = Page(text)
    for tag, name, value in page.attributes:
        if name in {"src", "href", "xlink:href", "data", "action", "poster", "srcset"}:
            assert value.startswith("data:image/png;base64," if tag in ("img", "image") else "#"), value
    without_figures = re.sub(r"data:image/png;base64,[A-Za-z0-9+/=\s]+", "", text)
    assert "//" not in without_figures
    assert "@import" not in text
    assert not re.search(r"url\((?!#)", text)
    assert not {"script", "link", "iframe"} & set(page.tags)


def two(finished, **changes):
    right = np.arange(100) < 90
    return compare_with_baselines(finished("a", right, **changes), [finished("b", right & (np.arange(100) > 30))])


def test_links_inside_the_page_have_their_targets(finished, tmp_path):
    page = Page(write(tmp_path, comparison=two(finished)))
    targets = {value for _, name, value in page.attributes if name == "id"}
    links = {value[1:] for tag, name, value in page.attributes if name == "href" and tag == "a"}
    assert links == {"comparison", "curves", "classes", "data", "details"}
    assert links <= targets


def test_everything_from_outside_is_escaped(finished, tmp_path):
    evil = "<script>alert(1)</script>"
    right, class_names = np.ones(10, bool), [evil, '"><img src=x onerror=alert(1)>']
    found = summary(class_names)
    found["test"]["remarks"] = [evil]
    text = write(
        tmp_path,
        summary=found,
        class_names=class_names,
        config={"name": evil, evil: evil},
        environment={evil: evil},
        history=[{**line, "phase": evil} for line in HISTORY],
        figures={captions.UNSURE: [photo(evil, link='"><script>')]},
        comparison=compare_with_baselines(finished(evil, right, description=evil), [finished("b", right)]),
    )
    page = Page(text)
    assert "script" not in page.tags
    assert not [name for _, name, _ in page.attributes if name.startswith("on")]
    assert page.tags.count("img") == 1
    assert evil in page.text


def test_configuration_and_epochs_are_listed_in_full(tmp_path):
    text = write(tmp_path)
    for name, value in (
        ("seed", "0"),
        ("phases.0.train", "[&#34;head&#34;]"),
        ("phases.0.epochs", "1"),
        ("data.name", "&#34;x&#34;"),
    ):
        assert f'<th scope="row">{name}</th><td>{value}</td>' in text
    page = Page(text)
    assert "2 (tested)" in page.text
    assert "1,234" in page.text or "1,235" in page.text


def test_the_comparison_has_the_tables_of_any_comparison(finished, tmp_path):
    comparison = two(finished, reported="~91 %", settings={"batch_size": 7})
    said = Page(write(tmp_path, comparison=comparison)).text
    for words in (
        "“a” is 31.0 percentage points more accurate than “b”",
        "a 90.00 % 82.56 to 94.48",
        "Difference to “a”, on the same 100 test images",
        "b -31.00 -40.",
        "a single test needs no correction",
        "how b was trained",
        comparison.notes[0],
        "Where their configs differ 1 field Field a b batch_size 7 —",
    ):
        assert words in said, words


def test_what_was_read_is_shown_with_what_was_left_out(tmp_path):
    data = DATA | {
        "passed_over": [{"problem": "it is empty", "consequence": "skipped", "n": 2, "example": "ants/a.jpg"}],
        "repeated": [[{"part": "training", "image": "b.jpg", "class": "ants"}, {"part": "test", "image": "c.jpg",
                     "class": "bees"}]],
        "warnings": ["The classes are unbalanced."],
    }  # fmt: skip
    said = Page(write(tmp_path, summary={**summary(["ants", "bees"]), "data": data})).text
    for words in (
        "Class Training Test ants 1,000 100 bees 30 100 in all 1,030 200",
        "it is empty: skipped 2 ants/a.jpg",
        "training image b.jpg test image c.jpg ants, bees",
        "The classes are unbalanced.",
    ):
        assert words in said, words


def test_the_page_says_that_classes_were_balanced(tmp_path):
    config = {"phases": ({"balanced_sampling": True}, {"class_weights": {"ants": 2.0}})}
    said = Page(write(tmp_path, config=config)).text
    assert "Phase 0 drew every class equally often" in said
    assert "class_weights: ants 2" in said


def test_what_was_not_measured_is_a_dash(tmp_path):
    bare = summary(["ants", "bees"])
    bare["test"]["loss"] = None
    page = Page(write(tmp_path, summary=bare, history=HISTORY[:1], figures={}))
    assert page.text.count(NOT_MEASURED) == 3, "a loss, and loss and accuracy on validation images"
    assert "None" not in page.text
    assert "nan" not in page.text


def test_writing_again_replaces_the_file_and_leaves_no_draft(tmp_path):
    assert write(tmp_path) == write(tmp_path)  # nothing in the page depends on when it was written
    assert "Other" in write(tmp_path, config={"name": "Other"})
    assert [path.name for path in (tmp_path / "report").iterdir()] == ["index.html"]

import json

import numpy as np
import pytest

from jaxtl.errors import UserError
from jaxtl.report.compared_runs import read_run


@pytest.fixture
def folder(tmp_path, write_run):
    write_run(tmp_path / "cnn", name="A CNN", accuracy=0.8, reported="~80 %", device="a GPU")
    return tmp_path / "cnn"


def test_a_run_is_read_back(folder, write_run):
    summary = write_run(folder, name="A CNN", accuracy=0.8, reported="~80 %", device="a GPU")
    run = read_run(folder)
    assert (run.name, run.folder, run.model) == ("A CNN", str(folder), "cnn")
    assert (run.reported, run.device) == ("~80 %", "a GPU")
    assert [run.accuracy, run.precision, run.recall, run.f1] == [
        summary["test"][score] for score in ("accuracy", "precision", "recall", "f1")
    ]
    assert (run.train_s, run.inference_s, run.params_total, run.params_trained) == (60.0, 0.5, 123_456, 1000)
    assert run.class_names == ("cat", "dog", "bird")
    np.testing.assert_array_equal(run.confusion, summary["test"]["confusion_matrix"])
    assert [line["epoch"] for line in run.history] == [1, 2, 3]
    assert len(run.test_images) == len(run.right) == 200
    assert run.test_images[:2] == (("0", "cat"), ("1", "dog"))
    assert run.right.dtype == bool and run.right.mean() == run.accuracy


def test_a_config_without_a_reported_figure(folder):
    config = json.loads((folder / "config.json").read_text())
    del config["config"]["reported"]
    (folder / "config.json").write_text(json.dumps(config))
    assert read_run(folder).reported == ""


def cut(path):
    path.write_text(path.read_text()[:-30])


def change(**fields):
    def damage(path):
        content = json.loads(path.read_text())
        for place, value in fields.items():
            *parents, leaf = place.split("__")
            inner = content
            for parent in parents:
                inner = inner[parent]
            if value is None:
                del inner[leaf]
            else:
                inner[leaf] = value
        path.write_text(json.dumps(content))

    return damage


def write(text):
    return lambda path: path.write_text(text)


@pytest.mark.parametrize(
    ("name", "damage", "why"),
    [
        ("summary.json", cut, "Expecting|Unterminated"),
        ("summary.json", write(""), "Expecting value"),
        ("summary.json", write("[]"), "it is not a JSON object"),
        ("summary.json", change(test=None), "it has no 'test'"),
        ("summary.json", change(params__trainable=None), "it has no 'trainable'"),
        ("summary.json", change(test__f1="good"), "not supported"),
        ("summary.json", change(test__f1=float("nan")), "nan is not a share"),
        ("summary.json", change(time__train_s=-1), "-1 is not an amount"),
        ("summary.json", change(test__n=7), "confusion_matrix does not fit"),
        ("summary.json", change(test__accuracy=0.9), "accuracy is 0.9, but confusion_matrix has 160 of 200 right"),
        ("summary.json", change(data=[3]), "has no attribute 'get'"),
        ("summary.json", change(test__per_class=[]), "confusion_matrix does not fit"),
        ("config.json", write("{"), "Expecting property name"),
        ("config.json", write("{}"), "it has no 'config'"),
        ("config.json", write('{"config": 3}'), "its config is not a JSON object"),
        ("metrics.jsonl", cut, "Expecting|Unterminated"),
        ("metrics.jsonl", write("3\n"), "a line is not one of an epoch"),
        ("metrics.jsonl", write('{"epoch": 1, "val_accuracy": "high"}\n'), "a line is not one of an epoch"),
        ("predictions.csv", write(""), "0 of 0 are right, but summary.json counts 160 of 200"),
        ("predictions.csv", write("index,true\n1,cat\n"), "it has no 'predicted'"),
        ("predictions.csv", lambda path: path.write_bytes(b"\xff\xfe\x00"), "decode"),
    ],
)
def test_a_damaged_file_is_named_with_the_way_out(folder, name, damage, why):
    damage(folder / name)
    with pytest.raises(
        UserError, match=rf"{name} cannot be used \(.*({why}).*\): .*; restore it, run .* or leave .* out\."
    ):
        read_run(folder)


@pytest.mark.parametrize("name", ["config.json", "summary.json", "metrics.jsonl", "predictions.csv"])
def test_a_missing_file_is_named(folder, name):
    (folder / name).unlink()
    with pytest.raises(UserError, match=rf"{name} cannot be used \(No such file"):
        read_run(folder)


def test_predictions_that_lost_their_end_are_noticed(folder):
    lines = (folder / "predictions.csv").read_text().splitlines()
    (folder / "predictions.csv").write_text("\n".join(lines[:-20]) + "\n")
    with pytest.raises(UserError, match=r"of 180 are right, but summary\.json counts 160 of 200"):
        read_run(folder)

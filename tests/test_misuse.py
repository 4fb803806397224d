"""Every command, used wrongly on purpose: each mistake is one sentence that says what is wrong and what to do."""

import importlib
import os
import shutil
import sys
from types import SimpleNamespace

import jax
import pytest

import jaxtl
from jaxtl.__main__ import COMMANDS, main
from jaxtl.config.flags import load_config
from jaxtl.runtime.command import exit_status
from jaxtl.weights.__main__ import main as weights
from tests.conftest import edit

pytestmark = pytest.mark.usefixtures("compiled_once")


@pytest.fixture(scope="module")
def place(tiny_config, tmp_path_factory, compiled_once):
    """A folder with a config ``tiny.py``, a finished run ``r``, and other things."""
    root = tmp_path_factory.mktemp("misuse")
    shutil.copy(tiny_config, root / "tiny.py")
    config = load_config(tiny_config)
    config["model"]["name"], config["model"]["options"] = "logistic_regression", {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("jaxtl.report.figures.draw", lambda **kwargs: {})
        jaxtl.run(config, root / "r")
    (root / "tiny.yaml").touch()
    (root / "text.png").write_text("no image")
    (root / "pictures").mkdir()
    (root / "file").touch()
    (root / "search").mkdir()
    (root / "search" / "search.db").touch()
    (root / "secret.py").touch()
    for name, damage in DAMAGES.items():
        shutil.copytree(root / "r", root / name)
        damage(root / name)
    return root


DAMAGES = {
    "no_checkpoints": lambda folder: shutil.rmtree(folder / "checkpoints"),
    "unfinished": lambda folder: (folder / "summary.json").unlink(),
    "no_config": lambda folder: (folder / "config.json").unlink(),
    "half_config": lambda folder: (folder / "config.json").write_text('{"config":'),
    "binary_config": lambda folder: (folder / "config.json").write_bytes(b"\xff\xfe\x00"),
    "no_data": edit("config.json", lambda content: content.pop("data")),
    "no_options": edit("config.json", lambda content: content["config"]["model"].update(options=3)),
    "list_summary": lambda folder: (folder / "summary.json").write_text("[]"),
    "no_class_names": edit("summary.json", lambda content: content["test"].pop("per_class")),
    "unregistered": edit("config.json", lambda content: content["config"]["model"].update(name="mine", options={})),
    "no_split": lambda folder: (folder / "split.npz").unlink(),
    "half_predictions": lambda folder: (folder / "predictions.csv").write_text("index,true\n1,3\n"),
}

CASES = [
    # --- names and arguments
    ("nosuch", "There is no command 'nosuch'; choose one of"),
    ("trian", "There is no command 'trian'; did you mean 'train'?"),
    ("train tiny.py --workdir w --epochs 3", "no argument --epochs; did you mean --config.phases.0.epochs?"),
    ("predict --rnu r x.png", "There is no argument --rnu; did you mean --run?"),
    ("evaluate --run r --splt test", "There is no argument --splt; did you mean --split?"),
    ("export --run r --formats torch", "There is no argument --formats; did you mean --format?"),
    ("compare r --all", "There is no argument --all; python -m jaxtl.compare --help lists them."),
    ("predict --run", "Argument --run: expected one argument"),
    # --- configs
    ("train nosuch", "There is no config 'nosuch' that comes with jaxtl; "),
    ("train none/tiny.py", "There is no config file none/tiny.py; there is no folder none."),
    ("train pictures", "There is no config 'pictures' that comes with jaxtl; "),
    ("train ./pictures", "pictures is a folder"),
    ("train tiny.yaml", "tiny.yaml is not a Python file"),
    ("train tiny.py:", "The recipe is missing after the colon in 'tiny.py:'; add its name, or drop the colon."),
    ("train tiny.py:best", "tiny.py has a single recipe, not 'best'; leave out ':best'."),
    ("train --config=", "The name of the config is empty; give a file, or one of: "),
    ("train tiny.py --data.size", "--data.size has no value; write --data.size=VALUE."),
    ("train tiny.py --model.weights --seed=1", "--model.weights has no value; write --model.weights=VALUE."),
    ("train tiny.py --name=\udce9", "name is '\\udce9', which is not in UTF-8"),
    ("train tiny.py --phases=3", "phases is a group of fields and has no value of its own"),
    ("train tiny.py --phases.7.epochs=3", "phases.7.epochs does not exist: the config has 1 phase(s), counted from 0."),
    ("train tiny.py --phases.0.train=hed", "The model has no stage 'hed'; did you mean 'head'?"),
    ("train tiny.py --config.source.seed=1", "source.seed changes nothing, because the config has no source"),
    ("train tiny.py --model.weights=pictures", "model.weights is 'pictures', which is neither a file, nor"),
    ("train tiny.py --model.weights=text.png", "text.png"),
    ("train tiny.py --model.weights=r", "the run in r is a logistic_regression, but model.name is 'cnn'"),
    ("train tiny.py --model.weights=half_config", "half_config/config.json cannot be used"),
    ("train tiny.py --data.name=folder --data.dir=pictures", "pictures"),
    ("train tiny.py --data.name=folder --data.dir=nowhere", "does not exist; correct data.dir"),
    # --- work folders
    ("train tiny.py --workdir file", "The work folder file cannot be created (File exists); choose another"),
    ("train tiny.py --workdir=", "Argument --workdir: the path is empty"),
    ("train tiny.py --workdir half_config", "half_config/config.json cannot be used"),
    ("train tiny.py --workdir no_config", "has no config.json, but holds metrics.jsonl"),
    ("train tiny.py --workdir r", "The work folder r holds another run, which differs in model.name"),
    (f"train tiny.py --workdir {300 * 'w'}", "is not a path, because it is too long; shorten it;"),
    ("train tiny.py --workdir \udce9", "The work folder \\xe9 has a name that is not in UTF-8; choose another."),
    ("lr-find tiny.py --workdir file --steps 2", "The work folder file cannot be created (File exists)"),
    # --- runs
    ("predict --run unregistered x.png", "call jaxtl.register_model('mine', build)"),
    ("predict --run search x.png", "it holds a search, whose best run is in search/best once it has ended; give"),
    ("train tiny.py --workdir search", "has no config.json, but holds search.db, which a run would overwrite"),
    ("evaluate --run r --out r/summary.json", "r/summary.json is a file of the run, which would be lost"),
    ("predict --run r x.png --out r/predictions.csv", "r/predictions.csv is a file of the run, which would be lost"),
    (
        "predict --run r x.png --out r/report/index.html",
        "r/report/index.html is a file of the run, which would be lost",
    ),
    ("predict --run r text.png --sheet text.png", "text.png is one of the images, which would be lost"),
    ("predict --run nowhere x.png", "The run folder nowhere cannot be used: it does not exist"),
    ("predict --run file x.png", "The run folder file cannot be used: it is a file"),
    ("predict --run pictures x.png", "it is not a run folder (it has no config.json)"),
    ("predict --run unfinished x.png", "its run is not finished (it has no summary.json)"),
    ("predict --run no_config x.png", "it is not a run folder (it has no config.json)"),
    ("predict --run= x.png", "Argument --run: the path is empty"),
    ("predict --run no_checkpoints x.png", "no_checkpoints/checkpoints"),
    *((f"predict --run {name} x.png", "config.json cannot be used") for name in ("half_config", "binary_config")),
    *((f"predict --run {name} x.png", "config.json cannot be used") for name in ("no_data", "no_options")),
    *((f"predict --run {name} x.png", "summary.json cannot be used") for name in ("list_summary", "no_class_names")),
    ("evaluate --run no_split --split train", "no_split/split.npz cannot be used (No such file or directory)"),
    ("compare half_predictions r", "half_predictions/predictions.csv cannot be used (it has no 'predicted')"),
    ("compare nowhere", "The run folder nowhere does not exist"),
    ("compare pictures", "No finished run is among the folders named"),
    ("export --run unfinished", "its run is not finished"),
    # --- values of flags
    ("predict --run r", "No image was named"),
    ("predict x.png", "No run was named"),
    ("predict --run r --top 0 x.png", "Argument --top: '0' is not a whole number of 1 or more"),
    ("predict --run r --batch many x.png", "Argument --batch: 'many' is not a whole number of 1 or more"),
    ("predict --run r --format xml x.png", "Argument --format: 'xml' is not one of table, csv, json"),
    ("predict --run r --sheet a.jpg x.png", "give it a name that ends in .png."),
    ("predict --run r pictures", "Nothing could be predicted: there is no readable image"),
    ("predict --run r -", "Nothing could be predicted: there is no readable image"),
    ("predict --run r text.png", "Nothing could be predicted: there is no readable image"),
    ("evaluate --run r --split vall", "Argument --split: 'vall' is not one of test, train, val, all"),
    ("evaluate --run r --subset x", "Argument --subset: 'x' is not a whole number"),
    ("evaluate --run r --subset -3", "Argument --subset: '-3' is not a whole number of 0 or more"),
    ("evaluate --run r --size -3", "Argument --size: '-3' is not a whole number of 1 or more"),
    ("evaluate --run r --size 99999999", "--size is 99999999, but must be at most 4096"),
    ("evaluate --run r --data nosuch", "There is no data set 'nosuch'"),
    ("evaluate --run r --data folder", "no folder was named; name the folder that holds them with --data-dir."),
    ("evaluate --run r --data folder --data-dir pictures", "pictures"),
    ("evaluate --run r --classes a,b", "--classes names 2 classes, but the run has 10"),
    ("evaluate --run r --out pictures", "pictures cannot be written (Is a directory); choose another file."),
    ("export --run r --format=", "--format names ''"),
    ("export --run r --format tflite", "--format names 'tflite', but there are: safetensors, torch, stablehlo, onnx"),
    ("export --run r --out file", "file cannot be replaced by an export (Not a directory)"),
    ("compare r --out file", "The comparison cannot be written to file"),
    ("lr-find tiny.py --low x", "Argument --low: 'x' is not a number"),
    ("lr-find tiny.py --steps 1e3", "Argument --steps: '1e3' is not a whole number;"),
    ("lr-find tiny.py --phase 7", "There is no phase 7"),
    ("lr-find tiny.py --low 1 --high 0.1", "The rates cannot grow from --low 1 to --high 0.1"),
    ("lr-find nosuch", "There is no config 'nosuch' that comes with jaxtl; "),
]


@pytest.mark.parametrize(("line", "words"), CASES)
def test_a_mistake_is_one_sentence(place, capsys, monkeypatch, line, words):
    monkeypatch.chdir(place)
    monkeypatch.setattr(sys, "unraisablehook", sys.unraisablehook)
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=SimpleNamespace(read=lambda: b"")))
    capsys.readouterr()
    assert main(line.split()) == 2
    out, err = capsys.readouterr()
    said = [each for each in err.splitlines() if each.startswith("jaxtl: ")]
    assert len(said) == 1 and "Traceback" not in err, err
    assert out == "" or line.startswith(("train", "compare")) or "--out" in line, "the rest has been done"
    (sentence,) = said
    assert words in sentence
    assert sentence.endswith((".", "?")) and "\t" not in sentence
    if not line.startswith(("train", "predict")):
        assert err == f"{sentence}\n"


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            PermissionError(13, "Permission denied", "/x/y"),
            "/x/y cannot be used (Permission denied); free some space, or",
        ),
        (
            jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory.\nx"),
            "does not suffice (Out of memory); lower",
        ),
        (MemoryError(), "does not suffice (it is full); lower batch_size"),
    ],
)
def test_what_the_system_refuses_is_one_sentence(capsys, error, said):
    def fail():
        raise error

    assert exit_status(fail) == 2
    assert said in capsys.readouterr().err


def test_weights_alone_tells_mistakes_in_sentences_too(capsys):
    assert weights(["nosuch"]) == 2
    assert capsys.readouterr().err.startswith("jaxtl: Argument COMMAND: 'nosuch' is not one of list, fetch")


@pytest.mark.parametrize("name", [name for name in COMMANDS if name != "fields"])
def test_ctrl_c_ends_every_command_with_a_word(capsys, monkeypatch, name):
    module = importlib.import_module("jaxtl.search.command" if name == "search" else COMMANDS[name][0])

    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(sys, "unraisablehook", sys.unraisablehook)
    monkeypatch.setattr(module, "parser" if name == "weights" else "CommandParser", interrupted)
    assert main([name, "x"]) == 130
    assert capsys.readouterr().err.startswith("Stopped")


@pytest.mark.parametrize("arguments", [["fields"], ["--help"], ["--version"]])
def test_closed_stdout(capfd, monkeypatch, arguments):
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as pipe:
        monkeypatch.setattr(sys, "stdout", pipe)
        assert main(arguments) == 141
    assert capfd.readouterr().err == ""

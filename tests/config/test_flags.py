import pathlib

import pytest

from jaxtl.config import check, default_config, phase, variants
from jaxtl.config.flags import call_in_file, load_config, override, split_flags
from jaxtl.config.tree import differences, plain
from jaxtl.errors import UserError


def digits(**changes):
    config = default_config()
    config.data.name = "digits"
    for name, value in changes.items():
        config[name] = value
    return config


@pytest.mark.parametrize(
    ("path", "text", "value"),
    [
        ("seed", "3", 3),
        ("data.validation", "0.25", 0.25),
        ("data.validation", "0", 0.0),
        ("data.download", "false", False),
        ("data.download", "True", True),
        ("data.classes", "1,2", ("1", "2")),
        ("data.classes", "('1', '2')", ("1", "2")),
        ("data.mean", "0.5,0.25,0", (0.5, 0.25, 0.0)),
        ("name", "a run", "a run"),
        ("phases.0.epochs", "1", 1),
        ("phases.0.train", "stem,head", ("stem", "head")),
        ("model.options.dropout", "0.3", 0.3),
        ("model.options.hidden", "8,", (8,)),
        ("model.options.blocks", "((4, 4), (8,))", ((4, 4), (8,))),
        ("model.options.norm", "after_conv", "after_conv"),
    ],
)
def test_a_flag_is_read_as_the_type_of_its_field(path, text, value):
    tree = plain(digits())
    assert override(tree, [(path, text)]) == []
    node = tree
    for key in path.split("."):
        node = node[int(key)] if isinstance(node, tuple) else node[key]
    assert node == value
    assert type(node) is type(value)


@pytest.mark.parametrize(
    ("path", "text", "words"),
    [
        ("sed", "3", "sed does not exist; did you mean seed?"),
        ("seed", "x", "seed is 'x' (str), but must be a whole number; the default is 0."),
        ("seed", "", "seed is '' (str), but must be a whole number"),
        ("seed", "1.0", "seed is '1.0' (str), but must be a whole number"),
        ("data.download", "maybe", "data.download is 'maybe' (str), but must be True or False"),
        ("data.mean", "0.1,x", "data.mean is (0.1, 'x') (tuple), but must be a tuple, each element a finite number"),
        ("phases.1.epochs", "1", "phases.1.epochs does not exist: the config has 1 phase(s), counted from 0."),
        *(
            (f"phases.{n}.epochs", "1", f"phases.{n}.epochs does not exist; did you mean phases.0.epochs?")
            for n in "²٠"
        ),
        ("phases.x.epochs", "1", "phases.x.epochs does not exist; did you mean phases.0.epochs?"),
        ("phases", "1", "phases is a group of fields"),
        ("data", "1", "data is a group of fields"),
        ("model.options", "1", "model.options is a group of fields"),
        ("", "1", "(no field) does not exist"),
        ("source.seed", "1", "source.seed changes nothing, because the config has no source"),
        ("baselines.scrach.seed", "1", "has no baselines.scrach; did you mean 'baselines.scratch'?"),
        ("baselines.scratch.sed", "1", "baselines.scratch.sed does not exist; did you mean seed?"),
    ],
)
def test_an_invalid_flag_is_told_and_changes_nothing(path, text, words):
    config = digits()
    config.baselines.scratch = {"seed": 3}
    tree = plain(config)
    (problem,) = override(tree, [(path, text)])
    assert words in problem
    assert differences(plain(config), tree) == []


def test_flags_reach_source_and_baselines():
    config = digits()
    config.model.weights = "source"
    config.source.seed = 1
    config.baselines.scratch = {"model": {"weights": ""}, "phases": (phase(epochs=7), phase())}
    tree = plain(config)
    flags = [
        ("source.phases.0.epochs", "2"),  # the source has no phases of its own: those of the main run are changed
        ("baselines.scratch.phases.0.epochs", "3"),
        ("baselines.scratch.model.options.dropout", "0.1"),
        ("phases.0.learning_rate", "0.5"),
    ]
    assert override(tree, flags) == []
    runs = variants(tree)
    assert [phase["epochs"] for phase in runs["baselines.scratch"]["phases"]] == [3, 10]
    assert runs["baselines.scratch"]["model"]["options"]["dropout"] == 0.1
    assert runs[""]["phases"][0]["epochs"] == 10
    assert (runs["source"]["phases"][0]["epochs"], runs["source"]["phases"][0]["learning_rate"]) == (2, 0.5)


def test_flags_come_with_an_equals_sign_or_a_space():
    argv = ["--config", "x.py", "--config.seed", "3", "--config.name=a=b", "--config.data.dir=", "--workdir", "w"]
    assert split_flags(argv) == (
        [("seed", "3"), ("name", "a=b"), ("data.dir", "")],
        ["--config", "x.py", "--workdir", "w"],
    )


@pytest.mark.parametrize("rest", [[], ["--workdir", "w"], ["--config.seed=3"]])
def test_a_flag_without_a_value_is_refused(rest):
    with pytest.raises(UserError, match=r"^--config\.data\.dir has no value; write --config\.data\.dir=VALUE\.$"):
        split_flags(["--config", "x.py", "--config.data.dir", *rest])


def test_multipliers_are_fields_of_their_own():
    config = digits(phases=(phase(epochs=2),))
    tree = plain(config)
    assert override(tree, [("phases.0.multipliers.stem", "0.1"), ("phases.0.multipliers.head", "2")]) == []
    assert tree["phases"][0]["multipliers"] == {"stem": 0.1, "head": 2.0}
    assert check(tree) == []
    assert override(tree, [("phases.0.multipliers", "{'stem': 0.5}")]) == []
    assert tree["phases"][0]["multipliers"] == {"stem": 0.5}


def test_values_by_class_are_fields_of_their_own():
    tree = plain(digits(phases=(phase(epochs=2),)))
    flags = [("phases.0.class_weights.3", "20"), ("data.per_class.3", "10"), ("data.per_class.4", "5")]
    assert override(tree, flags) == []
    assert tree["phases"][0]["class_weights"] == {"3": 20.0}
    assert tree["data"]["per_class"] == {"3": 10, "4": 5}
    assert check(tree) == []
    assert override(tree, [("phases.0.class_weights", "balanced"), ("data.per_class", "7")]) == []
    assert (tree["phases"][0]["class_weights"], tree["data"]["per_class"]) == ("balanced", 7)
    assert check(tree) == []


# --- files -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("def get_config(:", "SyntaxError"),
        ("x = 1", "has no attribute 'get_config'"),
        ("import no_such_module", "No module named 'no_such_module'"),
        ("def get_config(): return 1 / 0", "ZeroDivisionError"),
        ("def get_config(): return None", "returns None, which is not a config"),
        ("def get_config(): return [1]", "returns (1,), which is not a config"),
    ],
)
def test_a_config_file_that_gives_no_config(tmp_path, content, words):
    path = tmp_path / "mine.py"
    path.write_text(content)
    with pytest.raises(UserError) as raised:
        load_config(path)
    assert words in str(raised.value)
    assert str(path) in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_config_file_that_is_not_there_or_no_python(tmp_path):
    (tmp_path / "cnn.py").touch()
    (tmp_path / "cnn.yaml").touch()
    with pytest.raises(UserError, match=r"no config file .*cn\.py; the folder .* holds cnn\.py\."):
        load_config(tmp_path / "cn.py")
    with pytest.raises(UserError, match="is a folder; give a config file"):
        load_config(tmp_path)
    with pytest.raises(UserError, match=r"cnn\.yaml is not a Python file"):
        load_config(tmp_path / "cnn.yaml")


def test_a_config_file_is_loaded_as_a_plain_tree(tmp_path):
    (tmp_path / "c.py").write_text("from jaxtl.config import *\ndef get_config(): return default_config()")
    assert load_config(pathlib.Path(tmp_path / "c.py")) == plain(default_config())


def test_a_recipe_of_a_config_file(tmp_path):
    file = tmp_path / "two.py"
    file.write_text(
        "from jaxtl.config import choose, default_config\n"
        "def get_config(recipe='replica'):\n"
        "    config = default_config()\n"
        "    config.seed = choose(recipe, {'replica': 1, 'best': 2})\n"
        "    return config\n"
    )
    assert load_config(file)["seed"] == load_config(f"{file}:replica")["seed"] == 1
    assert load_config(f"{file}:best")["seed"] == 2
    with pytest.raises(UserError, match="no recipe 'bets'; did you mean 'best'"):
        load_config(f"{file}:bets")


def test_a_recipe_for_a_file_that_has_none(tmp_path):
    file = tmp_path / "one.py"
    file.write_text("def get_config():\n    return {}\n")
    with pytest.raises(UserError, match="a single recipe, not 'best'; leave out ':best'"):
        load_config(f"{file}:best")


BROKEN = """\
from jaxtl.config import default_config, phase
from jaxtl.transfer import gradual, lp_ft


def get_config():
    config = default_config()
    {line}
    return config
"""


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("config.phases = lp_ft(1, 2, fliip=True)", "A phase has no field 'fliip'; did you mean 'flip'?"),
        ("config.phases = lp_ft(1, 2, lr=0.1)", "A phase has no field 'lr'; did you mean 'learning_rate'?"),
        ("config.phases = gradual(['head'], (1, 2), learning_rate=0.1)", "1 groups of stages and 2 lengths"),
        ("config.data.nmae.first = 3", "nmae"),
        ("config.phases[7].epochs = 3", "IndexError: tuple index out of range"),
        ("import sys; sys.exit(3)", "SystemExit: 3"),
        ("raise SystemExit", "SystemExit"),
        ("exit()", "SystemExit"),
        ("raise RecursionError", "RecursionError"),
        ("assert False", "AssertionError"),
    ],
)
def test_an_error_inside_get_config_names_file_and_line(tmp_path, line, words):
    file = tmp_path / "mine.py"
    file.write_text(BROKEN.format(line=line))
    with pytest.raises(UserError) as raised:
        load_config(file)
    assert f"{file}, line 7" in str(raised.value)
    assert words in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("content", ["x = (\n\ndef get_config(): pass", "\n\nimport no_such_module", "\n\n1 / 0"])
def test_so_does_an_error_of_the_file_itself(tmp_path, content):
    file = tmp_path / "mine.py"
    file.write_text(content)
    with pytest.raises(UserError, match=r"mine\.py, line [13]"):
        load_config(file)


def test_a_config_file_imports_from_its_neighbours(tmp_path, monkeypatch):
    """From any directory, and each folder from its own."""
    for name, seed in (("one", 1), ("two", 2)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "first.py").write_text(f"def get_config(recipe='a'):\n    return {{'seed': {seed}}}\n")
        (tmp_path / name / "second.py").write_text("from .first import get_config\n")
    monkeypatch.chdir(tmp_path)
    assert load_config("one/second.py:a") == {"seed": 1}
    assert load_config(tmp_path / "two" / "second.py") == {"seed": 2}
    (tmp_path / "one" / "first.py").write_text("def get_config():\n    return {'seed': 11} if 0 else no_such_name\n")
    with pytest.raises(UserError, match=r"one/first\.py, line 2"):
        load_config("one/second.py")


def test_the_name_of_a_packaged_config_is_enough(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert load_config("quickstart")["data"]["name"] == "digits"
    assert load_config("resnet18:best")["name"] == "resnet18 on CIFAR-10 (study A, best)"
    with pytest.raises(UserError, match="no config 'quickstrat' that comes with jaxtl; did you mean 'quickstart'"):
        load_config("quickstrat")


def test_a_function_that_a_file_may_lack(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text("def get_space(): return 1\n")
    assert call_in_file(f"{file}:recipe", "get_space", default=0) == 1
    assert call_in_file(file, "get_other", default=0) == 0


# --- what flags change -----------------------------------------------------------------------------------------------


def test_fields_without_config_before_them():
    argv = ["--data.dir=x", "--phases.0.epochs", "3", "--batch_size=4", "--seed=1", "--steps=5", "--dta.dir=y"]
    assignments = [("data.dir", "x"), ("phases.0.epochs", "3"), ("batch_size", "4"), ("seed", "1")]
    assert split_flags(argv) == (assignments, ["--steps=5", "--dta.dir=y"])
    assert split_flags(["--seed=1", "--data.size=8"], own=("seed",)) == ([("data.size", "8")], ["--seed=1"])


@pytest.mark.parametrize(
    ("path", "text", "words"),
    [
        ("phases.0.lr", "1", "phases.0.lr does not exist; did you mean phases.0.learning_rate?"),
        ("phases.1.lr", "1", "did you mean phases.1.learning_rate?"),
        ("lr", "1", "did you mean phases.0.learning_rate?"),
        ("phases.0.wd", "1", "did you mean phases.0.weight_decay?"),
        ("phases.0.opt", "sgd", "did you mean phases.0.optimizer?"),
        ("data.batch_size", "1", "did you mean batch_size?"),
        ("model.class", "1", "model.class does not exist"),
        ("seed", "9" * 5000, "seed is '9999"),
        ("data.subset", "1e26", "data.subset is '1e26' (str), but must be a whole number"),
        ("phases.0.learning_rate", "1e39", "phases.0.learning_rate is 1e+39 (float), but must be a finite number"),
    ],
)
def test_the_way_out_is_near(path, text, words):
    (problem,) = override(plain(digits()), [(path, text)])
    assert words in problem
    assert len(problem) < 300


def test_brackets_without_end_are_a_text():
    tree = plain(digits())
    assert override(tree, [("model.options.hidden", "(" * 100_000)]) == []
    (problem,) = check(tree)
    assert problem.startswith("model.options.hidden is '((((") and len(problem) < 300


def test_another_network_starts_without_the_options_of_the_old_one(capsys):
    config = digits()
    config.model.options = {"blocks": ((4,),), "hidden": (8,)}
    tree = plain(config)
    assert override(tree, [("model.options.depths", "(1, 1, 1, 1)"), ("model.name", "resnet18_cifar")]) == []
    assert tree["model"]["options"] == {"depths": (1, 1, 1, 1)}
    assert check(tree) == []
    assert capsys.readouterr().err == (
        "The options of cnn do not apply to resnet18_cifar and are left out: blocks=((4,),), hidden=(8,).\n"
    )
    tree = plain(config)
    assert override(tree, [("model.name", "cnn")]) == []
    assert tree["model"]["options"] == {"blocks": ((4,),), "hidden": (8,)}
    assert capsys.readouterr().err == ""


def test_a_baseline_of_another_network_starts_without_them_too():
    config = digits()
    config.model.options = {"blocks": ((4,),)}
    config.baselines.other = {"model": {"name": "resnet18_cifar"}}
    config.baselines.same = {"seed": 1}
    assert check(config) == []
    runs = variants(config)
    assert "options" not in runs["baselines.other"]["model"]
    assert runs["baselines.same"]["model"]["options"] == {"blocks": ((4,),)}


@pytest.mark.parametrize(
    ("changes", "title"),
    [
        ({"seed": "3", "phases.0.epochs": "1", "batch_size": "4"}, "net on CIFAR-10 (study Z)"),
        ({"data.dir": "elsewhere", "data.workers": "2"}, "net on CIFAR-10 (study Z)"),
        (
            {"data.subset": "100", "model.new_head": "no"},
            "net on CIFAR-10 (study Z), data.subset=100, model.new_head=False",
        ),
        ({"data.name": "digits"}, "cnn on digits"),
        ({"data.name": "tfds:flowers", "data.size": "64"}, "cnn on tfds:flowers, data.size=64"),
        ({"data.name": "folder", "data.dir": "a/birds", "model.name": "bn_cnn"}, "bn_cnn on birds"),
        ({"data.name": "digits", "name": "mine"}, "mine"),
    ],
)
def test_the_title_says_what_runs(changes, title):
    config = default_config()
    config.name, config.reported = "net on CIFAR-10 (study Z)", "80 %"
    config.model.options = {"hidden": (8,)}
    tree = plain(config)
    assert override(tree, changes.items()) == []
    assert tree["name"] == title
    assert tree["reported"] == ("80 %" if title.startswith("net") or "name" in changes else "")


def test_the_title_of_a_config_that_waits_for_a_folder_stays():
    tree = load_config("my_images:scratch")
    assert override(tree, [("data.dir", "flowers")]) == []
    assert tree["name"] == "my images (scratch)"
    assert override(tree, [("data.dir", "birds")]) == []
    assert tree["name"] == "bn_cnn on birds"

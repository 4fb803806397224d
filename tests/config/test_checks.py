import dataclasses
import json

import numpy as np
import pytest

from jaxtl.config import check, default_config, phase, raise_problems, variants
from jaxtl.config.data import with_images
from jaxtl.config.fields import FIELDS, PHASE_FIELDS, all_fields
from jaxtl.config.tree import plain
from jaxtl.data.dataset import Dataset
from jaxtl.errors import UserError
from jaxtl.transfer.phases import Phase
from jaxtl.transfer.plans import lp_ft


def digits(**changes):
    config = default_config()
    config.data.name = "digits"
    for name, value in changes.items():
        config[name] = value
    return config


def changed(path, value):
    """The digits config with one field set, as a config file would."""
    config = digits()
    *parents, leaf = path.split(".")
    node = config
    for parent in parents:
        node = node[int(parent)] if isinstance(node, tuple) else node[parent]
    node[leaf] = value
    return config


def test_defaults_are_sound_and_complete():
    assert check(default_config()) == []
    assert check({}) == []  # what a config leaves out has the default
    assert variants({}) == variants(default_config()) | {"": variants({})[""]}
    assert variants(default_config())[""]["phases"] == (dataclasses.asdict(Phase()),)


def test_every_field_has_a_meaning_and_every_option_of_a_phase_is_a_field():
    assert PHASE_FIELDS.keys() == {field.name for field in dataclasses.fields(Phase)}
    assert len(all_fields()) == len(FIELDS) + len(PHASE_FIELDS)
    for path, field in all_fields().items():
        assert field.doc, path
        assert check(changed(path, field.default)) == [], path


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("sed", 3, "sed does not exist; did you mean seed?"),
        ("data.nmae", "digits", "data.nmae does not exist; did you mean data.name?"),
        ("epochs", 3, "epochs does not exist; did you mean phases.0.epochs?"),
        ("phases.0.epoch", 3, "phases.0.epoch does not exist; did you mean phases.0.epochs?"),
        ("xyzzy", 1, "xyzzy does not exist; jaxtl fields lists all fields."),
        ("data", 3, "data is a group of fields"),
        ("model.options", "dropout=0.3", "model.options is a group of fields"),
        ("seed", {}, "seed is {} (dict), but must be a whole number"),
        ("seed", "3", "seed is '3' (str), but must be a whole number; the default is 0."),
        ("seed", 3.0, "seed is 3.0 (float), but must be a whole number"),
        ("seed", True, "seed is True (bool), but must be a whole number"),
        ("seed", None, "seed is None (NoneType), but must be a whole number"),
        ("seed", -1, "seed is -1, but must lie in [0, 2147483647]."),
        ("seed", 2**31, "seed is 2147483648, but must lie in [0, 2147483647]."),
        ("data.download", 1, "data.download is 1 (int), but must be True or False"),
        ("data.validation", 1.0, "data.validation is 1.0, but must lie in [0, 1)."),
        ("data.validation", -0.1, "data.validation is -0.1, but must lie in [0, 1)."),
        ("data.classes", (1, 2), "data.classes is (1, 2) (tuple), but must be a tuple, each element a string"),
        ("data.classes", "12", "data.classes is '12' (str), but must be a tuple"),
        ("data.classes", ("1", "11"), "data.classes names '11', which digits does not have; did you mean '1'?"),
        ("data.classes", ("1",), "data.classes is ('1',), but a classifier needs two different classes or more."),
        ("data.classes", ("1", "1"), "a classifier needs two different classes or more."),
        ("data.mean", (0.5, 0.5, 0.5), "data.mean has 3 values, but digits has 1 channel(s)"),
        ("data.mean", (0.5, 0.5), "data.mean has 2 values, but needs one a channel, or one for all."),
        ("data.std", (0.0,), "data.std is 0.0, but must be more than 0."),
        ("data.subset", 900, "data.subset is 900, but digits has 899 train images; choose fewer."),
        ("data.test_subset", 899, "data.test_subset is 899, but digits has 898 test images; choose fewer."),
        ("data.size", 3, "data.size is 3, so the images have 3 x 3 pixels, but cnn needs 4 x 4 or more"),
        ("data.name", "cifar", "data.name is 'cifar', which does not exist; did you mean 'cifar10'?"),
        ("batch_size", 0, "batch_size is 0, but must be at least 1."),
        ("batch_size", 10**12, "batch_size is 1000000000000, but digits has 899 train images; choose fewer."),
        ("model.name", "cn", "model.name is 'cn', which does not exist; did you mean 'cnn'?"),
        ("model.dtype", "float16", "model.dtype is 'float16', which does not exist; did you mean 'bfloat16'?"),
        (
            "model.weights",
            "no/such/run",
            "model.weights is 'no/such/run', which is neither a file, nor the folder of a finished run",
        ),
        ("model.weights", "source", "model.weights is 'source', but the config describes none"),
        ("model.options", {"dropot": 0.1}, "model.options.dropot does not exist for cnn; did you mean 'dropout'?"),
        ("model.options", {"dropout": "x"}, "model.options.dropout is 'x', but must be a finite number."),
        ("model.options", {"dropout": 2.0}, "model.options.dropout is 2.0, but a rate lies in [0, 1)"),
        (
            "model.options",
            {"hidden": (8, 8.5)},
            "model.options.hidden is (8, 8.5), but must be a tuple, each element a whole number",
        ),
        (
            "model.options",
            {"norm": "later"},
            "model.options.norm is 'later', but must be one of none, after_conv, after_pool.",
        ),
        (
            "phases",
            (),
            "phases is empty, which tests weights as they are, but the head would be new; give a phase, or "
            "model.weights with model.new_head=False.",
        ),
        ("phases", 3, "phases must be a tuple of phases"),
        ("phases", phase(epochs=3), "phases must be a tuple of phases"),  # the comma forgotten
        ("phases.0.epochs", 0, "phases.0.epochs is 0, but must lie in [1, 1000000]."),
        ("phases.0.learning_rate", 0.0, "phases.0.learning_rate is 0.0, but must be more than 0."),
        ("phases.0.learning_rate", float("nan"), "phases.0.learning_rate is nan (float), but must be a finite number"),
        ("phases.0.learning_rate", float("inf"), "but must be a finite number"),
        ("phases.0.optimizer", "adamm", "which does not exist; did you mean 'adam"),
        ("phases.0.train", ("hed",), "phases.0.train: The model has no stage 'hed'; did you mean 'head'?"),
        ("phases.0.train", (), "phases.0.train: A phase trains no stage"),
        ("data.validation", 0.0, "phases.0.keep='best' needs validation images, but data.validation is 0"),
        ("phases.0.crop", 9, "phases.0.crop is 9, but the images have 8 x 8 pixels; choose less."),
        ("phases.0.crop", 10**9, "phases.0.crop is 1000000000, but must lie in [0, 4096]."),
        ("phases.0.crop", 1e26, "phases.0.crop is 1e+26 (float), but must be a whole number"),
        ("phases.0.crop", 10**26, "but must lie in [0, 4096]."),
        ("phases.0.epochs", 10**400, "but must lie in [1, 1000000]."),
        ("phases.0.cached_views", 10**9, "but must lie in [0, 1000000]."),
        ("checkpoint_every_s", 1e300, "but must be a finite number"),
        ("data.size", 10**9, "data.size is 1000000000, but must lie in [0, 4096]."),
        ("data.size", 4096, "model.options and data.size make a network of 17,"),
        ("data.subset", 10**30, "but digits has 899 train images; choose fewer."),
        (
            "model.options",
            {"hidden": (10**12,)},
            "model.options.hidden is (1000000000000,), but no layer has",
        ),
        ("model.options", {"hidden": (10**9, 2)}, "but no layer has more than 65536 units; choose fewer."),
        ("model.options", {"hidden": (8,) * 5000}, "and makes 5000 layers, but no network has more"),
        ("model.options", {"hidden": (65536, 65536)}, "model.options and data.size make a network of 4,"),
        ("phases.0.lr", 1.0, "phases.0.lr does not exist; did you mean phases.0.learning_rate?"),
        ("phases.0.resized_crop", 1.5, "phases.0.resized_crop is 1.5, but must lie in [0, 1]."),
        ("phases.0.hue", 0.6, "phases.0.hue is 0.6, but must lie in [0, 0.5]."),
        ("phases.0.erasing", -0.1, "phases.0.erasing is -0.1, but must lie in [0, 1]."),
        ("phases.0.mixup", -1.0, "phases.0.mixup is -1.0, but must lie in [0, 100]."),
        ("phases.0.randaugment_magnitude", 31, "phases.0.randaugment_magnitude is 31, but must lie in [0, 30]."),
        ("phases.0.auto_augment", "autoaugment", "phases.0.auto_augment is 'autoaugment', which does not exist"),
        ("phases.0.crop_border", "white", "phases.0.crop_border is 'white', which does not exist"),
        ("source", 3, "source is 3, but must hold changes to the main config"),
        ("source", {"seed": 1}, "source is described, but no run starts from it; set model.weights='source'"),
        ("baselines", {"a": {"seed": "x"}}, "baselines.a.seed is 'x' (str), but must be a whole number"),
        (
            "baselines",
            {"a": {"phases": ({"epochs": 0},)}},
            "baselines.a.phases.0.epochs is 0, but must lie in [1, 1000000].",
        ),
        ("baselines", "scratch", "baselines is 'scratch', but must hold changes to the main config"),
        ("baselines", {"a": {"sed": 1}}, "baselines.a.sed does not exist; did you mean seed?"),
        ("baselines", {"a/b": {"seed": 1}}, "has a name that cannot name a folder"),
        ("baselines", {"a": {"source": {"seed": 1}}}, "baselines.a.source.seed does not exist"),
    ],
)
def test_a_mistake_is_told_in_one_sentence(path, value, words):
    (problem, *others) = check(changed(path, value))
    assert words in problem
    assert "\n" not in problem
    assert not others, "one mistake gives one sentence"


def test_all_problems_come_out_at_once():
    config = digits(sed=1, batch_size="many")
    config.data.validation = 2.0
    config.model.options = {"dropot": 0.1}  # what fields say together is told too, where each of them is right
    config.phases = (phase(epochs=0), phase(warmup=1))
    words = ("sed", "batch_size", "data.validation", "phases.0.epochs", "phases.1.warmup")
    problems = check(config)
    assert [problem.split()[0] for problem in sorted(problems)] == sorted(words)

    config.data.validation, config.phases = 0.1, (phase(),)
    assert sorted(problem.split()[0] for problem in check(config)) == ["batch_size", "model.options.dropot", "sed"]


def test_a_mistake_that_is_inherited_is_told_once():
    config = digits()
    config.data.mean = (0.5, 0.5, 0.5)
    config.model.weights = "source"
    config.source.seed = 1
    config.baselines.scratch = {"model": {"weights": ""}}
    assert len(check(config)) == 1


def test_a_field_can_be_assigned_another_type_first():
    # ml_collections raises by itself when a type changes, over the first field alone; here it never does.
    config = digits()
    config.data.size = "large"
    config.model.options.hidden = 3
    config.model.options.hidden = (3,)
    config.phases[0].epochs = "three"
    assert len(check(config)) == 2


def test_plain_mappings_and_lists_are_configs_too():
    assert check({"data": {"name": "digits", "classes": ["1", "2"]}, "phases": [{"epochs": 3}]}) == []
    (problem,) = check({"phases": [{"learning_rate": 10**400}]})
    assert "but must be a finite number" in problem and len(problem) < 300
    assert variants({"phases": [{"epochs": 3}]})[""]["phases"][0]["epochs"] == 3


def test_source_and_baselines_inherit_what_they_do_not_change():
    config = digits(seed=5)
    config.model.weights = "source"
    config.source.data = {"size": 16}
    config.baselines.scratch = {"model": {"weights": ""}, "phases": (phase(epochs=7),)}
    runs = variants(config)
    assert list(runs) == ["", "source", "baselines.scratch"]
    assert runs["source"]["seed"] == 5
    assert runs["source"]["data"] == runs[""]["data"] | {"size": 16}
    assert runs["source"]["model"]["weights"] == ""
    assert runs["source"]["phases"] == runs[""]["phases"]
    assert runs["baselines.scratch"]["phases"][0]["epochs"] == 7
    assert runs["baselines.scratch"]["name"] == "run: scratch"
    assert check(config) == []


def test_one_problem_is_a_line_and_more_are_a_list():
    raise_problems([], "x.py")
    with pytest.raises(UserError, match=r"^x\.py: a\.$"):
        raise_problems(["a."], "x.py")
    with pytest.raises(UserError, match=r"^x\.py has 2 problems:\n  a\.\n  b\.$"):
        raise_problems(["a.", "b."], "x.py")


# --- transfer plans ---


@pytest.mark.parametrize(
    ("multipliers", "words"),
    [
        ({"stem": 0.0}, "phases.0.multipliers.stem is 0.0, but must be more than 0."),
        (
            {"stem": "fast"},
            "phases.0.multipliers.stem is 'fast' (str), but must be a finite number; the default is 1.0.",
        ),
        ({"stme": 0.1}, "phases.0.multipliers names 'stme', but the model's stages are: stem, stage1, hidden, head."),
        (3, "phases.0.multipliers is 3 (int), but must be a mapping; the default is {}."),
    ],
)
def test_bad_multipliers(multipliers, words):
    assert check(digits(phases=(phase(multipliers=multipliers),))) == [words]


@pytest.mark.parametrize(
    ("recipe", "words"),
    [
        (
            {"class_weights": "balance"},
            "phases.0.class_weights is 'balance', which does not exist; did you mean 'balanced'?",
        ),
        ({"class_weights": {"3": -1.0}}, "phases.0.class_weights.3 is -1.0, but must be at least 0."),
        (
            {"class_weights": {"three": 2.0}},
            "phases.0.class_weights names 'three', which is not a class of the data; choose one of: 0, 1, 2, 3, 4, 5, "
            "6, 7, 8, 9.",
        ),
        (
            {"class_weights": "balanced", "balanced_sampling": True},
            "phases.0.balanced_sampling is on and class_weights is 'balanced', which makes up for rare classes twice; "
            "keep one of them.",
        ),
        ({"accumulate": 0}, "phases.0.accumulate is 0, but must lie in [1, 1000000]."),
        ({"ema": 1.0}, "phases.0.ema is 1.0, but must lie in [0, 1)."),
        ({"layer_decay": 0.0}, "phases.0.layer_decay is 0.0, but must lie in (0, 1]."),
        ({"hue": 0.1}, "phases.0.hue changes nothing in grey images, as these are; leave it at 0."),
        ({"monitor": "val_fl"}, "phases.0.monitor is 'val_fl', which does not exist; did you mean 'val_f1'?"),
    ],
)
def test_bad_recipes_of_training(recipe, words):
    assert check(digits(phases=(phase(**recipe),))) == [words]


def test_images_that_are_not_square_cannot_be_turned():
    images = Dataset(np.zeros((4, 20, 30, 3), np.uint8), np.array([0, 1, 0, 1], np.int32), ("a", "b"))
    turned = {"phases": (phase(quarter_turns=True, keep="last", hue=0.1),), "batch_size": 2}
    with with_images(turned, images, None, images) as config:
        assert check(config) == [
            "phases.0.quarter_turns needs square images, but these have 30 x 20 pixels; leave it off."
        ]


def test_numbers_of_images_may_be_given_by_class():
    config = digits()
    config.data.per_class = {"3": 10}
    assert check(config) == []
    config.data.per_class = {"3": 0}
    assert check(config) == ["data.per_class.3 is 0, but must be at least 1."]
    config.data.per_class = {"x": 5}
    (fault,) = check(config)
    assert fault.startswith("data.per_class names 'x', which is not a class of the data; choose one of: 0, 1")


def test_the_last_layers_are_counted_in_the_model_of_the_config():
    assert check(digits(phases=(phase(train=("last:3",)),))) == []
    assert check(digits(phases=(phase(train=("last:99",)),))) == [
        "phases.0.train: last:99 is asked for, but the model has 4 layers with parameters; name fewer, or 'all'."
    ]


def test_phases_may_be_written_by_a_plan():
    config = digits(phases=lp_ft(2, 3, learning_rate=0.1))
    assert check(config) == []
    assert [changes["train"] for changes in variants(config)[""]["phases"]] == [("head",), ("all",)]


# --- weights to start from ---


def transfer_from(folder, *, model="cnn", classes=(), new_head=True):
    config = digits()
    config.model.name, config.model.weights, config.model.new_head = model, str(folder), new_head
    config.data.classes = classes
    return check(config)


@pytest.fixture
def run_folder(tmp_path):
    """The folder of a finished run of cnn on the ten digits, as far as a check looks at it."""
    (tmp_path / "config.json").write_text(json.dumps({"config": plain(digits())}))
    (tmp_path / "summary.json").write_text("{}")
    return tmp_path


def test_a_run_of_the_same_architecture_is_valid(run_folder):
    assert transfer_from(run_folder) == []
    assert transfer_from(run_folder, new_head=False) == []


def test_weights_of_another_architecture(run_folder):
    (fault,) = transfer_from(run_folder, model="logistic_regression")
    assert fault.startswith(f"model.weights: the run in {run_folder} is a cnn, but model.name is 'logistic_")


def test_a_head_of_another_class_count(run_folder):
    assert transfer_from(run_folder, classes=("1", "2")) == []
    assert transfer_from(run_folder, classes=("1", "2"), new_head=False) == [
        f"model.new_head is False, but the head of the run in {run_folder} has 10 classes and the data 2; "
        "set it to True to start a new head."
    ]


def test_the_head_of_a_card_is_known_before_it_is_fetched():
    config = default_config()
    config.model.name, config.model.weights, config.model.new_head = "resnet18", "imagenet1k_v1", False
    assert check(config) == [
        "model.new_head is False, but the head of the weights 'imagenet1k_v1' has 1000 classes and the data 10; "
        "set it to True to start a new head."
    ]


def test_a_source_of_another_architecture():
    config = digits()
    config.model.weights = "source"
    config.source.model = {"name": "logistic_regression"}
    assert check(config) == [
        "model.weights: the source is a logistic_regression, but model.name is 'cnn'; "
        "start from weights of the same architecture."
    ]


def test_a_run_folder_whose_config_is_damaged(run_folder):
    (run_folder / "config.json").write_text("{")
    (fault,) = transfer_from(run_folder)
    assert fault.startswith("model.weights: ") and "config.json cannot be used" in fault


def test_a_phase_after_which_nothing_changes():
    config = digits(phases=(phase(train=("stage1",)),))
    config.model.options = {"blocks": ((4,), ()), "hidden": ()}
    assert check(config) == ["phases.0.train: nothing would change, because stage1 has no parameters; train more."]


def test_an_empty_mapping_is_not_a_value_of_a_field():
    (fault,) = check(digits(phases=(phase(epochs={}),)))
    assert fault.startswith("phases.0.epochs is {} (dict), but must be a whole number")


def test_all_stands_alone():
    (fault,) = check(digits(phases=(phase(train=("all", "head")),)))
    assert "'all' stands alone" in fault


def test_images_that_are_not_there_are_told_once_beside_the_other_problems(tmp_path):
    config = default_config()
    config.data.name, config.data.dir, config.batch_size = "folder", str(tmp_path / "nowhere"), 0
    config.baselines.other = {"seed": 1}
    problems = check(config)
    assert len(problems) == 2 and any("batch_size" in problem for problem in problems)
    assert sum("does not exist; correct data.dir" in problem for problem in problems) == 1


def test_no_phases_are_sound_where_weights_and_their_head_are_kept():
    config = default_config()
    config.phases, config.model.weights, config.model.new_head = (), "source", False
    config.source.seed = 1
    config.source.phases = (phase(epochs=1),)
    assert check(config) == []

"""The files of configs/: each recipe loads, is sound, says what it reproduces, and builds its network."""

import ast
import functools
import pathlib
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from jaxtl.config import check, variants
from jaxtl.config.flags import load_config, override
from jaxtl.data.catalogue import dataset_info
from jaxtl.errors import UserError
from jaxtl.models import build_model

FOLDER = pathlib.Path(__file__).parents[1] / "configs"
EVERY_FILE = sorted(FOLDER.glob("*.py"))
OF_A_FOLDER = ("my_images", "my_images:scratch", "few_labels", "tiny_imagenet")  # which have tests of their own
CONFIGS = [path for path in EVERY_FILE if path.stem not in OF_A_FOLDER]
STUDIES = [path for path in CONFIGS if path.stem not in ("quickstart", "half_to_half")]

# The pretrained rows of the five studies, as the replicas must have them: (network, weights, optimiser, learning rate,
# epochs and stages of each phase, size of the images (0: 32), training images (0: all), batch, head, figure reported).
# ``None``: the study is silent.
ALL, HEAD, LATE = ("all",), ("head",), ("head", "stage3", "stage4")
IMAGENET, ZOO, KERAS = "imagenet1k_v1", "cifar10_zoo", "imagenet1k_keras"
MLP = {"hidden": (128,), "dropout": 0.2, "final_activation": "sigmoid"}
REPLICAS = {
    "resnet18": ("resnet18", IMAGENET, "adam", 1e-3, {ALL: 5}, 0, 0, 128, {}, "79 %"),
    "densenet121": ("densenet121", IMAGENET, "adam", 1e-3, {ALL: 10}, 0, 0, 128, {}, "83 %"),
    "densenet161": ("densenet161_cifar", ZOO, "adamax", 1e-3, {HEAD: 5}, 0, 0, 128, {}, "~93 %"),
    "densenet161_steplr": ("densenet161_cifar", ZOO, "adamax", 1e-3, {HEAD: 15}, 0, 0, 128, {}, "~93 %"),
    "resnet18_lightning": ("resnet18", IMAGENET, "adam", 1e-3, {ALL: 10}, None, 0, None, {}, "78 %"),
    "resnet18_random": ("resnet18", "", "adam", 1e-3, {ALL: 10}, None, 0, None, {}, "no figure"),
    "resnet50_gradual": ("resnet50_v1", KERAS, "sgd", None, {HEAD: 2, LATE: 3}, 224, 0, None, None, "94 %, 50 s"),
    "vgg16": ("vgg16", IMAGENET, "adam", 1e-3, {HEAD: 5}, 224, 24_000, 64, MLP, "81.87 %; 12 min 47 s"),
    "vgg19": ("vgg19", IMAGENET, "adam", 1e-3, {HEAD: 5}, 224, 24_000, 64, MLP, "81.64 %; 20 min 1 s"),
    "resnet50": ("resnet50", IMAGENET, "adam", 1e-3, {HEAD: 5}, 224, 24_000, 64, MLP, "80.66 %; 12 min 23 s"),
    "resnet152": ("resnet152", IMAGENET, "adam", 1e-3, {HEAD: 5}, 224, 24_000, 64, MLP, "81.93 %; 22 min 4 s"),
}
STUDY_A = ("resnet18", "densenet121", "densenet161", "densenet161_steplr")
STUDY_E = ("vgg16", "vgg19", "resnet50", "resnet152")

# Every recipe of every file, as `--config` takes it.
MEASURED = {"resnet18", "resnet18_lightning", "resnet18_random", "vgg16"}
NOT_MEASURED = (*REPLICAS.keys() - MEASURED, "stl10_search")  # what they need was not at hand
PLACES = [str(path) for path in CONFIGS if path.stem not in REPLICAS]
PLACES += [f"{FOLDER / name}.py{recipe}" for name in REPLICAS for recipe in ("", ":best")]
PLACES += [f"{FOLDER / 'cifar_resnet_probe'}.py:steplr", f"{FOLDER / 'input_size_transfer'}.py:stl10"]
every_recipe = pytest.mark.parametrize("place", PLACES, ids=lambda place: pathlib.Path(place).name)


def docstring(path):
    return ast.get_docstring(ast.parse(path.read_text())) or ""


def replica(name):
    return load_config(f"{FOLDER / name}.py:replica")


def best(name):
    return load_config(f"{FOLDER / name}.py:best")


def test_the_main_job_has_its_configs():
    assert {"quickstart", "cnn", "cnn_best", "custom_cnn", "logistic_regression", "cnn_scratch", "bn_cnn"} <= {
        path.stem for path in CONFIGS
    }


@every_recipe
def test_it_is_sound(place):
    assert check(load_config(place)) == []


@every_recipe
def test_it_names_its_exact_command(place):
    path, _, recipe = place.partition(".py")
    name = pathlib.Path(path).name
    command = rf"^\| [`\w ]+ \| `python -m jaxtl\.main --config configs/{name}\.py{recipe} --workdir runs/\w+` \|$"
    assert re.search(command, docstring(pathlib.Path(f"{path}.py")), re.MULTILINE)


def test_a_docstring_is_a_task_tables_and_bullets():
    for path in EVERY_FILE:
        task, *_ = text = docstring(path).splitlines()
        assert task.endswith("."), path
        assert any(line.startswith("| Command |") or line.startswith("| Search |") for line in text), path
        assert text.count("|---|---|") + text.count("|---|---|---|") + text.count("|---|---|---|---|") >= 1, path


def row(path, name):
    """The cells of a row of the tables in a config's docstring."""
    (line,) = (line for line in docstring(path).splitlines() if line.startswith(f"| {name} |"))
    return [cell.strip() for cell in line.strip("|").split("|")[1:]]


@pytest.mark.parametrize(
    "path", [path for path in CONFIGS if path.stem not in NOT_MEASURED], ids=lambda path: path.stem
)
def test_it_gives_our_measured_result(path):
    """The figure with seed, hardware and wall time."""
    (ours,), (measured,) = row(path, "Ours"), row(path, "Measured with")
    assert re.search(r"\d\d\.\d+ ?%", ours), "a measured accuracy"
    assert re.search(r"seed \d", measured), "its seed"
    assert re.search(r"cores|GPU|TPU|H\d00|A100", measured), "the hardware"
    assert re.search(r"\d ?(s|min|h)\b|seconds|minute|hour", measured), "the wall time"


@pytest.mark.parametrize("name", [name for name in REPLICAS if name in NOT_MEASURED])
def test_without_its_weights_it_says_so_and_what_to_expect(name):
    (ours,) = row(FOLDER / f"{name}.py", "Ours")
    assert ours.startswith("not measured")
    assert len(list(filter(None, row(FOLDER / f"{name}.py", "Expected")))) == 2, "of each recipe"
    assert "not at hand" in ours or not replica(name)["model"]["weights"]


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_it_names_its_study_and_the_reported_figure(path):
    assert re.match(r"Study [A-E]", docstring(path))
    assert re.search(r"\d ?%|no %", row(path, "Reported")[0])


@functools.cache  # recipes of a config, and many configs, have the same network
def logits_shape(model, image_shape):
    """The shape of the logits of two images."""
    images = jax.ShapeDtypeStruct((2, *image_shape), jnp.float32)
    return jax.eval_shape(model.init_with_output, jax.random.key(0), images)[0].shape


@every_recipe
def test_it_builds_every_network_at_its_image_size(place):
    for where, run in variants(load_config(place)).items():
        info, data, settings = dataset_info(run["data"]["name"]), run["data"], run["model"]
        classes = len(data["classes"] or info.class_names)
        model = build_model(settings["name"], classes, **settings.get("options", {}))
        size = data["size"]
        shape = (size, size, info.image_shape[-1]) if size else info.image_shape
        assert logits_shape(model, shape) == (2, classes), where


@pytest.mark.parametrize("name", REPLICAS)
def test_a_replica_is_what_the_study_says(name):
    config, expected = replica(name), REPLICAS[name]
    model, phases = config["model"], config["phases"]
    (optimizer,) = {phase["optimizer"] for phase in phases}
    (rate,) = {phase["learning_rate"] for phase in phases}
    found = (
        *(model["name"], model["weights"], optimizer, rate, {phase["train"]: phase["epochs"] for phase in phases}),
        *(config["data"]["size"], config["data"]["subset"], config["batch_size"], model["options"].get("head", {})),
    )
    *expected, reported = expected
    assert [ours for ours, theirs in zip(found, expected, strict=True) if theirs is not None] == [
        theirs for theirs in expected if theirs is not None
    ]
    assert config["reported"].startswith(reported)
    assert config["data"]["name"] == "cifar10"
    assert config["data"]["per_class"] == config["data"]["test_subset"] == 0
    assert all(phase["weight_decay"] == phase["warmup_epochs"] == phase["label_smoothing"] == 0 for phase in phases)


@pytest.mark.parametrize("name", STUDY_A)
def test_study_a_augments_and_takes_the_last_epoch_of_all_images(name):
    data, (phase,) = replica(name)["data"], replica(name)["phases"]
    assert (data["mean"], data["std"]) == ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010))
    assert data["validation"] == 0
    assert (phase["flip"], phase["crop"], phase["keep"]) == (True, 4, "last")
    steps = ("step", 5, 0.1) if name == "densenet161_steplr" else ("constant", 5, 0.1)
    assert (phase["schedule"], phase["step_epochs"], phase["step_factor"]) == steps


def test_study_b_differs_in_nothing_but_the_weights():
    pretrained, random = replica("resnet18_lightning"), replica("resnet18_random")
    assert pretrained["data"]["validation"] > 0
    assert random["model"].pop("weights") == "" != pretrained["model"].pop("weights")
    for config in (pretrained, random):
        del config["name"], config["reported"]
    assert pretrained == random


def test_study_c_stops_early_with_the_best_weights_and_drops_out():
    config = replica("resnet50_gradual")
    assert all(phase["patience"] > 0 and phase["keep"] == "best" for phase in config["phases"])
    assert all(phase["monitor"] == "val_loss" for phase in config["phases"])
    assert all(phase["frozen_batch_norm"] == "frozen" for phase in config["phases"]), "as Keras has it"
    assert 0 < config["model"]["options"]["head"]["input_dropout"] < 1


@pytest.mark.parametrize("name", STUDY_E)
def test_study_e_lets_batch_norm_drift_and_our_recipe_does_not(name):
    data, (phase,) = replica(name)["data"], replica(name)["phases"]
    assert (data["mean"], data["std"]) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    assert (data["validation"], phase["keep"]) == (0, "last")
    assert (phase["flip"], phase["crop"], phase["schedule"]) == (False, 0, "constant")
    assert phase["frozen_batch_norm"] == "train"
    (ours,) = best(name)["phases"]
    assert ours["frozen_batch_norm"] == "frozen" and ours["cache_features"] and not ours["flip"]
    assert "final_activation" not in best(name)["model"]["options"]["head"]


@pytest.mark.parametrize("name", STUDY_E)
def test_the_head_of_study_e_sees_pooled_features(name):
    config = replica(name)
    model = build_model(config["model"]["name"], 10, **config["model"]["options"])
    params = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 224, 224, 3)))["params"]
    assert "hidden" not in params
    features = 512 if name.startswith("vgg") else 2048
    assert params["head"]["hidden1"]["kernel"].shape == (features, 128)
    assert params["head"]["linear"]["kernel"].shape == (128, 10)


@pytest.mark.parametrize("name", REPLICAS)
def test_our_recipe_has_the_network_and_no_more_epochs(name):
    theirs, ours = replica(name), best(name)
    assert ours["name"] == theirs["name"].replace("replica", "best")
    assert ours["reported"] == theirs["reported"]
    assert ours["model"]["name"] == theirs["model"]["name"]
    assert ours["model"]["weights"] == theirs["model"]["weights"]
    epochs = [sum(phase["epochs"] for phase in config["phases"]) for config in (theirs, ours)]
    assert epochs[1] <= epochs[0]
    assert ours["data"]["test_subset"] == 0


def test_the_weights_can_be_any_file(tmp_path):
    """Where the zoo of study A cannot be downloaded."""
    file = tmp_path / "densenet161.pt"
    file.touch()
    config = replica("densenet161")
    assert override(config, [("model.weights", str(file))]) == []
    assert check(config) == []
    assert override(config, [("model.weights", str(tmp_path / "nowhere.pt"))]) == []
    assert "neither a file" in check(config)[0]


@pytest.mark.parametrize("name", REPLICAS)
def test_an_unknown_recipe_is_named(name):
    with pytest.raises(UserError, match=r"no recipe 'bets'; did you mean 'best'\?"):
        load_config(f"{FOLDER / name}.py:bets")


@pytest.mark.parametrize("name", OF_A_FOLDER)
def test_it_is_sound_for_any_folder_and_says_where_it_lacks_one(name, tmp_path):
    for class_name in ("cat", "dog", "cow"):
        (tmp_path / class_name).mkdir()
        for i in range(110):
            Image.fromarray(np.full((9, 12, 3), i, np.uint8)).save(tmp_path / class_name / f"{i}.png")
    stem, _, recipe = name.partition(":")
    config = load_config(f"{FOLDER / stem}.py" + f":{recipe}" * bool(recipe))
    problems = check(config)
    assert problems and all(problem.startswith("data.dir is empty") for problem in problems)
    assert override(config, [("data.dir", str(tmp_path))]) == []
    assert check(config) == []
    assert f"--config configs/{stem}.py{name.removeprefix(stem)} " in docstring(FOLDER / f"{stem}.py")

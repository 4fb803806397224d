"""The files of configs/: each loads, is sound, says what it reproduces, and builds its network."""

import ast
import pathlib
import re

import jax
import jax.numpy as jnp
import pytest

from jaxtl.config import check, variants
from jaxtl.config_flags import load_config
from jaxtl.data.catalogue import dataset_info
from jaxtl.models import build_model

FOLDER = pathlib.Path(__file__).parents[1] / "configs"
CONFIGS = sorted(FOLDER.glob("*.py"))
STUDIES = [path for path in CONFIGS if path.stem != "quickstart"]


def docstring(path):
    return ast.get_docstring(ast.parse(path.read_text())) or ""


def test_the_main_job_has_its_configs():
    assert {"quickstart", "cnn", "cnn_best", "custom_cnn", "logistic_regression", "cnn_scratch", "bn_cnn"} <= {
        path.stem for path in CONFIGS
    }


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_it_is_sound(path):
    assert check(load_config(path)) == []


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_it_names_its_exact_command(path):
    assert f"python -m jaxtl.main --config configs/{path.name}" in docstring(path)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_it_gives_our_measured_result(path):
    """The figure with seed, hardware and wall time."""
    text = docstring(path)
    if path in STUDIES:  # which quote the figure of another besides
        text = text.partition("Ours:")[2]
    assert re.search(r"\d\d\.\d+ ?%", text), "a measured accuracy"
    assert re.search(r"seed \d", text), "its seed"
    assert re.search(r"cores|GPU|TPU|H\d00|A100", text), "the hardware"
    assert re.search(r"\d ?(s|min|h)\b|seconds|minute|hour", text), "the wall time"


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_it_names_its_study_and_the_reported_figure(path):
    text = docstring(path)
    assert re.search(r"[Ss]tudy [A-E]", text)
    assert re.search(r"[Rr]eported.*\d ?%", text, re.DOTALL)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_it_builds_every_network_at_its_image_size(path):
    for where, run in variants(load_config(path)).items():
        info, data, settings = dataset_info(run["data"]["name"]), run["data"], run["model"]
        classes = len(data["classes"] or info.class_names)
        model = build_model(settings["name"], classes, **settings.get("options", {}))
        size = data["size"]
        shape = (size, size, info.image_shape[-1]) if size else info.image_shape
        images = jax.ShapeDtypeStruct((2, *shape), jnp.float32)
        logits, _ = jax.eval_shape(model.init_with_output, jax.random.key(0), images)
        assert logits.shape == (2, classes), where

"""What the model fields and the phases of a config mean: a classifier with its variables, and a plan for its stages."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxtl.config.data import data_info, preprocessing
from jaxtl.create import create_model
from jaxtl.data.dataset import Dataset
from jaxtl.models import Classifier
from jaxtl.models.whitened_cnn import whiten
from jaxtl.transfer.partition import count_layers
from jaxtl.transfer.phases import Phase, settle


def create(config: Mapping[str, Any], weights: str | Path | None) -> tuple[Classifier, dict[str, Any]]:
    """The model of a config and its variables.

    Args:
      config: of one run.
      weights: see ``create_model``; they may come from elsewhere than the config says, a source say.

    Raises:
      UserError: see ``create_model``.
    """
    settings, size = config["model"], config["data"]["size"]
    info = data_info(config["data"])
    height, width, channels = info.image_shape
    model, variables = create_model(
        settings["name"],
        len(config["data"]["classes"] or info.class_names),
        weights=weights,
        key=jax.random.key(config["seed"]),
        image_shape=(size or height, size or width, channels),
        new_head=settings["new_head"],
        dtype=settings["dtype"],
        **settings.get("options", {}),
    )
    return model.clone(test_views=settings["test_views"]), variables


def whitened(config: Mapping[str, Any], variables: dict[str, Any], train: Dataset) -> dict[str, Any]:
    """The variables to start from: the first convolution whitens patches of training images, if the config says so."""
    count = config["model"]["whiten"]
    if not count:
        return variables
    images = preprocessing(config["data"])(jax.random.key(0), jnp.asarray(np.asarray(train.images[:count])))
    return whiten(variables, images)


def settled_plan(
    plan: Sequence[Phase], model: Classifier, params: Mapping[str, Any]
) -> tuple[tuple[Phase, ...], list[str]]:
    """The plan with its stages named, and what was rounded for it."""
    layers = count_layers(params, model.stage_names)
    settled = [settle(phase, layers) for phase in plan]
    return tuple(phase for phase, _ in settled), [remark for _, remark in settled if remark]

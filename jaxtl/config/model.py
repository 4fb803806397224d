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
from jaxtl.models.registry import is_own
from jaxtl.models.whitened_cnn import whiten
from jaxtl.runtime.start_cache import NOTHING_KEPT, StartCache, start_cache
from jaxtl.transfer.layers import count_layers
from jaxtl.transfer.phases import Phase, settle


def create(
    config: Mapping[str, Any], weights: str | Path | None, starts: StartCache = NOTHING_KEPT
) -> tuple[Classifier, dict[str, Any]]:
    """The model of a config and its variables.

    Args:
      config: of one run.
      weights: see ``create_model``; they may come from elsewhere than the config says, a source say.
      starts: where drawn variables are kept.

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
        starts=starts,
        **settings.get("options", {}),
    )
    return model.clone(test_views=settings["test_views"]), variables


def starts_of(config: Mapping[str, Any]) -> StartCache:
    """Where programs and first variables of a config's run are kept.

    A step depends on the network and on what becomes of images; all else is its phase's, or shows in the shapes of its
    arguments. Of a network that was put into the registry from elsewhere the source is not known: nothing is kept.
    """
    model, data = config["model"], config["data"]
    if not is_own(model["name"]):
        return NOTHING_KEPT
    network = [model["name"], model.get("options", {}), model["dtype"], model["test_views"]]
    return start_cache([network, [data[field] for field in ("size", "mean", "std")]])


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

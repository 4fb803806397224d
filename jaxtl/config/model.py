"""From the model fields and the phases of a config to a classifier with its variables, and a plan for its stages."""

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxtl.config.data import data_info
from jaxtl.config.fields import SOURCE
from jaxtl.config.tree import Tree, merge
from jaxtl.create import create_model
from jaxtl.errors import UserError
from jaxtl.models import Classifier
from jaxtl.runtime.fetch import UnreachableError
from jaxtl.runtime.processes import broadcast, is_main_process
from jaxtl.runtime.run_files import RunFiles
from jaxtl.transfer.partition import count_layers
from jaxtl.transfer.phases import Phase, settle
from jaxtl.weights.cards import card_for
from jaxtl.weights.hub import hub_card, is_hub
from jaxtl.weights.store import card_file, is_tag


def create(config: Mapping[str, Any], weights: str | Path | None) -> tuple[Classifier, dict[str, Any]]:
    """The model of the config of one run, and its variables, as ``create_model`` returns them.

    The weights may come from elsewhere than the config says, for example from its source.
    """
    settings, size = config["model"], config["data"]["size"]
    info = data_info(config["data"])
    if is_hub(weights):
        check_normalisation(str(weights), config["data"])
    height, width, channels = info.image_shape
    return create_model(
        settings["name"],
        len(config["data"]["classes"] or info.class_names),
        weights=weights,
        key=jax.random.key(config["seed"]),
        image_shape=(size or height, size or width, channels),
        new_head=settings["new_head"],
        dtype=settings["dtype"],
        **settings.get("options", {}),
    )


def check_normalisation(weights: str, data: Mapping[str, Any]) -> None:
    """Warn where the config normalises images by another mean or deviation than the weights were trained with."""
    card = hub_card(weights)
    for field, theirs in (("mean", card.mean), ("std", card.std)):
        if not np.allclose(np.broadcast_to(data[field], 3), theirs, atol=0.005):
            warnings.warn(
                f"data.{field} is {data[field]}, but the weights {weights} expect {theirs}; set it to that, or they "
                "see other numbers than in their training.",
                stacklevel=2,  # one place, whoever creates the model: Python then says it once
            )


def settled_plan(
    plan: Sequence[Phase], model: Classifier, params: Mapping[str, Any]
) -> tuple[tuple[Phase, ...], list[str]]:
    """The plan with its stages named, and what was adjusted for that, a sentence each."""
    layers = count_layers(params, model.stage_names)
    settled = [settle(phase, layers) for phase in plan]
    return tuple(phase for phase, _ in settled), [remark for _, remark in settled if remark]


def start_weights(config: Mapping[str, Any], workdir: Path) -> str | Path | None:
    """What a run starts from, as ``create`` takes it; the work folder holds its source."""
    weights = config["model"]["weights"]
    return RunFiles(workdir).part(SOURCE) if weights == SOURCE else weights or None


def with_fallbacks(runs: Mapping[str, Mapping[str, Any]], workdir: Path) -> tuple[dict[str, Any], list[str]]:
    """The configs of runs, with ``model.fallback`` where their weights cannot be downloaded; and what was changed.

    Images are then read at most as large as those that the fallback was trained on. Runs that have begun stay as they
    are in their folder, whatever can be downloaded now. All processes get what the main one finds.

    Args:
      runs: by place, as ``jaxtl.config.variants`` gives them.
      workdir: the work folder of the main run.

    Returns:
      The configs, and a sentence for each of those that changed.

    Raises:
      UserError: neither weights nor fallback can be had.
    """
    others = {where: other for where, config in runs.items() if (other := _with_fallback(config))}
    told: dict[str, str] = {}
    if is_main_process():
        files = RunFiles(workdir)
        begun = files.config()["config"] if others and (workdir / files.CONFIG).exists() else None
        for where, other in others.items():
            weights, fallback = runs[where]["model"]["weights"], other["model"]["weights"]
            if begun is None and (why := _unreachable(other["model"]["name"], weights, fallback)):
                size = f"{other['data']['size']} x {other['data']['size']} pixels"
                told[where] = f"{why} In their place the run starts from {fallback}, with images of {size}."
            elif begun and (begun.get(where) or begun).get("model", {}).get("weights") == fallback:
                told[where] = f"The run began with the weights {fallback} in place of {weights}, and goes on with them."
    told = broadcast(told)
    return {where: others[where] if where in told else config for where, config in runs.items()}, [*told.values()]


def _with_fallback(config: Mapping[str, Any]) -> Tree | None:
    """The config with its fallback; ``None`` where it has none, or would not start from a card's weights anyhow."""
    model, size = config["model"], config["data"]["size"]
    name, weights, fallback = model["name"], model["weights"], model["fallback"]
    if not (model["new_head"] and is_tag(name, weights) and is_tag(name, fallback)) or weights == fallback:
        return None
    largest = card_for(name, fallback).input_size
    return merge(config, {"model": {"weights": fallback}, "data": {"size": min(size or largest, largest)}})


def _unreachable(name: str, weights: str, fallback: str) -> str:
    """Why weights cannot be downloaded, a sentence; empty where they can be had."""
    try:
        card_file(card_for(name, weights))
    except UnreachableError as error:
        try:
            card_file(card_for(name, fallback))
        except UserError as second:
            raise UserError(f"{error} Nor are the weights {fallback} here, to start from instead. {second}") from second
        return str(error)
    return ""


def validate_weights(configs: Sequence[Mapping[str, Any]], workdir: Path) -> None:
    """Check that weights fit before anything trains, where several runs follow each other.

    Raises:
      UserError: weights of one of the runs do not fit its model.
    """
    seen: list[Any] = []
    for config in configs:
        described = config["model"], config["data"]["classes"], config["data"]["size"]
        if config["model"]["weights"] not in ("", SOURCE) and described not in seen:
            seen.append(described)
            create(config, start_weights(config, workdir))

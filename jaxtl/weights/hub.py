"""Weights on the Hugging Face hub: repositories in timm's layout, a ``config.json`` and a ``model.safetensors``.

A folder in that layout is read and written too. Source: timm 1.0.31, ``timm/models/_hub.py``, ``_pretrained.py`` and
``timm/data/transforms_factory.py``.
"""

import csv
import json
import math
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from jaxtl.errors import UserError, expect, nearest
from jaxtl.models import list_models, native_size
from jaxtl.models.fit import leaves, shown
from jaxtl.runtime.files import read_object, user_path, write_errors_explained, write_whole
from jaxtl.weights.cards import IMAGENET_MEAN, IMAGENET_STD, WeightCard
from jaxtl.weights.convert import StateDict, classes_of, to_torch
from jaxtl.weights.formats.safetensors_file import save_arrays
from jaxtl.weights.names import timm_key, torch_names

HUB, FOLDER = "hf:", "local-dir:"
_CONFIG, _WEIGHTS = "config.json", "model.safetensors"
_WAY_OUT = f"name a repository as {HUB}OWNER/NAME or {HUB}OWNER/NAME@REVISION"
# Arguments of timm's networks that change nothing in inference, and those that ours have fixed.
_HARMLESS = ("num_classes", "drop_rate", "drop_path_rate", "drop_block_rate")
_FIXED = {"in_chans": 3, "global_pool": "avg", "output_stride": 32}


def hub_tags() -> list[dict[str, str]]:
    """The repositories of our networks in the registry of timm 1.0.31; the package lists them, and needs no network.

    Returns:
      A row for each, with ``weights`` (its name for ``create_model``), ``model``, ``top-1 %`` (of ImageNet's validation
      images, as timm publishes it), ``at pixels`` (their size) and ``licence``; what timm does not say is empty.
    """
    return list(csv.DictReader((files("jaxtl.weights") / "hub.csv").read_text("utf-8").splitlines()))


def timm_models() -> list[str]:
    """The names of the networks that timm has too, under the same names."""
    return [name for name in list_models() if native_size(name) == 224 and not name.endswith("_v1")]


def is_hub(weights: Any) -> bool:
    """Whether ``weights`` names a repository on the hub, or a folder in timm's layout."""
    return isinstance(weights, str) and weights.startswith((HUB, FOLDER))


def hub_card(weights: str) -> WeightCard:
    """What a repository says about its weights.

    Mean, std, size, crop, interpolation and labels are those of ``pretrained_cfg`` in its ``config.json``.

    Args:
      weights: ``hf:OWNER/NAME``, ``hf:OWNER/NAME@REVISION``, or ``local-dir:FOLDER``.

    Raises:
      UserError: if the hub cannot be reached and the file is not in its cache, if there is no such repository, or if
        its network is not one of ours.
    """
    path = _file(weights, _CONFIG)
    try:
        return _card(weights, read_object(path))
    except UserError:
        raise
    except (OSError, LookupError, ValueError, TypeError, ArithmeticError) as error:
        raise UserError(
            f"The {_CONFIG} of {weights} cannot be used ({str(error) or type(error).__name__}); take a repository that "
            "timm wrote."
        ) from error


def hub_file(name: str, weights: str) -> Path:
    """The file of weights of a repository, downloaded by ``huggingface_hub`` if its cache does not have it.

    Raises:
      UserError: as ``hub_card``; if the network is not ``name``, or there is no ``model.safetensors``.
    """
    card = hub_card(weights)
    if card.model != name:
        raise UserError(f"{weights} is a {card.model}, but the model is {name}; name weights of the same architecture.")
    return _file(weights, _WEIGHTS)


def _card(weights: str, config: Mapping[str, Any]) -> WeightCard:
    model, cfg = config.get("architecture"), config.get("pretrained_cfg", config)
    if not isinstance(model, str):
        raise UserError(f"The {_CONFIG} of {weights} names no architecture of timm; take a repository of timm's.")
    if model not in timm_models():
        way_out = nearest(model, timm_models())
        raise UserError(f"{weights} is a {shown(model)!r}, which is not one of our architectures; {way_out}")
    arguments = dict(config.get("model_args") or {}).items()
    changed = [f"{key}={value!r}" for key, value in arguments if key not in _HARMLESS and _FIXED.get(key) != value]
    if changed:
        how = shown(", ".join(changed))
        raise UserError(f"{weights} is a {model} that is changed by {how}, which ours cannot be; take another one.")
    channels, height, width = cfg["input_size"]
    mean, std = (tuple(map(float, cfg[key])) for key in ("mean", "std"))
    if channels != 3 or height != width or (len(mean), len(std)) != (3, 3):
        raise ValueError("its images are not squares of three channels")
    if (interpolation := cfg.get("interpolation", "bicubic")) not in ("bicubic", "bilinear"):
        raise ValueError("its interpolation is neither bicubic nor bilinear")
    names = config.get("label_names", cfg.get("label_names")) or ()
    return WeightCard(
        model=model,
        tag=weights,
        file=_WEIGHTS,
        licence=cfg.get("license") or "",
        data=cfg.get("tag") or "",
        classes=int(config.get("num_classes", cfg.get("num_classes", 0))),
        mean=mean,
        std=std,
        input_size=int(height),
        resize=math.floor(height / cfg.get("crop_pct", 0.875)),
        interpolation=interpolation,
        labels=tuple(map(str, names.values() if isinstance(names, Mapping) else names)),
    )


def _file(weights: str, file: str) -> Path:
    """A file of a repository on this machine."""
    expect("weights", weights, str, f"a text, for example '{HUB}timm/resnet50.a1_in1k'")
    if weights.startswith(FOLDER):
        path = user_path(weights.removeprefix(FOLDER)) / file
        if path.is_file():
            return path
        raise UserError(f"There is no file {path}; name a folder that timm or jaxtl wrote.")
    try:
        import huggingface_hub
    except ImportError as error:
        raise UserError(
            f"{weights} is on the Hugging Face hub, which huggingface_hub reads: pip install 'jaxtl[hub]'."
        ) from error
    repository, _, revision = weights.removeprefix(HUB).partition("@")
    try:
        return Path(huggingface_hub.hf_hub_download(repository, file, revision=revision or None))
    except Exception as error:  # it says of a network whatever its own libraries raise
        raise UserError(f"{file} of {weights} cannot be fetched: {_why(error, file)}.") from error


def _why(error: Exception, file: str) -> str:
    """What went wrong on the hub, and the way out."""
    from huggingface_hub import errors

    log_in = "log in with `hf auth login`"
    reasons = {  # a class comes before those that it is derived from
        errors.HFValidationError: f"that is not the name of a repository; {_WAY_OUT}",
        errors.GatedRepoError: f"its owner asks for consent; give it on the hub, and {log_in}",
        errors.RepositoryNotFoundError: f"there is no such repository, or it is private; correct the name, or {log_in}",
        errors.RevisionNotFoundError: f"the repository has no such revision; {_WAY_OUT}",
        errors.LocalEntryNotFoundError: "the hub cannot be reached, and the file is not in the cache of "
        "huggingface_hub; check the network and HF_HUB_OFFLINE",
        errors.EntryNotFoundError: f"the repository has no {file}; take one with timm's {_CONFIG} and a {_WEIGHTS}",
    }
    for kind, reason in reasons.items():
        if isinstance(error, kind):
            return reason
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return f"{lines[0].rstrip('.')}; try again later"


# --- for timm ---


def to_timm(name: str, variables: Mapping[str, Any]) -> StateDict:
    """A state dict for the network of this name in timm; ``from_torch`` reads it back.

    It is torchvision's, but that timm's VGGs have convolutions in the place of their first two dense layers.

    Raises:
      UserError: if timm has no such network, or the variables are not those of the model without options.
    """
    if name not in timm_models():
        raise UserError(f"timm has no {name}; there are: {', '.join(timm_models())}.")
    kernel_sizes = {"classifier.0.weight": 7, "classifier.3.weight": 1} if name.startswith("vgg") else {}
    return {
        timm_key(key): array.reshape(len(array), -1, size, size) if (size := kernel_sizes.get(key)) else array
        for key, array in to_torch(name, variables).items()
    }


def write_timm_folder(
    name: str,
    variables: Mapping[str, Any],
    folder: str | Path,
    *,
    mean: Sequence[float] = IMAGENET_MEAN,
    std: Sequence[float] = IMAGENET_STD,
    input_size: int = 224,
    resize: int | None = None,
    interpolation: str = "bilinear",
    labels: Sequence[str] = (),
) -> None:
    """Write ``config.json`` and ``model.safetensors`` for ``timm.create_model("local-dir:FOLDER", pretrained=True)``.

    ``weights="local-dir:FOLDER"`` reads it back, and as a repository on the hub it is one that others can load.

    Args:
      name: one of ``timm_models()``.
      variables: ``params`` and ``batch_stats`` of the model without options.
      folder: made if it is missing.
      mean, std: of each channel, of images in [0, 1].
      input_size: height and width of the images.
      resize: length of the shorter side before the centre crop; ``None``: no crop.
      interpolation: of that resize: ``"bilinear"`` or ``"bicubic"``.
      labels: names of the classes.

    Raises:
      UserError: as ``to_timm``, or if a file cannot be written.
    """
    arrays, folder, classes = to_timm(name, variables), user_path(folder), classes_of(leaves(variables))
    cfg = {
        "input_size": [3, input_size, input_size],
        "fixed_input_size": False,
        "interpolation": interpolation,
        # timm rounds size / crop_pct down; the next lower number keeps the quotient from falling below ``resize``.
        "crop_pct": math.nextafter(input_size / resize, 0) if resize else 1.0,
        "crop_mode": "center",
        "mean": list(mean),
        "std": list(std),
        "num_classes": classes,
        "pool_size": None,
        "first_conv": next(iter(arrays)).removesuffix(".weight"),
        "classifier": timm_key(f"{torch_names(name).head}.weight").removesuffix(".weight"),
    }
    config = {"architecture": name, "num_classes": classes, "label_names": list(labels), "pretrained_cfg": cfg}
    save_arrays(arrays, folder / _WEIGHTS, {"format": "pt"})
    with write_errors_explained(folder / _CONFIG):
        write_whole(folder / _CONFIG, json.dumps(config, indent=2))

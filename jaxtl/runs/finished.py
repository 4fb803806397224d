"""A finished run, ready to be asked about images: its model, its weights, its way of preprocessing."""

from pathlib import Path
from typing import Any, NamedTuple

import jax

from jaxtl.config import with_defaults
from jaxtl.config.data import data_info, preprocessing
from jaxtl.config.tree import plain
from jaxtl.data.augment import Transform
from jaxtl.errors import UserError
from jaxtl.models import Classifier, build_model
from jaxtl.runs.read_json import damage_explained, read_object
from jaxtl.runtime.compile_cache import keep_compiled
from jaxtl.train.checkpoint import read_best

CONFIG, SUMMARY, CHECKPOINTS = "config.json", "summary.json", "checkpoints"


class LoadedRun(NamedTuple):
    """What a finished run leaves to others.

    Attributes:
      folder: where it lies.
      name: its title.
      config: its resolved config.
      model: the classifier.
      variables: the weights that were tested, on the default device.
      class_names: K names, in the order of the logits.
      image_shape: (H, W, C) of the images that ``preprocess`` gets, uint8; decode photographs to that size.
      preprocess: resize and normalisation, ``preprocess(key, images)``; the key is not used.
    """

    folder: Path
    name: str
    config: dict[str, Any]
    model: Classifier
    variables: dict[str, Any]
    class_names: tuple[str, ...]
    image_shape: tuple[int, int, int]
    preprocess: Transform


def load_run(folder: str | Path) -> LoadedRun:
    """Read a finished run.

    Raises:
      UserError: the folder is no finished run, or a file of it is missing or damaged.
    """
    folder = Path(folder).expanduser()
    if not folder.is_dir():
        raise UserError(f"The run folder {folder} does not exist; give the work folder of a finished run.")
    for name, what in ((CONFIG, "it is no run folder"), (SUMMARY, "its run is not finished")):
        if not (folder / name).is_file():
            raise UserError(f"{folder} cannot be used: {what} (it has no {name}); give that of a finished run.")
    with damage_explained(folder / SUMMARY):
        summary = read_object(folder / SUMMARY)
        class_names = tuple(str(line["class"]) for line in summary["test"]["per_class"])
    with damage_explained(folder / CONFIG):
        content = read_object(folder / CONFIG)
        config = with_defaults(plain(content["config"]))
        settings, data = config["model"], config["data"]
        model = build_model(settings["name"], len(class_names), settings["dtype"], **settings.get("options", {}))
        preprocess = preprocessing(data)
        described = content.get("data") or {"image_shape": data_info(data).image_shape}  # older runs: data by name
        height, width, channels = described["image_shape"]
        size = data["size"]
    keep_compiled()
    variables = jax.device_put(read_best(folder / CHECKPOINTS))
    name = str(summary.get("name") or folder.name)
    shape = (size or height, size or width, channels)
    return LoadedRun(folder, name, config, model, variables, class_names, shape, preprocess)

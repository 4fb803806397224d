"""The title of a run: it changes where the command line changes the data or the network."""

import pathlib
import textwrap
from collections.abc import Mapping
from typing import Any

from jaxtl.config.build import with_defaults
from jaxtl.config.fields import FIELDS, OPTIONS
from jaxtl.config.tree import Tree, leaves
from jaxtl.data.catalogue import GIVEN
from jaxtl.data.image_files import shown

# Fields that change no result.
_SILENT = {"data.download", "data.stream", "data.workers", "data.undecodable", OPTIONS}
_NETWORK_AND_DATA = {"model.name", "data.name", "data.dir", "data.labels"}


def titled_fields(config: Mapping[str, Any]) -> Tree:
    """The fields that a title may name, by path, with defaults."""
    tree = with_defaults({key: config[key] for key in ("data", "model") if isinstance(config.get(key), Mapping)})
    return dict(leaves({key: tree[key] for key in ("data", "model")}))


def retitle(config: Tree, before: Tree) -> None:
    """Change the title, in place, where the data or the network are others than it says.

    Args:
      config: as it is now.
      before: ``titled_fields`` of the config file's.
    """
    new = titled_fields(config)
    is_other_folder = new["data.name"] == "folder" and before["data.dir"]
    silent = _SILENT | (set() if is_other_folder else {"data.dir"})
    changed = {path: value for path, value in new.items() if value != before.get(path) and path not in silent}
    if not changed:
        return
    title = config.get("name", FIELDS["name"].default)
    if changed.keys() & _NETWORK_AND_DATA:
        files = pathlib.Path(new["data.dir"] or new["data.labels"]).absolute()  # "." has no name
        data = shown(files.name) if new["data.name"] == "folder" else new["data.name"]
        data = "images given in Python" if data.startswith(GIVEN) else data
        title, config["reported"] = f"{new['model.name']} on {data}", ""  # the reported figure is of something else
    told = [f"{path}={value}" for path, value in changed.items() if path not in _NETWORK_AND_DATA]
    config["name"] = textwrap.shorten(", ".join([title, *told]), 160)

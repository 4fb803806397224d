"""What an export holds: one file a format, and ``model.json``, which says what they are and how to load them."""

import json
from collections.abc import Callable, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxtl.errors import UserError
from jaxtl.export.program import PLATFORMS, call_program, export_program
from jaxtl.export.pytorch import for_torch
from jaxtl.runs.finished import LoadedRun
from jaxtl.runtime.environment import describe
from jaxtl.weights import save, write_torch_file

SAFETENSORS, TORCH, PROGRAM = "model.safetensors", "model.pth", "model.stablehlo"
DESCRIPTION, EXAMPLE, READER = "model.json", "load_example.py", "read_image.py"
NAMES = (SAFETENSORS, TORCH, PROGRAM, DESCRIPTION, EXAMPLE, READER)  # all that a folder of ours may hold

Entry = dict[str, Any]  # of one file in the description


class Written(NamedTuple):
    """What became of a format.

    Attributes:
      file: its name.
      size: in bytes; ``None`` if it could not be written.
      remark: what it is for, or why it could not be written, in words.
    """

    file: str
    size: int | None
    remark: str


def write_export(run: LoadedRun, formats: Sequence[str], folder: Path) -> list[Written]:
    """Write the formats that a run allows, and the description.

    Args:
      run: the finished run.
      formats: names in ``FORMATS``.
      folder: an empty one.

    Returns:
      One line a format. Without a single file nothing is written.

    Raises:
      UserError: a file cannot be written.
      OSError: likewise.
    """
    lines, entries = [], {}
    for file, write in ((FORMATS[name].file, FORMATS[name].write) for name in formats):
        try:
            entries[file] = write(run, folder)
        except NotPossible as reason:
            lines.append(Written(file, None, str(reason)))
        else:
            lines.append(Written(file, (folder / file).stat().st_size, entries[file]["is"]))
    if entries:
        left_out = {line.file: line.remark for line in lines if line.size is None}
        text = json.dumps(_description(run, entries, left_out), indent=2, ensure_ascii=False)
        (folder / DESCRIPTION).write_text(text + "\n", encoding="utf-8")
    return lines


class NotPossible(UserError):  # noqa: N818 - a fact about a run and a format, and no failure
    """A format that this run cannot have; the message says why."""


def _description(run: LoadedRun, entries: dict[str, Entry], left_out: dict[str, str]) -> dict[str, Any]:
    data, model = run.config["data"], run.config["model"]
    versions = describe()
    return {
        "name": run.name,
        "model": model["name"],
        "options": model["options"],
        "dtype": model["dtype"],
        "class_names": run.class_names,
        "input": {
            "image_shape": run.image_shape,
            "meaning": "height, width, channels; RGB or grey values from 0 to 255",
            "reading": f"{READER} reads image files exactly as the run's own were read; its first lines say how",
            "fit": data["fit"],
            "mean": data["mean"],
            "std": data["std"],
            "normalisation": "(pixel / 255 - mean) / std for each channel; one value serves all channels",
        },
        "files": entries,
        "not_possible": left_out,
        "versions": {package: versions[package] for package in ("jaxtl", "jax", "jaxlib", "flax", "commit")},
    }


def _write_safetensors(run: LoadedRun, folder: Path) -> Entry:
    model, data = run.config["model"], run.config["data"]
    notes = {
        "name": run.name,
        "model": model["name"],
        "options": json.dumps(model["options"]),
        "dtype": model["dtype"],
        "class_names": json.dumps(run.class_names, ensure_ascii=False),
        "image_shape": json.dumps(run.input_shape),
        "mean": json.dumps(data["mean"]),
        "std": json.dumps(data["std"]),
        "jaxtl": describe()["jaxtl"],
    }
    save(run.variables, folder / SAFETENSORS, notes)
    arguments = [
        f'"{model["name"]}"',
        f"num_classes={len(run.class_names)}",
        f'weights="{SAFETENSORS}"',
        "key=jax.random.key(0)",
        f"image_shape={run.input_shape}",
        *([f'dtype="{model["dtype"]}"'] if model["dtype"] != "float32" else []),
        *(f"{option}={value!r}" for option, value in model["options"].items()),
    ]
    return {
        "is": "the weights for jaxtl.create_model, bit by bit",
        "load": [
            "import jax, jaxtl",
            f"model, variables = jaxtl.create_model({', '.join(arguments)})",
        ],
        "input": "float32 [B, H, W, C], normalised",
        "output": "logits, float32 [B, K]",
    }


def _write_torch(run: LoadedRun, folder: Path) -> Entry:
    model = run.config["model"]
    try:
        converted = for_torch(model["name"], run.variables, model["options"], TORCH)
    except UserError as error:
        raise NotPossible(str(error)) from error
    write_torch_file(converted.state_dict, folder / TORCH)
    return {
        "is": f"a state dict for {converted.fits}",
        "load": converted.load,
        "input": "float32 [B, C, H, W], normalised",
        "output": "logits, float32 [B, K]",
    }


def _write_program(run: LoadedRun, folder: Path) -> Entry:
    fold = run.config["model"]["dtype"] == "float32"
    program = export_program(run.model, run.variables, run.preprocess, run.image_shape, fold=fold)
    (folder / PROGRAM).write_bytes(program)
    (folder / EXAMPLE).write_bytes(files("jaxtl.export").joinpath("example.py").read_bytes())
    (folder / READER).write_bytes(files("jaxtl.data").joinpath("decode.py").read_bytes())  # one way of reading
    return {
        "is": f"preprocessing, network and softmax for {', '.join(PLATFORMS)}, by jax without jaxtl",
        "load": [
            "import jax.export",
            f'program = jax.export.deserialize(bytearray(open("{PROGRAM}", "rb").read()))',
            "probabilities = program.call(images)",
        ],
        "needs": "jax and flatbuffers",
        "input": "uint8 [B, H, W, C], as it is; B is free",
        "output": "probabilities, float32 [B, K]; each row has the sum 1",
        "platforms": PLATFORMS,
        "batch_norm_folded": fold,
        "largest_difference": _largest_difference(run, program),
    }


def _largest_difference(run: LoadedRun, program: bytes) -> float:
    """How far the program's probabilities are from those of the run's own model on this device, on two noisy images."""
    images = np.random.default_rng(0).integers(0, 256, (2, *run.image_shape), np.uint8)
    ready = run.preprocess(jax.random.key(0), jnp.asarray(images))
    expected = jax.nn.softmax(jnp.asarray(run.model.apply(run.variables, ready, train=False)))
    return float(np.abs(call_program(program, images) - np.asarray(expected)).max())


class Format(NamedTuple):
    """A format.

    Attributes:
      file: name of its file.
      write: writes it into a folder, and describes it.
    """

    file: str
    write: Callable[[LoadedRun, Path], Entry]


FORMATS = {
    "safetensors": Format(SAFETENSORS, _write_safetensors),
    "torch": Format(TORCH, _write_torch),
    "stablehlo": Format(PROGRAM, _write_program),
}

"""Write an export: one file a format, and ``model.json``, which says what they are and how to load them."""

import contextlib
import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import jax
import jax.export
import jax.numpy as jnp
import numpy as np

from jaxtl.errors import UserError
from jaxtl.export.onnx import export_onnx
from jaxtl.export.program import PLATFORMS, export_program, folds
from jaxtl.export.pytorch import for_torch
from jaxtl.runs.finished import LoadedRun
from jaxtl.runtime.environment import describe
from jaxtl.runtime.files import json_text, write_errors_explained
from jaxtl.weights import save, write_torch_file

SAFETENSORS, TORCH, PROGRAM, ONNX = "model.safetensors", "model.pth", "model.stablehlo", "model.onnx"
DESCRIPTION, EXAMPLE, READER = "model.json", "load_example.py", "read_image.py"
NAMES = {SAFETENSORS, TORCH, PROGRAM, ONNX, DESCRIPTION, EXAMPLE, READER}  # all that a folder of ours may hold
LARGEST_DIFFERENCE = 1e-4  # between the probabilities of an ONNX program and of the run

Entry = dict[str, Any]  # of one file in the description

_PROGRAM: Entry = {
    "input": "uint8 [B, H, W, C], as it is; B is free",
    "output": "probabilities, float32 [B, K]; each row has the sum 1",
}


class NotPossible(UserError):  # noqa: N818 - a fact about a run and a format, and not a failure
    """A format that this run cannot have; the message says why."""


@contextlib.contextmanager
def replaced(folder: Path) -> Iterator[Path]:
    """A context that yields an empty folder and puts it in place of ``folder`` at its end, unless an error occurs.

    An earlier export is replaced as a whole; folders above it are made.

    Raises:
      UserError: something else stands there, an empty folder excepted, or it cannot be written.
    """
    folder = folder.resolve()  # a link stays, and what it leads to is replaced
    with write_errors_explained(folder, "give a folder as --out", done="replaced by an export"):
        there = {path.name for path in folder.iterdir()} if folder.exists() else set()
    strange = sorted(there - NAMES)
    if strange or (there and DESCRIPTION not in there):
        raise UserError(
            f"{folder} holds {', '.join((strange or sorted(there))[:5])}, which is not part of an export and would be "
            "lost; move it away, or choose another folder."
        )
    with write_errors_explained(folder, "make the folder above it writable, or choose another place"):
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as scratch:
            draft, before = Path(scratch, "draft"), Path(scratch, "before")
            draft.mkdir()
            yield draft
            if folder.exists():
                folder.rename(before)
            try:
                draft.rename(folder)
            except BaseException:
                if before.exists():
                    before.rename(folder)
                raise


def write_export(run: LoadedRun, formats: Sequence[str], folder: Path) -> dict[str, Any]:
    """Write the formats that a run allows, and the description.

    The formats are names in ``FORMATS``, and the folder is empty.

    Returns:
      The description. Its ``files`` has an entry for each file, its ``not_possible`` the reason for each other one.

    Raises:
      UserError: a file cannot be written, or none is possible.
      OSError: a file cannot be written.
    """
    entries, impossible = {}, {}
    for file, write in (FORMATS[name] for name in formats):
        try:
            entries[file] = write(run, folder)
        except NotPossible as reason:
            impossible[file] = str(reason)
    if not entries:
        raise UserError(" ".join(impossible.values()))
    data, versions = run.config["data"], describe()
    description = {
        **_network(run),
        "class_names": run.class_names,
        "temperature": run.temperature,
        "probabilities": "softmax(logits / temperature)",
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
        "not_possible": impossible,
        "versions": {package: versions[package] for package in ("jaxtl", "jax", "jaxlib", "flax", "commit")},
    }
    (folder / DESCRIPTION).write_text(json_text(description), encoding="utf-8")
    return description


def _network(run: LoadedRun) -> dict[str, Any]:
    model = run.config["model"]
    return {"name": run.name, "model": model["name"], "options": model["options"], "dtype": model["dtype"]}


def _write_safetensors(run: LoadedRun, folder: Path) -> Entry:
    network, data = _network(run), run.config["data"]
    facts = {"class_names": run.class_names, "image_shape": run.input_shape, "mean": data["mean"], "std": data["std"]}
    facts |= {"options": network["options"]}
    notes = {**network, **{name: json.dumps(value, ensure_ascii=False) for name, value in facts.items()}}
    save(run.variables, folder / SAFETENSORS, {**notes, "jaxtl": describe()["jaxtl"]})
    arguments = [
        f'"{network["model"]}"',
        f"num_classes={len(run.class_names)}",
        f'weights="{SAFETENSORS}"',
        "key=jax.random.key(0)",
        f"image_shape={run.input_shape}",
        *([f'dtype="{network["dtype"]}"'] if network["dtype"] != "float32" else []),
        *(f"{option}={value!r}" for option, value in network["options"].items()),
    ]
    return {
        "is": "the weights for jaxtl.create_model, bit by bit",
        "load": ["import jax, jaxtl", f"model, variables = jaxtl.create_model({', '.join(arguments)})"],
        "input": "float32 [B, H, W, C], normalised",
        "output": "logits, float32 [B, K]",
    }


def _write_torch(run: LoadedRun, folder: Path) -> Entry:
    model = run.config["model"]
    try:
        state_dict, fits, load = for_torch(model["name"], run.variables, model["options"], TORCH)
    except UserError as error:
        raise NotPossible(str(error)) from error
    write_torch_file(state_dict, folder / TORCH)
    return {
        "is": f"a state dict for {fits}",
        "load": load,
        "input": "float32 [B, C, H, W], normalised",
        "output": "logits, float32 [B, K]",
    }


def _write_program(run: LoadedRun, folder: Path) -> Entry:
    program = export_program(run)
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
        **_PROGRAM,
        "platforms": PLATFORMS,
        "batch_norm_folded": folds(run),
        "largest_difference": _largest_difference(run, jax.export.deserialize(bytearray(program)).call),
    }


def _write_onnx(run: LoadedRun, folder: Path) -> Entry:
    try:
        content, program = export_onnx(run)
    except UserError as error:
        raise NotPossible(str(error)) from error
    if not (difference := _largest_difference(run, program)) <= LARGEST_DIFFERENCE:
        raise NotPossible(f"onnxruntime computes other probabilities than the run, by up to {difference:.1e}.")
    (folder / ONNX).write_bytes(content)
    (folder / READER).write_bytes(files("jaxtl.data").joinpath("decode.py").read_bytes())
    return {
        "is": "preprocessing, network and softmax for onnxruntime",
        "load": [
            "import onnxruntime",
            f'program = onnxruntime.InferenceSession("{ONNX}")',
            'probabilities = program.run(None, {"images": images})[0]',
        ],
        "needs": "onnxruntime",
        **_PROGRAM,
        "batch_norm_folded": folds(run),
        "largest_difference": difference,
    }


def _largest_difference(run: LoadedRun, program: Callable[[np.ndarray], Any]) -> float:
    """The largest difference between the probabilities of a program and of the run's model, on five noisy images."""
    images = np.random.default_rng(0).integers(0, 256, (5, *run.image_shape), np.uint8)
    ready = run.preprocess(jax.random.key(0), jnp.asarray(images))
    expected = jax.nn.softmax(jnp.asarray(run.model.apply(run.variables, ready, train=False)) / run.temperature)
    return float(np.abs(np.asarray(program(images)) - np.asarray(expected)).max())


# Name of a format -> its file, and what writes that into a folder and describes it.
FORMATS: dict[str, tuple[str, Callable[[LoadedRun, Path], Entry]]] = {
    "safetensors": (SAFETENSORS, _write_safetensors),
    "torch": (TORCH, _write_torch),
    "stablehlo": (PROGRAM, _write_program),
    "onnx": (ONNX, _write_onnx),
}
DEFAULT = ("safetensors", "torch", "stablehlo")  # what needs no further package

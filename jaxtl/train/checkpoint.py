"""Checkpoints by orbax: ``last`` to go on from, ``best`` to test and to keep. Each save is atomic.

Trees are stored flat, one array under one path such as ``params/stem/conv1/kernel``: nothing in the file depends on
the classes of flax or optax, and what is missing can be named. Beside the arrays lies their digest, and every restore
compares it: a flipped bit is an error, not another result.
"""

import contextlib
import dataclasses
import hashlib
import json
import os
import pathlib
import re
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from flax import serialization, traverse_util

from jaxtl.errors import UserError
from jaxtl.runtime.mesh import put
from jaxtl.runtime.processes import broadcast, broadcast_arrays, is_main_process, is_single_process, wait_for_all
from jaxtl.train.progress import Progress

_SEPARATOR = "/"
# By kind: how many are kept, and what orbax calls the arrays. The best before this one goes only after the next `last`
# is safe: if the process dies in between, the older `last` still finds the best that it remembers.
_KINDS = {"last": (1, "state"), "best": (2, "variables"), "frozen": (2, "variables")}


class Checkpoints:
    """The checkpoint folder of one run.

    All processes of a run call the methods together, with arrays that each of them has in full. Only the main process
    touches the folder, and arrays go through its memory: hosts need not share the folder, and any number of processes
    and devices can go on from what another number of them saved.

    Attributes:
      folder: holds ``last/<step>``, ``best/<epoch>`` and ``frozen/<phase>``.
    """

    def __init__(self, folder: pathlib.Path) -> None:
        self.folder = folder
        self._managers: dict[str, ocp.CheckpointManager] = {}
        if is_main_process():
            with _writing(folder):
                self._managers = {kind: _manager(folder / kind, keep) for kind, (keep, _) in _KINDS.items()}

    def save_last(self, step: int, tree: Any, progress: Progress) -> None:
        """Save where training stands.

        Args:
          step: optimiser steps done since the start of the run.
          tree: any pytree of arrays.
          progress: what the arrays cannot say: phase, epoch, history.

        Raises:
          UserError: if it cannot be written; the checkpoint before is left as it was.
        """
        if is_main_process() and self._managers["last"].latest_step() != step:
            self._save("last", step, tree, progress=dataclasses.asdict(progress))
        wait_for_all()

    def last_progress(self) -> Progress | None:
        """The ``progress`` of the last save, or ``None`` if there is none."""
        found = None
        if is_main_process() and (step := self._managers["last"].latest_step()) is not None:
            found = self._read("last", step, "progress")
        found = broadcast(found)
        with _reading(self.folder):  # the fields may be those of another version
            return None if found is None else Progress(**found)

    def save_frozen(self, phase: int, variables: Mapping[str, Any]) -> None:
        """Save what a phase leaves as it is, once: before its first ``save_last``, which holds the rest."""
        if is_main_process() and jax.tree.leaves(variables) and phase not in self._managers["frozen"].all_steps():
            self._save("frozen", phase, variables)
        wait_for_all()

    def save_best(self, epoch: int, variables: Mapping[str, Any]) -> None:
        """Save the variables of the best epoch so far; an epoch that was saved before is written again."""
        if is_main_process():
            with _writing(self.folder):
                # What a killed process left of this epoch or a later one: orbax would silently save nothing before it.
                for left in [step for step in self._managers["best"].all_steps() if step >= epoch]:
                    self._managers["best"].delete(left)
            self._save("best", epoch, variables)
        wait_for_all()

    def restore(self, kind: str, template: Any, step: int | None = None) -> Any:
        """A tree as it was saved, in all processes.

        Args:
          kind: ``"last"``, ``"best"`` or ``"frozen"``.
          template: has the structure, shapes, dtypes and shardings of the tree.
          step: that of ``save_last``, the epoch of ``save_best`` or the phase of ``save_frozen``; ``None``: the latest.

        Raises:
          UserError: if it is not there or damaged.
        """
        like = flatten(template)
        if not like:
            return template
        arrays = jax.tree.map(np.asarray, like)
        if is_main_process():
            step = self._managers[kind].latest_step() if step is None else step
            arrays = self._read(kind, step, _KINDS[kind][1], arrays)
        arrays = broadcast_arrays(arrays)
        return unflatten({path: put(arrays[path], leaf.sharding) for path, leaf in like.items()}, template)

    def close(self) -> None:
        """Release orbax's threads."""
        for manager in self._managers.values():
            manager.close()

    def _save(self, kind: str, step: int, tree: Any, **notes: Any) -> None:
        """Write arrays, notes of JSON values, and the digests of both."""
        _, item = _KINDS[kind]
        contents = {item: jax.tree.map(np.asarray, flatten(tree)), **notes}
        digests = {name: digest(content) for name, content in contents.items()}
        saves = {name: ocp.args.JsonSave(content) for name, content in {**notes, "digest": digests}.items()}
        arrays = ocp.args.StandardSave(contents[item])
        with _writing(self.folder):
            self._managers[kind].save(step, args=ocp.args.Composite(**{item: arrays}, **saves))
            self._managers[kind].wait_until_finished()

    def _read(self, kind: str, step: int | None, item: str, template: Mapping[str, np.ndarray] | None = None) -> Any:
        with _reading(self.folder):
            return _restored(self._managers[kind], self.folder / kind, step, item, template)


def read_best(folder: pathlib.Path, tested: str = "") -> dict[str, Any]:
    """The variables that a run kept, as numpy arrays in nested dictionaries.

    Args:
      folder: the ``checkpoints`` folder of a run.
      tested: the digest of the variables that the run tested, see ``weights_digest``; "": not known.

    Raises:
      UserError: if there is no such checkpoint, it is damaged, or it has other variables.
    """
    best = folder.absolute() / "best"
    if not any(best.glob("[0-9]*")):
        raise UserError(f"{folder} holds no best checkpoint; give the folder of a run that has finished.")
    options = ocp.CheckpointManagerOptions(create=False)
    handlers = {"variables": ocp.StandardCheckpointHandler(), "digest": ocp.JsonCheckpointHandler()}
    with _reading(folder), ocp.CheckpointManager(best, options=options, item_handlers=handlers) as manager:
        step = manager.latest_step()
        shapes = dict(manager.item_metadata(step)["variables"])
        # On the host: where the arrays go is the caller's choice, and the run may have had other devices.
        template = {path: np.empty(leaf.shape, leaf.dtype) for path, leaf in shapes.items()}
        found = _restored(manager, best, step, "variables", template)
        if tested and digest(found) != tested:
            raise ValueError(f"the variables of best/{step} are not those that the run tested")
    return traverse_util.unflatten_dict(found, sep=_SEPARATOR)


def flatten(tree: Any) -> dict[str, Any]:
    """A pytree as ``{path: array}``; empty nodes vanish."""
    return traverse_util.flatten_dict(serialization.to_state_dict(tree), sep=_SEPARATOR)


def unflatten(flat: Mapping[str, Any], template: Any) -> Any:
    """The inverse of ``flatten`` for a tree of the template's structure."""
    nested = serialization.to_state_dict(template)
    full = traverse_util.flatten_dict(nested, sep=_SEPARATOR, keep_empty_nodes=True)
    return serialization.from_state_dict(template, traverse_util.unflatten_dict({**full, **flat}, sep=_SEPARATOR))


def weights_digest(variables: Any) -> str:
    """The digest of variables, as arrays by their paths."""
    return digest(jax.tree.map(np.asarray, flatten(variables)))


def digest(content: Mapping[str, Any]) -> str:
    """SHA-256 of named numpy arrays (names, dtypes, shapes and bits) and JSON values, as hexadecimal digits."""
    found = hashlib.sha256()
    for name, value in sorted(content.items()):
        if isinstance(value, np.ndarray):
            found.update(f"{name} {value.dtype} {value.shape}".encode())
            found.update(np.ascontiguousarray(value).reshape(-1).view(np.uint8).data)
        else:
            found.update(f"{name} {json.dumps(value, sort_keys=True)}".encode())
    return found.hexdigest()


def _restored(
    manager: ocp.CheckpointManager,
    folder: pathlib.Path,
    step: int | None,
    item: str,
    template: Mapping[str, np.ndarray] | None = None,
) -> Any:
    """An item of a step, compared with its digest (older versions kept none) and, if it is arrays, with a template."""
    items: dict[str, Any] = {item: ocp.args.StandardRestore(template) if template else ocp.args.JsonRestore()}
    if (folder / str(step) / "digest").exists():
        items["digest"] = ocp.args.JsonRestore()
    found = manager.restore(step, args=ocp.args.Composite(**items))
    if "digest" in items and digest(found[item]) != found["digest"][item]:
        raise ValueError(f"the {item} of {folder.name}/{step} is not what was saved")
    for path, leaf in (template or {}).items():
        if found[item][path].shape != leaf.shape:
            raise ValueError(f"{path} has shape {found[item][path].shape} and not {leaf.shape}")
    return found[item]


def _manager(folder: pathlib.Path, keep: int) -> ocp.CheckpointManager:
    folder.mkdir(parents=True, exist_ok=True)
    options = ocp.CheckpointManagerOptions(
        max_to_keep=keep,
        create=False,
        enable_async_checkpointing=False,
        cleanup_tmp_directories=True,  # what a killed process left behind
        multiprocessing_options=ocp.options.MultiprocessingOptions(
            primary_host=0, active_processes=None if is_single_process() else {0}
        ),
    )
    return ocp.CheckpointManager(folder.absolute(), options=options)


@contextlib.contextmanager
def _writing(folder: pathlib.Path) -> Iterator[None]:
    """Say in one sentence that a checkpoint could not be written."""
    try:
        yield
    # Below orbax, tensorstore reports a full disk or a damaged file as ValueError or RuntimeError.
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise UserError(
            f"The checkpoint in {folder} cannot be written ({_reason(error)}); free some space or repair the folder "
            "and run the same command again: it goes on from the last good checkpoint."
        ) from error


@contextlib.contextmanager
def _reading(folder: pathlib.Path) -> Iterator[None]:
    """Say in one sentence that a checkpoint could not be read."""
    before = sys.unraisablehook

    def hook(unraisable: Any) -> None:
        # Arrays that are still being read complain to the event loop that the error of the first one has closed.
        if "Event loop is closed" not in str(unraisable.exc_value):
            before(unraisable)

    sys.unraisablehook = hook
    try:
        yield
        sys.unraisablehook = before
    except Exception as error:  # orbax itself raises nothing narrower for a truncated file
        raise UserError(
            f"The checkpoint in {folder} is damaged or does not belong to this run ({_reason(error)}); restore the "
            "folder from a copy, or remove the run folder and run the same command again: it trains from the start."
        ) from error


def _reason(error: Exception) -> str:
    code = re.search(r"os_error_code='(\d+)'", str(error))
    return os.strerror(int(code[1])) if code else " ".join(str(error).split())[:160]

"""Checkpoints by orbax: ``last`` to go on from, ``best`` to test and to keep. Each save is atomic.

Trees are stored flat, one array under one path such as ``params/stem/conv1/kernel``: nothing in the file depends on
the classes of flax or optax, and what is missing can be named.
"""

import contextlib
import os
import pathlib
import re
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from flax import serialization, traverse_util

from jaxtl.errors import UserError
from jaxtl.runtime.mesh import put
from jaxtl.runtime.processes import broadcast, broadcast_arrays, is_main_process, is_single_process, wait_for_all

Flat = dict[str, jax.Array]
_SEPARATOR = "/"


class Checkpoints:
    """The checkpoint folder of one run.

    All processes of a run call the methods together, with arrays that each of them has in full. Only the main process
    touches the folder, so hosts need not share it, and any number of processes and devices can go on from what another
    number of them saved.

    Attributes:
      folder: holds ``last/<step>``, ``best/<epoch>`` and ``frozen/<phase>``.
    """

    def __init__(self, folder: pathlib.Path) -> None:
        self.folder = folder
        if is_main_process():
            with _writing(folder):
                self._last = _manager(folder / "last", 1)
                # The best before this one goes only after the next `last` is safe: if the process dies in between, the
                # older `last` still finds the best that it remembers.
                self._best = _manager(folder / "best", 2)
                self._frozen = _manager(folder / "frozen", 2)

    def save_last(self, step: int, tree: Any, progress: Mapping[str, Any]) -> None:
        """Save where training stands.

        Args:
          step: optimiser steps done since the start of the run.
          tree: any pytree of arrays.
          progress: JSON values that say what the arrays cannot: phase, epoch, history.

        Raises:
          UserError: if it cannot be written; the checkpoint before is left as it was.
        """
        if is_main_process() and self._last.latest_step() != step:
            items = {"state": _saved(tree), "progress": ocp.args.JsonSave(dict(progress))}
            with _writing(self.folder):
                self._last.save(step, args=ocp.args.Composite(**items))
                self._last.wait_until_finished()
        wait_for_all()  # saved, or the run ends; and nobody waits in a program while a slow disk is written

    def last_progress(self) -> dict[str, Any] | None:
        """The ``progress`` of the last save, or ``None`` if there is none."""
        progress = None
        if is_main_process() and (step := self._last.latest_step()) is not None:
            with _reading(self.folder):
                items = self._last.restore(step, args=ocp.args.Composite(progress=ocp.args.JsonRestore()))
            progress = dict(items["progress"])
        told: dict[str, Any] | None = broadcast(progress)
        return told

    def restore_last(self, template: Any) -> Any:
        """The tree of the last save, with the structure, shapes, dtypes and shardings of ``template``."""
        return self._restored("last", None, "state", template)

    def save_frozen(self, phase: int, variables: Mapping[str, Any]) -> None:
        """Save what a phase leaves as it is, once: before its first ``save_last``, which holds the rest."""
        if is_main_process() and jax.tree.leaves(variables) and phase not in self._frozen.all_steps():
            with _writing(self.folder):
                self._frozen.save(phase, args=ocp.args.Composite(variables=_saved(variables)))
                self._frozen.wait_until_finished()
        wait_for_all()

    def restore_frozen(self, phase: int, template: Any) -> Any:
        """What ``save_frozen`` kept of a phase, shaped as ``template``."""
        return self._restored("frozen", phase, "variables", template) if jax.tree.leaves(template) else template

    def save_best(self, epoch: int, variables: Mapping[str, Any]) -> None:
        """Save the variables of the best epoch so far; an epoch that was saved before is written again."""
        if is_main_process():
            with _writing(self.folder):
                # What a killed process left of this epoch or a later one: orbax would silently save nothing before it.
                for left in [step for step in self._best.all_steps() if step >= epoch]:
                    self._best.delete(left)
                self._best.save(epoch, args=ocp.args.Composite(variables=_saved(variables)))
                self._best.wait_until_finished()
        wait_for_all()

    def restore_best(self, epoch: int, template: Any) -> Any:
        """The variables of an epoch that ``save_best`` kept, shaped as ``template``."""
        return self._restored("best", epoch, "variables", template)

    def _restored(self, kind: str, step: int | None, item: str, template: Any) -> Any:
        """What the main process reads of a save (``None``: the latest), in all processes, placed as the template is."""
        shaped = template if is_single_process() else jax.tree.map(np.asarray, template)
        tree = shaped
        if is_main_process():
            manager = {"last": self._last, "best": self._best, "frozen": self._frozen}[kind]
            step = manager.latest_step() if step is None else step
            restore = ocp.args.StandardRestore(jax.tree.map(_abstract, flatten(shaped)))
            with _reading(self.folder):
                items = manager.restore(step, args=ocp.args.Composite(**{item: restore}))
            tree = unflatten(items[item], shaped)
        if is_single_process():
            return tree
        return jax.tree.map(lambda leaf, like: put(leaf, like.sharding), broadcast_arrays(tree), template)

    def close(self) -> None:
        """Release orbax's threads."""
        if is_main_process():
            for manager in (self._last, self._best, self._frozen):
                manager.close()


def read_best(folder: pathlib.Path) -> dict[str, Any]:
    """The variables that a run kept, as numpy arrays in nested dictionaries.

    Args:
      folder: the ``checkpoints`` folder of a run.

    Raises:
      UserError: if there is no such checkpoint.
    """
    best = folder.absolute() / "best"
    if not any(best.glob("[0-9]*")):
        raise UserError(f"{folder} holds no best checkpoint; give the folder of a run that has finished.")
    options = ocp.CheckpointManagerOptions(create=False)
    handler = {"variables": ocp.StandardCheckpointHandler()}  # what lets a reader see shapes before it restores
    with _reading(folder), ocp.CheckpointManager(best, options=options, item_handlers=handler) as manager:
        step = manager.latest_step()
        tree = manager.item_metadata(step)["variables"]
        # On the host: where the arrays go is the caller's choice, and the run may have had other devices.
        abstract = {path: np.empty(leaf.shape, leaf.dtype) for path, leaf in dict(tree).items()}
        items = manager.restore(step, args=ocp.args.Composite(variables=ocp.args.StandardRestore(abstract)))
        flat = items["variables"]
    return traverse_util.unflatten_dict(flat, sep=_SEPARATOR)


def flatten(tree: Any) -> Flat:
    """A pytree as ``{path: array}``; empty nodes vanish."""
    return traverse_util.flatten_dict(serialization.to_state_dict(tree), sep=_SEPARATOR)


def unflatten(flat: Mapping[str, Any], template: Any) -> Any:
    """The inverse of ``flatten`` for a tree of the template's structure."""
    nested = serialization.to_state_dict(template)
    full = traverse_util.flatten_dict(nested, sep=_SEPARATOR, keep_empty_nodes=True)
    return serialization.from_state_dict(template, traverse_util.unflatten_dict({**full, **flat}, sep=_SEPARATOR))


def _abstract(leaf: Any) -> Any:
    """A leaf to restore, as orbax takes it: a numpy array, as without a sharding it would ask for the saved one."""
    return leaf if isinstance(leaf, np.ndarray) else ocp.utils.to_shape_dtype_struct(leaf)


def _saved(tree: Any) -> ocp.args.StandardSave:
    """How orbax is to save a tree: of several processes, one alone writes, from its own memory."""
    return ocp.args.StandardSave(flatten(tree if is_single_process() else jax.tree.map(np.asarray, tree)))


def _manager(folder: pathlib.Path, keep: int) -> ocp.CheckpointManager:
    folder.mkdir(parents=True, exist_ok=True)
    options = ocp.CheckpointManagerOptions(
        max_to_keep=keep,
        create=False,
        enable_async_checkpointing=False,
        cleanup_tmp_directories=True,  # what a killed process left behind
        multiprocessing_options=ocp.options.MultiprocessingOptions(
            active_processes=None if is_single_process() else {0}
        ),
    )
    return ocp.CheckpointManager(folder.absolute(), options=options)


@contextlib.contextmanager
def _writing(folder: pathlib.Path) -> Iterator[None]:
    """Say in one sentence that a checkpoint could not be written."""
    try:
        yield
    except _FAULTS as error:
        raise UserError(
            f"The checkpoint in {folder} cannot be written ({_reason(error)}); free some space or repair the folder "
            "and run the same command again: it goes on from the last good checkpoint."
        ) from error


@contextlib.contextmanager
def _reading(folder: pathlib.Path) -> Iterator[None]:
    """Say in one sentence that a checkpoint could not be read."""
    try:
        yield
    except _FAULTS as error:
        raise UserError(
            f"The checkpoint in {folder} is damaged or does not belong to this run ({_reason(error)}); restore the "
            "folder from a copy, or remove the work folder to start over."
        ) from error


# Below orbax, tensorstore reports a full disk or a damaged file as ValueError or RuntimeError with its own long text.
_FAULTS = (OSError, ValueError, KeyError, RuntimeError)


def _reason(error: Exception) -> str:
    code = re.search(r"os_error_code='(\d+)'", str(error))
    return os.strerror(int(code[1])) if code else " ".join(str(error).split())[:160]

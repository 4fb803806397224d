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

Flat = dict[str, jax.Array]
_SEPARATOR = "/"


class Checkpoints:
    """The checkpoint folder of one run.

    Attributes:
      folder: holds ``last/<step>``, ``best/<epoch>`` and ``frozen/<phase>``.

    Args:
      folder: see above.
      one_process: of several, this one alone saves and restores; arrays are then numpy arrays.
    """

    def __init__(self, folder: pathlib.Path, *, one_process: int | None = None) -> None:
        self.folder = folder
        with _writing(folder):
            self._last = _manager(folder / "last", 1, one_process)
            # The best before this one goes only after the next `last` is safe: if the process dies in between, the
            # older `last` still finds the best that it remembers.
            self._best = _manager(folder / "best", 2, one_process)
            self._frozen = _manager(folder / "frozen", 2, one_process)

    def save_last(self, step: int, tree: Any, progress: Mapping[str, Any]) -> None:
        """Save where training stands.

        Args:
          step: optimiser steps done since the start of the run.
          tree: any pytree of arrays.
          progress: JSON values that say what the arrays cannot: phase, epoch, history.

        Raises:
          UserError: if it cannot be written; the checkpoint before is left as it was.
        """
        if self._last.latest_step() == step:
            return
        items = ocp.args.Composite(
            state=ocp.args.StandardSave(flatten(tree)), progress=ocp.args.JsonSave(dict(progress))
        )
        with _writing(self.folder):
            self._last.save(step, args=items)
            self._last.wait_until_finished()

    def last_progress(self) -> dict[str, Any] | None:
        """The ``progress`` of the last save, or ``None`` if there is none."""
        step = self._last.latest_step()
        if step is None:
            return None
        with _reading(self.folder):
            items = self._last.restore(step, args=ocp.args.Composite(progress=ocp.args.JsonRestore()))
        return dict(items["progress"])

    def restore_last(self, template: Any) -> Any:
        """The tree of the last save, with the structure, shapes, dtypes and shardings of ``template``."""
        step = self._last.latest_step()
        abstract = jax.tree.map(_abstract, flatten(template))
        with _reading(self.folder):
            items = self._last.restore(step, args=ocp.args.Composite(state=ocp.args.StandardRestore(abstract)))
        return unflatten(items["state"], template)

    def save_frozen(self, phase: int, variables: Mapping[str, Any]) -> None:
        """Save what a phase leaves as it is, once: before its first ``save_last``, which holds the rest."""
        if not jax.tree.leaves(variables) or phase in self._frozen.all_steps():
            return
        with _writing(self.folder):
            self._frozen.save(phase, args=ocp.args.Composite(variables=ocp.args.StandardSave(flatten(variables))))
            self._frozen.wait_until_finished()

    def restore_frozen(self, phase: int, template: Any) -> Any:
        """What ``save_frozen`` kept of a phase, shaped as ``template``."""
        return self._restore_variables(self._frozen, phase, template) if jax.tree.leaves(template) else template

    def save_best(self, epoch: int, variables: Mapping[str, Any]) -> None:
        """Save the variables of the best epoch so far; an epoch that was saved before is written anew."""
        with _writing(self.folder):
            # What a killed process left of this epoch or a later one: orbax would silently save nothing before it.
            for left in [step for step in self._best.all_steps() if step >= epoch]:
                self._best.delete(left)
            self._best.save(epoch, args=ocp.args.Composite(variables=ocp.args.StandardSave(flatten(variables))))
            self._best.wait_until_finished()

    def restore_best(self, epoch: int, template: Any) -> Any:
        """The variables of an epoch that ``save_best`` kept, shaped as ``template``."""
        return self._restore_variables(self._best, epoch, template)

    def _restore_variables(self, manager: ocp.CheckpointManager, step: int, template: Any) -> Any:
        abstract = jax.tree.map(_abstract, flatten(template))
        with _reading(self.folder):
            items = manager.restore(step, args=ocp.args.Composite(variables=ocp.args.StandardRestore(abstract)))
        return unflatten(items["variables"], template)

    def close(self) -> None:
        """Release orbax's threads."""
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


def _manager(folder: pathlib.Path, keep: int, one_process: int | None) -> ocp.CheckpointManager:
    folder.mkdir(parents=True, exist_ok=True)
    active = None if one_process is None else {one_process}
    options = ocp.CheckpointManagerOptions(
        max_to_keep=keep,
        create=False,
        enable_async_checkpointing=False,
        cleanup_tmp_directories=True,  # what a killed process left behind
        multiprocessing_options=ocp.options.MultiprocessingOptions(
            primary_host=one_process or 0, active_processes=active
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
            f"The checkpoint in {folder} cannot be written ({_reason(error)}); free some space or mend the folder and "
            "run the same command again: it goes on from the last good checkpoint."
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

"""The checkpoints of a run of several processes: the first one keeps them, the others are told what was restored."""

import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from jaxtl.runtime.mesh import put
from jaxtl.runtime.processes import alone, arrays_from_first, first, from_first
from jaxtl.train.checkpoint import Checkpoints


def open_checkpoints(folder: pathlib.Path) -> Checkpoints:
    """The checkpoints of the run that this process computes, alone or with others."""
    return Checkpoints(folder) if alone() else SharedCheckpoints(folder)


class SharedCheckpoints(Checkpoints):
    """`Checkpoints`, whose methods all processes call together, with arrays that each of them has in full.

    Only the first process touches the folder. Arrays go through its memory, so that any number of processes and devices
    can go on from what another number of them saved.
    """

    def __init__(self, folder: pathlib.Path) -> None:
        self.folder = folder
        if first():
            super().__init__(folder, one_process=0)

    def save_last(self, step: int, tree: Any, progress: Mapping[str, Any]) -> None:  # noqa: D102
        if first():
            super().save_last(step, _on_host(tree), progress)
        from_first(None)  # saved, or the run ends; and nobody waits in a collective while a slow disk is written

    def last_progress(self) -> dict[str, Any] | None:  # noqa: D102
        told: dict[str, Any] | None = from_first(super().last_progress() if first() else None)
        return told

    def restore_last(self, template: Any) -> Any:  # noqa: D102
        return _restored(template, super().restore_last)

    def save_frozen(self, phase: int, variables: Mapping[str, Any]) -> None:  # noqa: D102
        if first():
            super().save_frozen(phase, _on_host(variables))
        from_first(None)

    def restore_frozen(self, phase: int, template: Any) -> Any:  # noqa: D102
        return _restored(template, lambda shaped: super(SharedCheckpoints, self).restore_frozen(phase, shaped))

    def save_best(self, epoch: int, variables: Mapping[str, Any]) -> None:  # noqa: D102
        if first():
            super().save_best(epoch, _on_host(variables))
        from_first(None)

    def restore_best(self, epoch: int, template: Any) -> Any:  # noqa: D102
        return _restored(template, lambda shaped: super(SharedCheckpoints, self).restore_best(epoch, shaped))

    def close(self) -> None:  # noqa: D102
        if first():
            super().close()


def _on_host(tree: Any) -> Any:
    return jax.tree.map(np.asarray, tree)


def _restored(template: Any, read: Callable[[Any], Any]) -> Any:
    """What the first process reads, in all of them, placed as the template is."""
    shaped = _on_host(template)
    told = arrays_from_first(read(shaped) if first() else shaped)
    return jax.tree.map(lambda leaf, like: put(leaf, like.sharding), told, template)

"""The variables of a phase while they train, and the program that moves them."""

import dataclasses
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxtl.runtime.mesh import put, replicated
from jaxtl.runtime.processes import wait_for_all
from jaxtl.train.examples import Batch, loss_weights
from jaxtl.train.metrics import empty_metrics
from jaxtl.train.optimizer import make_optimizer
from jaxtl.train.state import TrainState, init_state
from jaxtl.train.step import make_train_step
from jaxtl.train.task import Inputs, Task
from jaxtl.transfer.partition import Variables, layer_depths, merge_variables, split_variables
from jaxtl.transfer.phases import stages_in_training_mode, trained_stages


class Stepper:
    """Trains the variables of a phase, batch by batch.

    Args:
      task: model, plan, images and devices.
      index: position of the phase in the plan.
      variables: ``params`` and ``batch_stats`` to start from, on the devices; they stay as they are.
      schedule: learning rate by step.

    Attributes:
      state: what moves, with the sums over the batches since ``take_metrics``.
      frozen: the variables that do not.
      program: the compiled step, ``None`` before ``compile``.
    """

    def __init__(self, task: Task, index: int, variables: Mapping[str, Any], schedule: optax.Schedule) -> None:
        self._task, self._phase, stages = task, task.plan[index], task.model.stage_names
        depths = layer_depths(variables["params"], stages)
        self._optimizer = make_optimizer(self._phase, schedule, steps_per_epoch=task.steps_per_epoch, depths=depths)
        self._in_training = stages_in_training_mode(self._phase, stages, variables["batch_stats"])
        trained = trained_stages(self._phase, stages)
        moving, self.frozen = split_variables(variables, trained=trained, in_training=self._in_training)
        self._num_classes, self._everywhere = task.train.num_classes, replicated(task.mesh)
        first = moving["params"], moving["batch_stats"], self._optimizer, self._num_classes, self._everywhere
        self.state = init_state(*first, averaged=self._phase.ema > 0)
        self._key = jax.random.fold_in(jax.random.key(task.seed), index)
        self.program: Callable[..., TrainState] | None = None

    def compile(self, inputs: Inputs, batch: Batch) -> float:
        """Compile the step for batches like this one, ahead of time, so that it is timed by itself; in seconds."""
        start = time.perf_counter()
        jitted = make_train_step(
            self._task.model,
            self._optimizer,
            inputs.transform,
            inputs.mix,
            train=self._in_training,
            label_smoothing=self._phase.label_smoothing,
            class_weights=loss_weights(self._phase.class_weights, self._task.train),
            ema=self._phase.ema,
            method=inputs.method,
            mesh=self._task.mesh,
        )
        # A step on features reads no frozen variables.
        self._still: Variables = {"params": {}, "batch_stats": {}} if inputs.kept else self.frozen
        self.program = jitted.lower(*self._arguments(batch)).compile()
        seconds = time.perf_counter() - start
        wait_for_all()
        return seconds

    def step(self, batch: Batch) -> None:
        """Train on a batch; the device may still be busy with it afterwards."""
        assert self.program is not None
        self.state = self.program(*self._arguments(batch))

    def _arguments(self, batch: Batch) -> tuple[Any, ...]:
        inputs, labels, order, _ = batch
        return self.state, self._still, inputs, labels, order, self._key

    def take_metrics(self) -> dict[str, Any]:
        """What was measured since the last time: ``loss`` and ``confusion``."""
        measured: dict[str, Any] = self.state.metrics.compute()
        no_sums = put(empty_metrics(self._num_classes), self._everywhere)
        self.state = dataclasses.replace(self.state, metrics=no_sums)
        return measured

    def variables(self, *, keep: bool = False) -> Variables:
        """All variables as they are now, averaged where the phase averages them.

        To ``keep`` them takes a copy of what the next step donates.
        """
        moving = self.state.average or {"params": self.state.trained, "batch_stats": self.state.batch_stats}
        return merge_variables(jax.tree.map(jnp.copy, moving) if keep else moving, self.frozen)

    def loss_is_finite(self) -> bool:
        """Whether the losses since ``take_metrics`` are numbers; waits for the device."""
        return bool(np.isfinite(float(self.state.metrics.loss.total)))

    def weights_are_finite(self) -> bool:
        """Whether the trained weights are numbers: only they show what the last update did."""
        return bool(_all_finite(self.state.trained))


@jax.jit
def _all_finite(tree: Any) -> jax.Array:
    return jnp.array([jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(tree)], bool).all()

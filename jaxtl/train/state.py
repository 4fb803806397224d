"""The state that a train step passes on to the next one, and the first state of a phase."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import flax
import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from jaxtl.models.classifier import Classifier
from jaxtl.runtime.mesh import replicated
from jaxtl.train.metrics import Metrics, empty_metrics
from jaxtl.train.optimizer import make_optimizer
from jaxtl.transfer.partition import Variables, split_variables
from jaxtl.transfer.phases import Phase, stages_in_training_mode, trained_stages


@flax.struct.dataclass
class TrainState:
    """The moving part of a phase; frozen variables stand beside it and never move.

    Attributes:
      step: int32 scalar, optimiser steps done in this phase.
      trained: parameters of the trained stages.
      batch_stats: running statistics of the stages in training mode; the others stand beside the state too.
      opt_state: state of the optimiser for ``trained`` alone.
      metrics: sums over the current epoch.
    """

    step: jax.Array
    trained: dict[str, Any]
    batch_stats: dict[str, Any]
    opt_state: optax.OptState
    metrics: Metrics


class PhaseStart(NamedTuple):
    """A phase before its first step.

    Attributes:
      optimizer: of the trained parameters.
      in_training: the stages in training mode.
      state: what the step moves.
      frozen: the variables that it does not.
    """

    optimizer: optax.GradientTransformation
    in_training: tuple[str, ...]
    state: TrainState
    frozen: Variables


def init_state(
    trained: dict[str, Any], batch_stats: dict[str, Any], optimizer: optax.GradientTransformation, num_classes: int
) -> TrainState:
    """The state before the first step of a phase."""
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        trained=trained,
        batch_stats=batch_stats,
        opt_state=optimizer.init(trained),
        metrics=empty_metrics(num_classes),
    )


def start_phase(
    model: Classifier,
    variables: Mapping[str, Any],
    phase: Phase,
    schedule: optax.Schedule,
    *,
    num_classes: int,
    mesh: Mesh,
) -> PhaseStart:
    """Split the variables as a phase says, and make its optimiser and first state.

    Args:
      model: the classifier.
      variables: ``params`` and ``batch_stats``; the state holds copies, which a step may donate.
      phase: the recipe.
      schedule: learning rate by step.
      num_classes: K, of the metrics.
      mesh: devices that hold the state.
    """
    optimizer = make_optimizer(phase, schedule)
    in_training = stages_in_training_mode(phase, model.stage_names, variables["batch_stats"])
    trained = trained_stages(phase, model.stage_names)
    moving, frozen = split_variables(variables, trained=trained, in_training=in_training)

    def first_state(params: dict[str, Any], batch_stats: dict[str, Any]) -> TrainState:
        return jax.tree.map(jnp.copy, init_state(params, batch_stats, optimizer, num_classes))

    # One program instead of one for each shape of the optimiser's zeros.
    state = jax.jit(first_state, out_shardings=replicated(mesh))(**moving)
    return PhaseStart(optimizer, in_training, state, frozen)

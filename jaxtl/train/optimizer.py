"""From the numbers of a recipe to an optax chain."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import optax

from jaxtl.errors import UserError

OPTIMIZERS = ("adam", "adamax", "adamw", "sgd")
SCHEDULES = ("constant", "step", "cosine")


def make_schedule(
    name: str,
    learning_rate: float,
    *,
    epochs: int,
    steps_per_epoch: int,
    warmup_epochs: float = 0.0,
    step_epochs: int = 5,
    step_factor: float = 0.1,
) -> optax.Schedule:
    """The learning rate as a function of the step.

    Args:
      name: ``constant``; ``step``, which multiplies by ``step_factor`` every ``step_epochs`` epochs (PyTorch's
        ``StepLR``); ``cosine``, which falls to zero at the end (Loshchilov & Hutter 2017, without restarts).
      learning_rate: the rate after the warm-up.
      epochs: length of the phase.
      steps_per_epoch: optimiser steps an epoch.
      warmup_epochs: linear rise from zero, part of ``epochs``; may be a fraction.
      step_epochs: distance of the steps of ``step``, counted from the start of the phase.
      step_factor: what ``step`` multiplies by.

    Raises:
      UserError: for an unknown name.
    """
    total = epochs * steps_per_epoch
    warmup = round(warmup_epochs * steps_per_epoch)
    if name == "constant":
        main = optax.constant_schedule(learning_rate)
    elif name == "step":
        # join_schedules counts from the end of the warm-up, StepLR from the start of training.
        decay = optax.exponential_decay(learning_rate, step_epochs * steps_per_epoch, step_factor, staircase=True)

        def main(step: jax.Array) -> jax.Array:
            return decay(step + warmup)

    elif name == "cosine":
        main = optax.cosine_decay_schedule(learning_rate, max(total - warmup, 1))
    else:
        raise UserError(f"There is no schedule {name!r}; there are: {', '.join(SCHEDULES)}.")
    if not warmup:
        return main
    return optax.join_schedules([optax.linear_schedule(0.0, learning_rate, warmup), main], [warmup])


def make_optimizer(
    name: str,
    schedule: optax.Schedule,
    *,
    momentum: float = 0.9,
    nesterov: bool = False,
    weight_decay: float = 0.0,
    clip_norm: float = 0.0,
    multipliers: Mapping[str, float] | None = None,
) -> optax.GradientTransformation:
    """The optimiser of a phase.

    Args:
      name: ``adam``, ``adamax`` (Kingma & Ba 2015), ``adamw`` (Loshchilov & Hutter 2019) or ``sgd``; betas and
        epsilon are PyTorch's defaults (0.9, 0.999, 1e-8).
      schedule: learning rate by step.
      momentum: of ``sgd``; 0 keeps no trace.
      nesterov: Nesterov's form of the momentum.
      weight_decay: decoupled for ``adamw``, else L2 added to the gradient as PyTorch does. It falls on arrays of two
        axes and more: biases and the scales of batch norm do not decay.
      clip_norm: gradients with a larger global norm are scaled down to it; 0 switches that off.
      multipliers: by stage (top-level key of the parameters), what its learning rate is multiplied by; 1 where a
        stage is not named. The whole update is scaled, decoupled decay with it, as by a rate of a parameter group.

    Raises:
      UserError: for an unknown name.
    """
    parts: list[optax.GradientTransformation] = []
    if clip_norm:
        parts.append(optax.clip_by_global_norm(clip_norm))
    if weight_decay and name != "adamw":
        parts.append(optax.add_decayed_weights(weight_decay, mask=_kernels))
    if name == "adam":
        parts.append(optax.adam(schedule))
    elif name == "adamax":
        parts.append(optax.adamax(schedule))
    elif name == "adamw":
        parts.append(optax.adamw(schedule, weight_decay=weight_decay, mask=_kernels))
    elif name == "sgd":
        parts.append(optax.sgd(schedule, momentum=momentum or None, nesterov=nesterov))
    else:
        raise UserError(f"There is no optimizer {name!r}; there are: {', '.join(OPTIMIZERS)}.")
    if multipliers:
        parts.append(_scale_stages(multipliers))
    return optax.chain(*parts)


def _scale_stages(multipliers: Mapping[str, float]) -> optax.GradientTransformation:
    def scale(updates: optax.Updates, params: optax.Params | None) -> optax.Updates:
        del params
        factors = {stage: multipliers.get(stage, 1.0) for stage in updates}
        return {
            stage: jax.tree.map(lambda leaf, factor=factors[stage]: leaf * factor, tree)
            for stage, tree in updates.items()
        }

    return optax.stateless(scale)


def _kernels(params: optax.Params) -> optax.Params:
    """Which leaves decay."""
    return jax.tree.map(lambda leaf: jnp.ndim(leaf) > 1, params)

"""From the numbers of a recipe to an optax chain."""

from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxtl.errors import UserError

OPTIMIZERS = ("adam", "adamax", "adamw", "sgd")
SCHEDULES = ("constant", "step", "cosine", "linear")


def make_schedule(
    name: str,
    learning_rate: float,
    *,
    epochs: int,
    steps_per_epoch: int,
    warmup_epochs: float = 0.0,
    warmup_factor: float = 0.0,
    step_epochs: int = 5,
    step_factor: float = 0.1,
    final_factor: float = 0.0,
) -> optax.Schedule:
    """The learning rate as a function of the step.

    Args:
      name: ``constant``; ``step``, which multiplies by ``step_factor`` every ``step_epochs`` epochs (PyTorch's
        ``StepLR``); ``cosine`` (Loshchilov & Hutter 2017, without restarts) and ``linear``, which fall to
        ``final_factor`` times the rate at the end.
      learning_rate: the rate after the warm-up.
      epochs: length of the phase.
      steps_per_epoch: optimiser steps an epoch.
      warmup_epochs: linear rise, part of ``epochs``; may be a fraction.
      warmup_factor: share of the rate that it begins with.
      step_epochs: distance of the steps of ``step``, counted from the start of the phase.
      step_factor: what ``step`` multiplies by.
      final_factor: share of the rate that ``cosine`` and ``linear`` end with.

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
        main = optax.cosine_decay_schedule(learning_rate, max(total - warmup, 1), final_factor)
    elif name == "linear":
        main = optax.linear_schedule(learning_rate, final_factor * learning_rate, max(total - warmup, 1))
    else:
        raise UserError(f"There is no schedule {name!r}; there are: {', '.join(SCHEDULES)}.")
    if not warmup:
        return main
    return optax.join_schedules(
        [optax.linear_schedule(warmup_factor * learning_rate, learning_rate, warmup), main], [warmup]
    )


def make_optimizer(
    name: str,
    schedule: optax.Schedule,
    *,
    momentum: float = 0.9,
    nesterov: bool = False,
    weight_decay: float = 0.0,
    clip_norm: float = 0.0,
    multipliers: Mapping[str, float] | None = None,
    bias_multiplier: float = 1.0,
    lookahead: int = 0,
    total_steps: int = 0,
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
      bias_multiplier: likewise for all arrays of one axis: biases, and the scales of batch norm.
      lookahead: after so many steps, and after the last, the parameters go back to a slow mean of themselves; 0
        switches that off. See ``_lookahead``.
      total_steps: steps in all, which ``lookahead`` needs: at least as many as its own.

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
    if bias_multiplier != 1:
        parts.append(_scale_biases(bias_multiplier))
    if lookahead:
        if total_steps < lookahead:
            raise UserError(
                f"lookahead={lookahead} takes the mean of the weights every {lookahead} steps, but there are "
                f"{total_steps} steps in all, so that nothing would be learned; choose fewer."
            )
        parts.append(_lookahead(lookahead, total_steps))
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


def _scale_biases(factor: float) -> optax.GradientTransformation:
    def scale(updates: optax.Updates, params: optax.Params | None) -> optax.Updates:
        del params
        return jax.tree.map(lambda leaf: leaf * factor if jnp.ndim(leaf) == 1 else leaf, updates)

    return optax.stateless(scale)


class _Slow(NamedTuple):
    step: jax.Array
    params: optax.Params


def _lookahead(every: int, total: int) -> optax.GradientTransformation:
    """Every so many steps the parameters become their slow mean, ``slow = decay * slow + (1 - decay) * parameters``.

    Zhang et al. 2019, https://arxiv.org/abs/1907.08610, with the decay of cifar10-airbench, which rises as the cube of
    the steps done to 0.95 ** 5 at the end: at first next to nothing is held back. Steps after the last full period are
    dropped: the end is the slow mean.
    """

    def init(params: optax.Params) -> _Slow:
        return _Slow(jnp.zeros((), jnp.int32), jax.tree.map(jnp.copy, params))

    def update(updates: optax.Updates, state: _Slow, params: optax.Params | None) -> tuple[optax.Updates, _Slow]:
        step = state.step + 1
        full = step % every == 0
        due = full | (step == total)
        decay = jnp.where(full, 0.95**5 * (step / total) ** 3, 1.0)
        moved = optax.apply_updates(params, updates)
        slow = jax.tree.map(
            lambda mean, new: jnp.where(due, decay * mean + (1 - decay) * new, mean), state.params, moved
        )
        back = jax.tree.map(lambda change, mean, old: jnp.where(due, mean - old, change), updates, slow, params)
        return back, _Slow(step, slow)

    return optax.GradientTransformation(init, update)


def _kernels(params: optax.Params) -> optax.Params:
    """Which leaves decay."""
    return jax.tree.map(lambda leaf: jnp.ndim(leaf) > 1, params)

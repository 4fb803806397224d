"""From the recipe of a phase to an optax chain."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.typing import ArrayLike

from jaxtl.transfer.phases import Phase


def make_schedule(phase: Phase, steps_per_epoch: int) -> optax.Schedule:
    """The learning rate as a function of the step, counted from the start of the phase.

    ``step`` is PyTorch's ``StepLR``, ``cosine`` that of Loshchilov & Hutter 2017 without restarts; a warm-up is a part
    of the phase's epochs. ``onecycle`` is ``optax.cosine_onecycle_schedule`` (Smith & Topin 2017,
    https://arxiv.org/abs/1708.07120): half a cosine up from 1/25 of the rate, and half a cosine down to 1/250,000 of
    it. These are the numbers of PyTorch's ``OneCycleLR``, but the momentum stays as it is.
    """
    rate = phase.learning_rate
    warmup, steps = round(phase.warmup_epochs * steps_per_epoch), phase.epochs * steps_per_epoch
    rest = max(steps - warmup, 1)
    rise = max(warmup or round(0.3 * steps), 1)
    decay = optax.exponential_decay(rate, phase.step_epochs * steps_per_epoch, phase.step_factor, staircase=True)
    schedules = {
        "constant": optax.constant_schedule(rate),
        "step": lambda step: decay(step + warmup),  # join_schedules counts from the end of the warm-up
        "cosine": optax.cosine_decay_schedule(rate, rest, phase.final_factor),
        "linear": optax.linear_schedule(rate, phase.final_factor * rate, rest),
        # Half a step more, as optax rounds the length of the rise down.
        "onecycle": optax.cosine_onecycle_schedule(steps, rate, pct_start=(rise + 0.5) / steps),
    }
    main = schedules[phase.schedule]
    if not warmup or phase.schedule == "onecycle":
        return main
    return optax.join_schedules([optax.linear_schedule(0.0, rate, warmup), main], [warmup])


def learning_rates(phase: Phase, steps_per_epoch: int) -> np.ndarray:
    """The learning rate of every step of a phase, for a chart: float32 ``[epochs * steps_per_epoch]``.

    >>> learning_rates(Phase(epochs=2, schedule="linear", learning_rate=1.0), 2).tolist()
    [1.0, 0.75, 0.5, 0.25]
    """
    schedule = make_schedule(phase, steps_per_epoch)
    steps = jnp.arange(phase.epochs * steps_per_epoch)
    return np.asarray(jax.vmap(lambda step: jnp.asarray(schedule(step), jnp.float32))(steps))


def make_optimizer(
    phase: Phase,
    schedule: optax.Schedule,
    *,
    steps_per_epoch: int = 0,
    depths: Mapping[str, Mapping[str, int]] = MappingProxyType({}),
) -> optax.GradientTransformation:
    """The optimiser of a phase: adam, adamax (Kingma & Ba 2015), adamw (Loshchilov & Hutter 2019) or sgd.

    Betas and epsilon are PyTorch's defaults (0.9, 0.999, 1e-8). Clipping comes first, as there. Weight decay is
    decoupled for ``adamw``, else L2 added to the gradient, and falls on arrays of two axes and more: biases and the
    scales of batch norm do not decay. Multipliers scale the whole update of a stage, decoupled decay with it, as the
    rate of a parameter group does; so does ``layer_decay ** depth``, as in ELECTRA (Clark et al. 2020,
    https://arxiv.org/abs/2003.10555) and BEiT.

    Args:
      phase: the recipe.
      schedule: learning rate by step; it takes the place of the recipe's own. An update of several accumulated steps
        has the rate of the first.
      steps_per_epoch: where accumulation begins again; 0: never.
      depths: by stage and layer, for ``layer_decay``, see ``jaxtl.transfer.partition.layer_depths``.
    """
    every = phase.accumulate
    if every == 1:
        return _update_rule(phase, schedule, depths)
    steps = steps_per_epoch or every
    updates = -(-steps // every)  # of an epoch, the last of the steps that are left

    def by_update(update: Any) -> ArrayLike:
        return schedule(update // updates * steps + update % updates * every)

    def length(update: Any) -> jax.Array:
        return jnp.minimum(every, steps - update % updates * every)

    return optax.MultiSteps(_update_rule(phase, by_update, depths), length).gradient_transformation()


def _update_rule(
    phase: Phase, schedule: optax.Schedule, depths: Mapping[str, Mapping[str, int]]
) -> optax.GradientTransformation:
    """The chain from a gradient to an update."""
    decay = phase.weight_decay
    optimizers = {
        "adam": lambda: optax.adam(schedule),
        "adamax": lambda: optax.adamax(schedule),
        "adamw": lambda: optax.adamw(schedule, weight_decay=decay, mask=_kernels),
        "sgd": lambda: optax.sgd(schedule, momentum=phase.momentum or None, nesterov=phase.nesterov),
    }
    parts: list[optax.GradientTransformation] = []
    if phase.clip_norm:
        parts.append(optax.clip_by_global_norm(phase.clip_norm))
    if decay and phase.optimizer != "adamw":
        parts.append(optax.add_decayed_weights(decay, mask=_kernels))
    parts.append(optimizers[phase.optimizer]())
    if phase.multipliers or phase.layer_decay < 1:
        parts.append(_scale_layers(phase, depths))
    return optax.chain(*parts)


def _scale_layers(phase: Phase, depths: Mapping[str, Mapping[str, int]]) -> optax.GradientTransformation:
    def factor(stage: str, layer: str) -> float:
        depth = depths.get(stage, {}).get(layer, 0)
        return float(phase.multipliers.get(stage, 1.0) * phase.layer_decay**depth)

    def scale(updates: optax.Updates, params: optax.Params | None) -> optax.Updates:
        del params
        return {
            stage: {layer: optax.tree.scale(factor(stage, layer), tree) for layer, tree in layers.items()}
            for stage, layers in updates.items()
        }

    return optax.stateless(scale)


def _kernels(params: optax.Params) -> optax.Params:
    """Which leaves decay."""
    return jax.tree.map(lambda leaf: jnp.ndim(leaf) > 1, params)

"""From the recipe of a phase to an optax chain."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxtl.errors import UserError, nearest
from jaxtl.transfer.phases import Phase


def make_schedule(phase: Phase, steps_per_epoch: int) -> optax.Schedule:
    """The learning rate as a function of the step, counted from the start of the phase.

    ``step`` is PyTorch's ``StepLR``, ``cosine`` that of Loshchilov & Hutter 2017 without restarts; a warm-up is a part
    of the phase's epochs.

    Raises:
      UserError: for an unknown schedule.
    """
    rate = phase.learning_rate
    warmup = round(phase.warmup_epochs * steps_per_epoch)
    rest = max(phase.epochs * steps_per_epoch - warmup, 1)
    decay = optax.exponential_decay(rate, phase.step_epochs * steps_per_epoch, phase.step_factor, staircase=True)
    schedules = {
        "constant": optax.constant_schedule(rate),
        "step": lambda step: decay(step + warmup),  # join_schedules counts from the end of the warm-up
        "cosine": optax.cosine_decay_schedule(rate, rest, phase.final_factor),
        "linear": optax.linear_schedule(rate, phase.final_factor * rate, rest),
    }
    if phase.schedule not in schedules:
        raise UserError(f"There is no schedule {phase.schedule!r}; {nearest(phase.schedule, schedules)}")
    main = schedules[phase.schedule]
    if not warmup:
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


def make_optimizer(phase: Phase, schedule: optax.Schedule) -> optax.GradientTransformation:
    """The optimiser of a phase: adam, adamax (Kingma & Ba 2015), adamw (Loshchilov & Hutter 2019) or sgd.

    Betas and epsilon are PyTorch's defaults (0.9, 0.999, 1e-8). Clipping comes first, as there. Weight decay is
    decoupled for ``adamw``, else L2 added to the gradient, and falls on arrays of two axes and more: biases and the
    scales of batch norm do not decay. Multipliers scale the whole update of a stage, decoupled decay with it, as the
    rate of a parameter group does.

    Args:
      phase: the recipe.
      schedule: learning rate by step; it takes the place of the recipe's own.

    Raises:
      UserError: for an unknown optimizer.
    """
    decay = phase.weight_decay
    optimizers = {
        "adam": lambda: optax.adam(schedule),
        "adamax": lambda: optax.adamax(schedule),
        "adamw": lambda: optax.adamw(schedule, weight_decay=decay, mask=_kernels),
        "sgd": lambda: optax.sgd(schedule, momentum=phase.momentum or None, nesterov=phase.nesterov),
    }
    if phase.optimizer not in optimizers:
        raise UserError(f"There is no optimizer {phase.optimizer!r}; {nearest(phase.optimizer, optimizers)}")
    parts: list[optax.GradientTransformation] = []
    if phase.clip_norm:
        parts.append(optax.clip_by_global_norm(phase.clip_norm))
    if decay and phase.optimizer != "adamw":
        parts.append(optax.add_decayed_weights(decay, mask=_kernels))
    parts.append(optimizers[phase.optimizer]())
    if phase.multipliers:
        parts.append(_scale_stages(phase.multipliers))
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

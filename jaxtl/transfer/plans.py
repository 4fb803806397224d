"""The usual transfer plans, written as phases.

Each function returns a tuple of phases for ``config.phases``; its keyword arguments are fields of `Phase`. Plans are
tuples, so that longer ones are sums: ``linear_probe(5) + fine_tune(10)``.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from jaxtl.errors import UserError, nearest
from jaxtl.models.classifier import HEAD
from jaxtl.transfer.fields import fields_of
from jaxtl.transfer.phases import ALL, Phase

Plan = tuple[Phase, ...]


def _phase(**recipe: Any) -> Phase:
    """A phase; a name that is not one of its fields is a user error."""
    for name in recipe.keys() - fields_of(Phase).keys():
        raise UserError(f"A phase has no field {name!r}; {nearest(name, fields_of(Phase))}")
    return Phase(**recipe)


def linear_probe(epochs: int, **recipe: Any) -> Plan:
    """Train the head on a frozen backbone; without augmentation the backbone then runs once per image.

    >>> linear_probe(5, optimizer="adamax")[0].train
    ('head',)
    """
    return (_phase(train=(HEAD,), epochs=epochs, **recipe),)


def fine_tune(epochs: int, **recipe: Any) -> Plan:
    """Train every stage, from pretrained weights."""
    return (_phase(train=(ALL,), epochs=epochs, **recipe),)


def from_scratch(epochs: int, **recipe: Any) -> Plan:
    """Train every stage, from random weights: the same phase as a fine-tune.

    Raises:
      UserError: for frozen batch norm: its statistics would never see an image.
    """
    if recipe.get("batch_norm") == "frozen":
        raise UserError("A plan from scratch cannot freeze batch norm, which has seen no images; leave it at 'train'.")
    return (_phase(train=(ALL,), epochs=epochs, **recipe),)


def lp_ft(probe_epochs: int, epochs: int, *, probe: Mapping[str, Any] | None = None, **recipe: Any) -> Plan:
    """A linear probe, then a fine-tune that starts from its head.

    A random head would first bend the features that it is about to use; a fitted one leaves them almost as they are
    (Kumar et al. 2022, https://arxiv.org/abs/2202.10054).

    Args:
      probe_epochs: length of the probe.
      epochs: length of the fine-tune.
      probe: what the probe's phase changes in ``recipe``, for example its learning rate.
      **recipe: of the fine-tune, and of the probe where ``probe`` does not change it.

    Examples:
      >>> [(phase.name, phase.learning_rate) for phase in lp_ft(2, 8, probe={"learning_rate": 0.1}, learning_rate=0.01)]
      [('head', 0.1), ('all', 0.01)]
    """
    of_probe = _for_stages((HEAD,), {**recipe, **(probe or {})})
    return linear_probe(probe_epochs, **of_probe) + fine_tune(epochs, **{**recipe, "cached_views": 0})


def gradual(
    groups: Sequence[Sequence[str]], epochs: Sequence[int], *, factor: float = 1.0, learning_rate: float, **recipe: Any
) -> Plan:
    """Unfreeze group after group of stages; a stage that trains once goes on training (Howard & Ruder 2018, ULMFiT).

    Args:
      groups: stages, in the order in which they are unfrozen: ``[("head",), ("stage4",), ("stage3",)]``, or
        ``"last:90"`` for a group that includes all before it.
      epochs: length of the phase after each group.
      factor: what the learning rate is multiplied by from one phase to the next.
      learning_rate: of the first phase.
      **recipe: of all phases; ``multipliers`` are kept for the stages that train, ``cached_views`` for the head alone.

    Raises:
      UserError: if there are not as many groups as lengths, or a group is empty.

    Examples:
      >>> [phase.name for phase in gradual([("head",), ("stage4",)], (1, 2), learning_rate=0.1)]
      ['head', 'head+stage4']
    """
    if len(groups) != len(epochs):
        raise UserError(f"gradual has {len(groups)} groups of stages and {len(epochs)} lengths; give one for each.")
    plan: Plan = ()
    free: tuple[str, ...] = ()
    for i, (group, length) in enumerate(zip(groups, epochs, strict=True)):
        names = (group,) if isinstance(group, str) else tuple(group)
        if not names:
            raise UserError(f"Group {i} of gradual names no stage; name the stages that it unfreezes.")
        alone = names == (ALL,) or names[0].startswith("last:")
        free = names if alone else (*free, *names)
        plan += (
            _phase(train=free, epochs=length, learning_rate=learning_rate * factor**i, **_for_stages(free, recipe)),
        )
    return plan


def _for_stages(free: tuple[str, ...], recipe: Mapping[str, Any]) -> dict[str, Any]:
    """A recipe without what has no meaning where these stages train."""
    fitted = dict(recipe)
    if "multipliers" in recipe and free != (ALL,) and not free[0].startswith("last:"):
        fitted["multipliers"] = {stage: rate for stage, rate in recipe["multipliers"].items() if stage in free}
    if free != (HEAD,):
        fitted["cached_views"] = 0
    return fitted


def discriminative_rates(stage_names: Sequence[str], factor: float = 2.6) -> dict[str, float]:
    """Multipliers that shrink from the head down: early stages hold general features and should move less.

    Args:
      stage_names: the model's, in the order of the forward pass.
      factor: ratio of one stage's rate to that of the stage before; 2.6 is that of Howard & Ruder 2018,
        https://arxiv.org/abs/1801.06146, section 3.2.

    Raises:
      UserError: for a factor that is not positive.

    >>> discriminative_rates(("stem", "stage1", "head"), factor=2)
    {'stem': 0.25, 'stage1': 0.5, 'head': 1.0}
    """
    if not factor > 0:
        raise UserError(f"The factor of discriminative rates is {factor}, but must be positive.")
    last = len(stage_names) - 1
    return {name: float(factor) ** (i - last) for i, name in enumerate(stage_names)}

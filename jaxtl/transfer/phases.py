"""A transfer plan is a tuple of phases; a phase is one recipe for one choice of stages.

Every strategy of the studies is such a tuple: a linear probe is one phase with ``train=("head",)``, a fine-tune one
with ``train=("all",)``, LP-FT the two in a row, and from scratch is a fine-tune of random variables.
"""

import dataclasses
import difflib
from collections.abc import Sequence

from jaxtl.errors import UserError

ALL = "all"


@dataclasses.dataclass(frozen=True)
class Phase:
    """One recipe. Lengths are in epochs, rates per step, and 0 switches a thing off unless it says otherwise.

    Attributes:
      train: names of the stages that train, or ``("all",)``; the others are frozen, statistics included.
      epochs: length of the phase.
      optimizer: ``adam``, ``adamax``, ``adamw`` or ``sgd``.
      learning_rate: peak learning rate.
      schedule: ``constant``, ``step`` (times ``step_factor`` every ``step_epochs``) or ``cosine`` (to zero at the end).
      warmup_epochs: linear rise from zero, may be a fraction.
      step_epochs: distance of the steps of the ``step`` schedule.
      step_factor: what the rate is multiplied by at each of them.
      momentum: of ``sgd``.
      nesterov: Nesterov's form of it.
      weight_decay: L2 added to the gradient (PyTorch's ``weight_decay``), decoupled for ``adamw``. Kernels alone decay.
      clip_norm: largest global norm of the gradient.
      label_smoothing: share of the target spread over all classes, in [0, 1).
      flip: mirror a random half of the images.
      crop: pixels of zero padding before a random crop back to size.
      monitor: ``val_loss`` or ``val_accuracy``: what "best" means.
      patience: epochs without a better value after which the phase ends.
      keep: ``best`` ends the phase with the weights of its best epoch, ``last`` with those of its last.
    """

    train: tuple[str, ...] = (ALL,)
    epochs: int = 10
    optimizer: str = "adam"
    learning_rate: float = 1e-3
    schedule: str = "constant"
    warmup_epochs: float = 0.0
    step_epochs: int = 5
    step_factor: float = 0.1
    momentum: float = 0.9
    nesterov: bool = False
    weight_decay: float = 0.0
    clip_norm: float = 0.0
    label_smoothing: float = 0.0
    flip: bool = False
    crop: int = 0
    monitor: str = "val_loss"
    patience: int = 0
    keep: str = "best"

    @property
    def name(self) -> str:
        """What curves and lines call the phase: its stages joined by ``+``."""
        return "+".join(self.train)

    @property
    def needs_validation(self) -> bool:
        """Whether the phase chooses by images that it did not train on."""
        return self.patience > 0 or self.keep == "best"


def trained_stages(phase: Phase, stage_names: Sequence[str]) -> tuple[str, ...]:
    """The stages that a phase trains, in the model's order.

    Raises:
      UserError: for a stage that the model lacks, or a phase that trains none.

    >>> trained_stages(Phase(train=("head", "stage1")), ("stem", "stage1", "head"))
    ('stage1', 'head')
    """
    if phase.train == (ALL,):
        return tuple(stage_names)
    for name in phase.train:
        if name not in stage_names:
            near = difflib.get_close_matches(name, stage_names, n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise UserError(f"The model has no stage {name!r}; {hint}It has: {', '.join(stage_names)}, or 'all'.")
    if not phase.train:
        raise UserError(f"A phase trains no stage; name some of: {', '.join(stage_names)}, or 'all'.")
    return tuple(name for name in stage_names if name in phase.train)

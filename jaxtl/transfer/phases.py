"""A transfer plan is a tuple of phases; a phase is one recipe for one choice of stages.

Every strategy of the studies is such a tuple: a linear probe is one phase with ``train=("head",)``, a fine-tune one
with ``train=("all",)``, LP-FT the two in a row, and from scratch is a fine-tune of random variables.
``jaxtl.transfer.plans`` writes the usual ones.
"""

import dataclasses
import difflib
import re
from collections.abc import Collection, Mapping, Sequence

from jaxtl.data.augment import Border
from jaxtl.errors import UserError
from jaxtl.models.classifier import HEAD

ALL = "all"


@dataclasses.dataclass(frozen=True)
class Phase:
    """One recipe. Lengths are in epochs, rates per step, and 0 switches a thing off unless it says otherwise.

    Attributes:
      train: names of the stages that train, ``("all",)``, or ``("last:90",)`` for the last 90 layers with parameters,
        rounded up to whole stages (``settle``). The other stages are frozen.
      epochs: length of the phase.
      optimizer: ``adam``, ``adamax``, ``adamw`` or ``sgd``.
      learning_rate: peak learning rate.
      multipliers: by stage, what its learning rate is multiplied by (discriminative rates, Howard & Ruder 2018); 1
        where a stage is not named.
      schedule: ``constant``, ``step`` (times ``step_factor`` every ``step_epochs``), ``cosine`` or ``linear``.
      warmup_epochs: linear rise, may be a fraction.
      step_epochs: distance of the steps of the ``step`` schedule.
      step_factor: what the rate is multiplied by at each of them.
      final_factor: share of the rate that ``cosine`` and ``linear`` end with.
      momentum: of ``sgd``.
      nesterov: Nesterov's form of it.
      weight_decay: L2 added to the gradient (PyTorch's ``weight_decay``), decoupled for ``adamw``. Kernels alone decay.
      clip_norm: largest global norm of the gradient.
      label_smoothing: share of the target spread over all classes, in [0, 1).
      batch_norm: ``train``: the trained stages normalise by the batch and keep running statistics; ``frozen``: those
        that have batch norm run as in inference, dropout included, which is ``module.eval()`` in PyTorch.
      frozen_batch_norm: ``frozen``: frozen stages run as in inference, and their statistics stay as they are, bit by
        bit; ``train``: those that have batch norm run as in training, dropout included, and their statistics drift,
        which is what ``model.train()`` does in PyTorch to layers whose weights are frozen.
      flip: mirror a random half of the images.
      crop: pixels of padding before a random crop back to size.
      crop_border: what is outside of an image: ``black``, or ``reflect``, the pixels inside mirrored.
      cache_features: in a phase that trains the head alone, run the backbone once per image and keep its features.
        Where images are augmented at random, that needs ``cached_views``.
      cached_views: with ``flip`` or ``crop``: keep the features of so many augmented views of each image, and draw one
        of them at each step. 0 augments at every step, and then no features are kept.
      monitor: ``val_loss`` or ``val_accuracy``: what "best" means.
      patience: epochs without a better value after which the phase ends.
      keep: ``best`` ends the phase with the weights of its best epoch, ``last`` with those of its last.
    """

    train: tuple[str, ...] = (ALL,)
    epochs: int = 10
    optimizer: str = "adam"
    learning_rate: float = 1e-3
    multipliers: Mapping[str, float] = dataclasses.field(default_factory=dict)
    schedule: str = "constant"
    warmup_epochs: float = 0.0
    step_epochs: int = 5
    step_factor: float = 0.1
    final_factor: float = 0.0
    momentum: float = 0.9
    nesterov: bool = False
    weight_decay: float = 0.0
    clip_norm: float = 0.0
    label_smoothing: float = 0.0
    batch_norm: str = "train"
    frozen_batch_norm: str = "frozen"
    flip: bool = False
    crop: int = 0
    crop_border: Border = "black"
    cache_features: bool = True
    cached_views: int = 0
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

    @property
    def augments(self) -> bool:
        """Whether an image looks different from epoch to epoch."""
        return self.flip or self.crop > 0


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
            alone = "'all' stands alone; " if name == ALL else ""
            raise UserError(f"The model has no stage {name!r}; {alone}{hint}It has: {', '.join(stage_names)}.")
    if not phase.train:
        raise UserError(f"A phase trains no stage; name some of: {', '.join(stage_names)}, or 'all'.")
    return tuple(name for name in stage_names if name in phase.train)


def settle(phase: Phase, layers: Mapping[str, int]) -> tuple[Phase, str]:
    """The phase as it runs on a model, and a remark on what was adjusted for it; "" where nothing was.

    "last:N" becomes the fewest stages, counted from the end, that hold the last N layers with parameters. A warm-up
    that does not leave an epoch of the phase, as when epochs are cut for a trial, becomes half of the phase.

    Args:
      phase: any phase.
      layers: by stage, in the model's order, the number of layers with parameters (``count_layers``).

    Raises:
      UserError: if "last:" comes without a number or beside stages, or the model has fewer layers.

    >>> phase, remark = settle(Phase(train=("last:4",)), {"stem": 2, "stage1": 6, "stage2": 6, "head": 1})
    >>> phase.train, remark
    (('stage2', 'head'), 'last:4 is rounded to whole stages: stage2, head, 7 of 15 layers with parameters.')
    """
    remarks = []
    if any(name.startswith("last:") for name in phase.train):
        stages, remark = _stages_of_last(phase.train, layers)
        phase = dataclasses.replace(phase, train=stages)
        remarks.append(remark)
    if phase.warmup_epochs >= phase.epochs:
        remarks.append(
            f"warmup_epochs is {phase.warmup_epochs:g}, but phase {phase.name!r} has {phase.epochs} epoch(s): it warms "
            f"up for {phase.epochs / 2:g}."
        )
        phase = dataclasses.replace(phase, warmup_epochs=phase.epochs / 2)
    return phase, " ".join(remarks)


def _stages_of_last(train: tuple[str, ...], layers: Mapping[str, int]) -> tuple[tuple[str, ...], str]:
    """The stages that ``("last:N",)`` means, and the remark on its rounding."""
    found = re.fullmatch(r"last:([1-9]\d*)", train[0]) if len(train) == 1 else None
    if not found:
        raise UserError(f"{','.join(train)} is invalid: write last:N alone, for example last:90, with N of 1 or more.")
    count, total = int(found[1]), sum(layers.values())
    if count > total:
        raise UserError(
            f"last:{count} is asked for, but the model has {total} layers with parameters; name fewer, or 'all'."
        )
    stages: list[str] = []
    held = 0
    for stage in reversed(layers):
        if held >= count:
            break
        stages.insert(0, stage)
        held += layers[stage]
    names = ", ".join(stages)
    return tuple(stages), f"{train[0]} is rounded to whole stages: {names}, {held} of {total} layers with parameters."


def phase_faults(phase: Phase, stage_names: Sequence[str]) -> list[str]:
    """What is wrong between a settled phase and a model: sentences that begin with the name of the field."""
    try:
        trained = trained_stages(phase, stage_names)
    except UserError as error:
        return [f"train: {error}"]
    faults = []
    for stage in phase.multipliers:
        if stage not in stage_names:
            faults.append(f"multipliers names {stage!r}, but the model's stages are: {', '.join(stage_names)}.")
        elif stage not in trained:
            faults.append(f"multipliers names {stage!r}, which the phase does not train; add it to train, or drop it.")
    if phase.cached_views and not phase.augments:
        faults.append(
            f"cached_views is {phase.cached_views}, but without flip or crop every view is the same; "
            "set it to 0, or augment."
        )
    elif phase.cached_views and not caches_features(phase, stage_names, stage_names):
        faults.append(
            f"cached_views is {phase.cached_views}, but features can be kept only where a head alone trains on a "
            "backbone, frozen_batch_norm is 'frozen' and cache_features is on; set it to 0, or change these."
        )
    return faults


def stages_in_training_mode(
    phase: Phase, stage_names: Sequence[str], with_statistics: Collection[str]
) -> tuple[str, ...]:
    """The stages whose dropout drops and whose batch norm takes the batch's statistics, in the model's order.

    Args:
      phase: the phase, of a model with these stages.
      stage_names: all stages.
      with_statistics: those that have batch norm.

    >>> stages = ("stem", "stage1", "head")
    >>> stages_in_training_mode(Phase(train=("stage1", "head")), stages, {"stem", "stage1"})
    ('stage1', 'head')
    >>> stages_in_training_mode(Phase(train=("head",), frozen_batch_norm="train"), stages, {"stem", "stage1"})
    ('stem', 'stage1', 'head')
    >>> stages_in_training_mode(Phase(batch_norm="frozen"), stages, {"stem", "stage1"})
    ('head',)
    """
    trained = trained_stages(phase, stage_names)

    def in_training(stage: str) -> bool:
        if stage not in with_statistics:
            return stage in trained
        return (phase.batch_norm if stage in trained else phase.frozen_batch_norm) == "train"

    return tuple(stage for stage in stage_names if in_training(stage))


def caches_features(phase: Phase, stage_names: Sequence[str], with_statistics: Collection[str]) -> bool:
    """Whether the phase sees the backbone only through features that do not change while it lasts.

    >>> caches_features(Phase(train=("head",)), ("stem", "head"), {"stem"})
    True
    >>> caches_features(Phase(train=("head",), flip=True), ("stem", "head"), {"stem"})
    False
    """
    if not phase.cache_features or (phase.augments and not phase.cached_views) or len(stage_names) == 1:
        return False
    moving = {*trained_stages(phase, stage_names), *stages_in_training_mode(phase, stage_names, with_statistics)}
    return moving == {HEAD}

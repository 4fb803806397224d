"""A transfer plan is a tuple of phases; a phase is one recipe for one choice of stages.

Every strategy of the studies is such a tuple: a linear probe is one phase with ``train=("head",)``, a fine-tune one
with ``train=("all",)``, LP-FT the two in a row, and from scratch is a fine-tune of random variables.
``jaxtl.transfer.plans`` writes the usual ones.
"""

import dataclasses
import re
from collections.abc import Collection, Mapping, Sequence

from jaxtl.errors import UserError, closest
from jaxtl.models.classifier import HEAD
from jaxtl.transfer.augmentation import Augmentation
from jaxtl.transfer.fields import MOST, documented, field, one_of, within

ALL = "all"


@documented
@dataclasses.dataclass(frozen=True)
class Phase(Augmentation):
    """One recipe. Lengths are in epochs, rates per step, and 0 switches a thing off unless it says otherwise.

    A stage in training mode normalises by the batch, keeps running statistics and drops out; one in inference mode does
    neither, as after ``module.eval()`` in PyTorch.
    """

    train: tuple[str, ...] = field(
        (ALL,),
        "names of the stages that train, 'all', or 'last:N' for the last N layers with parameters, rounded up to whole "
        "stages; the others are frozen",
    )
    epochs: int = field(10, "length of the phase", within(1, MOST))
    optimizer: str = field("adam", "optimizer", one_of("adam", "adamax", "adamw", "sgd"))
    learning_rate: float = field(1e-3, "peak learning rate", within(0, open_low=True))
    multipliers: Mapping[str, float] = field(
        {}, "by stage, what its learning rate is multiplied by (Howard & Ruder 2018): multipliers.stem=0.1"
    )
    layer_decay: float = field(
        1.0,
        "what the learning rate is multiplied by from each layer to the one before it, beginning with 1 at the last "
        "layer of the head; multipliers come on top; 1: no decay",
        within(0, 1, open_low=True),
    )
    schedule: str = field(
        "constant", "course of the learning rate", one_of("constant", "step", "cosine", "linear", "onecycle")
    )
    warmup_epochs: float = field(
        0.0,
        "linear rise of the learning rate; may be a fraction; 'onecycle' rises by a cosine instead, for 30 % of the "
        "phase where this is 0",
        within(0),
    )
    step_epochs: int = field(5, "schedule 'step': epochs between steps", within(1, MOST))
    step_factor: float = field(0.1, "schedule 'step': factor at each step", within(0, 1, open_low=True))
    final_factor: float = field(0.0, "schedules 'cosine', 'linear': share of the rate at the end", within(0, 1))
    momentum: float = field(0.9, "momentum of sgd", within(0, 1, open_high=True))
    nesterov: bool = field(False, "Nesterov's form of the momentum")
    weight_decay: float = field(0.0, "decay of kernels: decoupled for adamw, else L2 added to the gradient", within(0))
    clip_norm: float = field(0.0, "largest global norm of the gradient", within(0))
    accumulate: int = field(
        1,
        "steps whose mean gradient makes one update, as a batch so many times as large would; an epoch ends with an "
        "update, of fewer steps where they do not divide",
        within(1, MOST),
    )
    ema: float = field(
        0.0,
        "decay of the moving average of weights and running statistics that is validated, kept and tested in their "
        "place: 0.999 averages about the last 1,000 updates; 0: none",
        within(0, 1, open_high=True),
    )
    label_smoothing: float = field(0.0, "share of the target spread over all classes", within(0, 1, open_high=True))
    class_weights: str | Mapping[str, float] = field(
        "none",
        "weight of an image in the training loss: 'balanced' is inverse to the number of training images of its class, "
        "with mean 1; or by class, 1 for the others: class_weights.cat=5",
        one_of("none", "balanced"),
    )
    balanced_sampling: bool = field(
        False, "an epoch of the same length draws every class equally often, and images of rare classes several times"
    )
    batch_norm: str = field(
        "train",
        "trained stages are in training mode; 'frozen' puts those with batch norm in inference mode",
        one_of("train", "frozen"),
    )
    frozen_batch_norm: str = field(
        "frozen",
        "frozen stages are in inference mode; 'train' puts those with batch norm in training mode: their statistics "
        "drift, as in PyTorch after model.train()",
        one_of("frozen", "train"),
    )
    cache_features: bool = field(True, "when the head alone trains: run the backbone once per image, keep its features")
    cached_views: int = field(
        0,
        "with augmentation: keep the features of N augmented views of each image and draw among them",
        within(0, MOST),
    )
    monitor: str = field(
        "val_loss",
        "what 'best' means; val_f1 is macro F1",
        one_of("val_loss", "val_accuracy", "val_f1", "val_balanced_accuracy"),
    )
    patience: int = field(0, "epochs without a better value before the phase ends", within(0, MOST))
    keep: str = field("best", "which epoch's weights the phase ends with", one_of("best", "last"))

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
            near = closest(name, stage_names)
            hint = f"did you mean {near!r}? " if near else ""
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
    stages, sizes = tuple(layers), list(layers.values())
    first = max(i for i in range(len(stages)) if sum(sizes[i:]) >= count)
    names, held = ", ".join(stages[first:]), sum(sizes[first:])
    return stages[first:], f"{train[0]} is rounded to whole stages: {names}, {held} of {total} layers with parameters."


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
    if phase.balanced_sampling and phase.class_weights == "balanced":
        faults.append(
            "balanced_sampling is on and class_weights is 'balanced', which makes up for rare classes twice; keep one "
            "of them."
        )
    if phase.cached_views and not phase.augments:
        faults.append(
            f"cached_views is {phase.cached_views}, but without augmentation every view is the same; "
            "set it to 0, or augment."
        )
    elif phase.cached_views and not caches_features(phase, stage_names, stage_names):
        faults.append(
            f"cached_views is {phase.cached_views}, but features can be kept only where a head alone trains on a "
            "backbone, mixup and cutmix are off, frozen_batch_norm is 'frozen' and cache_features is on; set it to 0, "
            "or change these."
        )
    return faults


def stages_in_training_mode(
    phase: Phase, stage_names: Sequence[str], with_statistics: Collection[str]
) -> tuple[str, ...]:
    """The stages whose dropout drops and whose batch norm takes the batch's statistics, in the model's order.

    Those of ``with_statistics`` have batch norm.

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
    if not phase.cache_features or phase.mixes or (phase.augments and not phase.cached_views) or len(stage_names) == 1:
        return False
    moving = {*trained_stages(phase, stage_names), *stages_in_training_mode(phase, stage_names, with_statistics)}
    return moving == {HEAD}

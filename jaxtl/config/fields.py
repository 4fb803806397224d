"""Every field of a config: its default, its type, its check, its meaning."""

import ast
import dataclasses
import difflib
import math
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal, get_args

from jaxtl.data import tfds
from jaxtl.data.augment import BORDERS
from jaxtl.data.catalogue import list_datasets
from jaxtl.data.decode import Fit
from jaxtl.data.reading import Stream
from jaxtl.models import list_models
from jaxtl.train.optimizer import OPTIMIZERS, SCHEDULES
from jaxtl.transfer.phases import Phase

# What a check gets and says: the value, and the reason why it will not do, or nothing.
Check = Callable[[Any], str | None]


@dataclasses.dataclass(frozen=True)
class Field:
    """A field of a config.

    Attributes:
      default: the value where a config says nothing; its type is the field's type.
      doc: meaning and unit.
      check: finds fault with a value of the right type.
    """

    default: Any
    doc: str
    check: Check = lambda value: None

    @property
    def type(self) -> Any:
        """The type as an annotation; a tuple has the elements of the default, or strings."""
        if isinstance(self.default, tuple):
            return tuple[type(self.default[0]) if self.default else str, ...]  # type: ignore[misc]
        if isinstance(self.default, Mapping):
            return Mapping[str, Any]
        return type(self.default)


def one_of(*choices: str) -> Check:
    """The value is one of the choices; the nearest is suggested."""

    def check(value: str) -> str | None:
        return None if value in choices else f"is {value!r}, which does not exist; {nearest(value, choices)}"

    return check


def a_dataset(name: str) -> str | None:
    """The name is that of a data set, or has the form of one of tensorflow-datasets."""
    return tfds.name_fault(name) if name.startswith(tfds.PREFIX) else one_of(*list_datasets())(name)


def within(low: float, high: float = math.inf, *, open_low: bool = False, open_high: bool = False) -> Check:
    """The value lies between the bounds."""

    def check(value: float) -> str | None:
        if (value > low if open_low else value >= low) and (value < high if open_high else value <= high):
            return None
        if high == math.inf:
            return f"is {value}, but must be {'more than' if open_low else 'at least'} {low}."
        return f"is {value}, but must lie in {'(' if open_low else '['}{low}, {high}{')' if open_high else ']'}."

    return check


def a_channel(check: Check = lambda value: None) -> Check:
    """One value for all channels, or one for each of three, and every one of them passes the check."""

    def check_all(values: tuple[Any, ...]) -> str | None:
        if len(values) not in (1, 3):
            return f"has {len(values)} values, but needs one a channel, or one for all."
        return next((fault for value in values if (fault := check(value))), None)

    return check_all


FIELDS: dict[str, Field] = {
    "name": Field("run", "title of the run in its report"),
    "arm": Field("this run", "what a comparison with the baselines calls the run"),
    "reported": Field("", "what the study reports, to stand beside our figures; empty: nothing"),
    "seed": Field(0, "seed of initialisation, shuffling, augmentation and dropout", within(0, 2**31 - 1)),
    "data.name": Field("cifar10", "data set; tfds:NAME for those of tensorflow-datasets", a_dataset),
    "data.dir": Field("", "folder of the data set or of your images; empty: $JAXTL_DATA, else the cache folder"),
    "data.download": Field(True, "fetch the data set if the folder lacks it"),
    "data.classes": Field((), "names of the classes to keep, in the order of their new labels; empty: all"),
    "data.subset": Field(0, "use the first N training images, before the validation split; 0: all", within(0)),
    "data.test_subset": Field(0, "test on the first N test images; 0: all", within(0)),
    "data.per_class": Field(0, "train on N images a class, drawn by data.split_seed; 0: all", within(0)),
    "data.validation": Field(0.1, "share of the training images held out, stratified", within(0, 1, open_high=True)),
    "data.split_seed": Field(0, "seed of the validation split and of per_class", within(0, 2**31 - 1)),
    "data.size": Field(0, "resize images to N x N pixels; 0: as they are", within(0, 4096)),
    "data.fit": Field(
        "crop", "how other proportions come to a square: cropped to the middle, or stretched", one_of(*get_args(Fit))
    ),
    "data.test": Field(
        0.2,
        "share of a folder's images held out for the test, where it has no test folder",
        within(0, 1, open_low=True, open_high=True),
    ),
    "data.undecodable": Field(
        0.05, "share of a folder's files that may be undecodable; they are skipped", within(0, 1)
    ),
    "data.stream": Field(
        "auto",
        "decode images as they are needed: 'auto' where they would fill a quarter of memory",
        one_of(*get_args(Stream)),
    ),
    "data.workers": Field(0, "processes that decode streamed images; 0: one a core", within(0, 1024)),
    "data.mean": Field((0.5,), "normalisation mean, images in [0, 1]", a_channel()),
    "data.std": Field(
        (0.5,), "normalisation standard deviation, images in [0, 1]", a_channel(within(0, open_low=True))
    ),
    "model.name": Field("cnn", "architecture", one_of(*list_models())),
    "model.weights": Field("", "start from: tag of pretrained weights, file, run folder, 'source'; empty: random"),
    "model.new_head": Field(True, "with weights: start the head anew; False keeps theirs"),
    "model.dtype": Field("float32", "dtype of the computation; parameters are float32", one_of("float32", "bfloat16")),
    "batch_size": Field(128, "images a step, a multiple of the number of devices", within(1)),
    "checkpoint_every_s": Field(30.0, "least time between two saves, in seconds", within(0)),
}

# Beside the fields: the run that is trained first, also as the value of `model.weights` that starts from it, and the
# runs to compare with, by name.
SOURCE = "source"
BASELINES = "baselines"

# `model.options.X` is any option of the architecture; its default and its type are the architecture's own.
OPTIONS = "model.options"

# The defaults of a phase are those of the dataclass; here are their checks and meanings.
PHASE_FIELDS: dict[str, Field] = {
    name: dataclasses.replace(field, default=getattr(Phase(), name))
    for name, field in {
        "train": Field(None, "stages to train, or 'all', or 'last:N' for the last N layers, rounded to whole stages"),
        "epochs": Field(None, "length", within(1)),
        "optimizer": Field(None, "optimiser", one_of(*OPTIMIZERS)),
        "learning_rate": Field(None, "peak learning rate", within(0, open_low=True)),
        "multipliers": Field(None, "by stage, what its learning rate is multiplied by: multipliers.stem=0.1 say"),
        "schedule": Field(None, "course of the learning rate", one_of(*SCHEDULES)),
        "warmup_epochs": Field(None, "linear rise, in epochs", within(0)),
        "step_epochs": Field(None, "schedule 'step': epochs between steps", within(1)),
        "step_factor": Field(None, "schedule 'step': factor at each step", within(0, 1, open_low=True)),
        "final_factor": Field(None, "schedules 'cosine', 'linear': share of the rate at the end", within(0, 1)),
        "momentum": Field(None, "momentum of sgd", within(0, 1, open_high=True)),
        "nesterov": Field(None, "Nesterov's form of the momentum"),
        "weight_decay": Field(None, "weight decay, decoupled for adamw, L2 for the others", within(0)),
        "clip_norm": Field(None, "largest global norm of the gradient; 0: off", within(0)),
        "label_smoothing": Field(None, "share of the target spread over all classes", within(0, 1, open_high=True)),
        "batch_norm": Field(None, "batch norm of trained stages", one_of("train", "frozen")),
        "frozen_batch_norm": Field(None, "that of frozen stages; 'train' lets it drift", one_of("frozen", "train")),
        "flip": Field(None, "mirror a random half of the images"),
        "crop": Field(None, "pixels of padding before a random crop; 0: off", within(0)),
        "crop_border": Field(None, "what a crop sees outside of the image", one_of(*BORDERS)),
        "cache_features": Field(None, "when the head alone trains: run the backbone once per image"),
        "cached_views": Field(None, "keep features of N augmented views and draw among them; 0: off", within(0)),
        "monitor": Field(None, "what 'best' means", one_of("val_loss", "val_accuracy")),
        "patience": Field(None, "epochs without a better value before the phase ends; 0: off", within(0)),
        "keep": Field(None, "weights that the phase ends with", one_of("best", "last")),
    }.items()
}


# `phases.N.multipliers.STAGE` is a field for every stage.
MULTIPLIER = Field(1.0, "what the stage's learning rate is multiplied by", within(0, open_low=True))


def field_table() -> list[tuple[str, Any, str]]:
    """(path, default, meaning) of every field, for the help."""
    rows = [(path, field.default, field.doc) for path, field in FIELDS.items()]
    rows += [(f"phases.0.{name}", field.default, field.doc) for name, field in PHASE_FIELDS.items()]
    return rows


def find_field(path: str) -> Field | None:
    """The field at a path, whichever phase it counts to."""
    parts = path.split(".")
    if len(parts) >= 3 and parts[0] == "phases" and parts[1].isdigit():
        if len(parts) == 4 and parts[2] == "multipliers":
            return MULTIPLIER
        return PHASE_FIELDS.get(".".join(parts[2:]))
    return FIELDS.get(path)


def no_field(path: str) -> str:
    """The sentence about a path that is no field."""
    known = [name for name, _, _ in field_table()]
    inside = [name for name in [*known, f"{OPTIONS}.dropout"] if name.startswith(f"{path}.")]
    if inside:
        return f"{path} is a group of fields and has no value of its own; set its fields, {inside[0]} say."
    # A forgotten group is the commonest slip: `epochs` for `phases.0.epochs`.
    same_leaf = [name for name in known if name.rsplit(".", 1)[-1] == path.rsplit(".", 1)[-1]]
    near = same_leaf or difflib.get_close_matches(path, known, n=1, cutoff=0.5)
    way_out = f"did you mean {near[0]}?" if near else "--help-fields lists the fields."
    return f"{path or '(no field)'} does not exist; {way_out}"


def in_run(where: str, fault: str) -> str:
    """A sentence that begins with a path, about the run at ``where``."""
    return f"{where}.{fault}" if where else fault


def nearest(name: str, known: Iterable[str]) -> str:
    """The way out for a name that is not known."""
    known = list(known)
    near = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {near[0]!r}?" if near else f"choose one of: {', '.join(known)}."


# --- types -----------------------------------------------------------------------------------------------------------


def wrong_type(path: str, value: Any, type_: Any, default: Any) -> str | None:
    """The sentence about a value that is not of the type, an annotation; ``None`` where it is."""
    if _fits(value, type_):
        return None
    return f"{path} is {value!r} ({type(value).__name__}), but must be {_in_words(type_)}; the default is {default!r}."


def read_text(text: str, type_: Any) -> Any:
    """A value of the type from a command line's text; the text itself where it means none of that type.

    >>> read_text("0.5,0.25", tuple[float, ...]), read_text("yes", bool), read_text("many", int)
    ((0.5, 0.25), True, 'many')
    """
    if type_ is bool:
        return {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}.get(text.lower(), text)
    if typing.get_origin(type_) is tuple:
        items = (item.strip(" '\"") for item in text.strip(" ()[]").split(","))
        return tuple(read_text(item, typing.get_args(type_)[0]) for item in items if item)
    if _alternatives(type_) or typing.get_origin(type_) in (Literal, Mapping):
        try:
            return ast.literal_eval(text)
        except (SyntaxError, ValueError):
            return text
    try:
        return type_(text)
    except ValueError:
        return text


def _alternatives(type_: Any) -> tuple[Any, ...]:
    """The types of a union; none of anything else."""
    return typing.get_args(type_) if typing.get_origin(type_) in (typing.Union, types.UnionType) else ()


def _fits(value: Any, type_: Any) -> bool:
    if alternatives := _alternatives(type_):
        return any(_fits(value, alternative) for alternative in alternatives)
    if typing.get_origin(type_) is Mapping:
        return isinstance(value, Mapping)  # its fields are the architecture's to check
    if typing.get_origin(type_) is tuple:
        return isinstance(value, tuple) and all(_fits(item, typing.get_args(type_)[0]) for item in value)
    if typing.get_origin(type_) is Literal:
        return value in typing.get_args(type_)
    if isinstance(value, bool):  # which Python takes for a number
        return type_ is bool
    if type_ is float:
        return isinstance(value, float | int) and math.isfinite(value)
    return isinstance(value, type_)


def _in_words(type_: Any) -> str:
    if alternatives := _alternatives(type_):
        return " or ".join(map(_in_words, alternatives))
    if typing.get_origin(type_) is Mapping:
        return "a mapping"
    if typing.get_origin(type_) is tuple:
        return f"a tuple, each element {_in_words(typing.get_args(type_)[0])}"
    if typing.get_origin(type_) is Literal:
        return f"one of {', '.join(map(repr, typing.get_args(type_)))}"
    return {bool: "True or False", int: "a whole number", float: "a finite number", str: "a string"}[type_]

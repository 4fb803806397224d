"""Every field of a config: default, type, check and meaning. Those of a phase are the fields of ``Phase``."""

import ast
from typing import Any, get_args, get_origin

from jaxtl.data import tfds
from jaxtl.data.catalogue import list_datasets
from jaxtl.data.decode import Fit
from jaxtl.data.options import Stream
from jaxtl.errors import closest
from jaxtl.models import list_models, model_options
from jaxtl.models.fit import shown
from jaxtl.models.options import fits, in_words
from jaxtl.transfer.fields import ANY, Check, Field, fields_of, one_of, within
from jaxtl.transfer.phases import Phase
from jaxtl.weights.cards import CARDS


def a_dataset() -> Check:
    """The name is that of a data set, or has the form of one of tensorflow-datasets."""
    known = one_of(*list_datasets(), f"{tfds.PREFIX}NAME")

    def fault(name: str) -> str | None:
        return tfds.name_fault(name) if name.startswith(tfds.PREFIX) else one_of(*list_datasets()).fault(name)

    return Check(known.allowed, fault)


def a_model() -> Check:
    """The name is that of a network, also of one that was registered since."""
    return Check(one_of(*list_models()).allowed, lambda name: one_of(*list_models()).fault(name))


def a_tag() -> Check:
    """The name is that of weights of some network, or empty; a network without such weights has no use for it."""
    tags = sorted({card.tag for card in CARDS})
    return Check("tag of weights, or empty", lambda name: one_of(*tags).fault(name) if name else None)


def per_channel(check: Check = ANY) -> Check:
    """One value for all channels, or one for each of three; each passes the check."""

    def fault(values: tuple[Any, ...]) -> str | None:
        if len(values) not in (1, 3):
            return f"has {len(values)} values, but needs one a channel, or one for all."
        return next((told for value in values if (told := check.fault(value))), None)

    return Check(f"one a channel, or one for all{f', {check.allowed}' * bool(check.allowed)}", fault)


def _not_utf8(text: str) -> str | None:
    lost = text.encode(errors="ignore").decode() != text
    return f"is {text!r}, which is not in UTF-8; write it without accents, or set the encoding." if lost else None


_IN_UTF8 = Check(fault=_not_utf8)
_SEED = within(0, 2**31 - 1)

FIELDS: dict[str, Field] = {
    "name": Field("run", "title of the run in its report", _IN_UTF8),
    "arm": Field("this run", "what a comparison with the baselines calls the run", _IN_UTF8),
    "reported": Field("", "what the study reports, to stand beside our figures; empty: nothing", _IN_UTF8),
    "seed": Field(0, "seed of initialisation, shuffling, augmentation and dropout", _SEED),
    "data.name": Field("cifar10", "data set; tfds:NAME for those of tensorflow-datasets", a_dataset()),
    "data.dir": Field("", "folder of the data set or of your images; empty: $JAXTL_DATA, else the cache folder"),
    "data.labels": Field("", "CSV file of the columns path, label and perhaps split, for data.name='folder'"),
    "data.download": Field(True, "fetch the data set if the folder lacks it"),
    "data.classes": Field((), "names of the classes to keep, in the order of their new labels; empty: all"),
    "data.subset": Field(0, "use the first N training images, before the validation split; 0: all", within(0)),
    "data.test_subset": Field(0, "test on the first N test images; 0: all", within(0)),
    "data.per_class": Field(
        0,
        "train on N images a class, drawn by data.split_seed, 0: all; or by class, all of the others: per_class.cat=50",
        within(0),
    ),
    "data.validation": Field(0.1, "share of the training images held out, stratified", within(0, 1, open_high=True)),
    "data.folds": Field(0, "hold out N stratified folds in turn, a run each; 0: data.validation", within(0, 1000)),
    "data.fold": Field(-1, "which of data.folds is held out, from 0; -1: each in a run of its own", within(-1)),
    "data.split_seed": Field(0, "seed of validation, folds, per_class and a test held out by data.test", _SEED),
    "data.size": Field(0, "resize images to N x N pixels; 0: as they are", within(0, 4096)),
    "data.fit": Field("crop", "how non-square images are resized: cropped or stretched", one_of(*get_args(Fit))),
    "data.test": Field(
        0.2,
        "share of a folder's images held out for the test, where it has no test folder",
        within(0, 1, open_low=True, open_high=True),
    ),
    "data.undecodable": Field(0.05, "share of a folder's files that may be undecodable and skipped", within(0, 1)),
    "data.stream": Field(
        "auto", "decode images when needed; 'auto' where they would fill a quarter of memory", one_of(*get_args(Stream))
    ),
    "data.workers": Field(0, "processes that decode streamed images; 0: one a core", within(0, 1024)),
    "data.mean": Field((0.5,), "normalisation mean, images in [0, 1]", per_channel()),
    "data.std": Field((0.5,), "normalisation standard deviation", per_channel(within(0, open_low=True))),
    "model.name": Field("cnn", "architecture", a_model()),
    "model.weights": Field("", "start from: tag of pretrained weights, file, run folder, 'source'; empty: random"),
    "model.fallback": Field(
        "", "tag of weights to start from, at their size, where a run cannot download those of model.weights", a_tag()
    ),
    "model.new_head": Field(True, "with weights: train a new head; False keeps theirs"),
    "model.dtype": Field("float32", "dtype of the computation; parameters are float32", one_of("float32", "bfloat16")),
    "batch_size": Field(128, "images a step, a multiple of the number of devices", within(1)),
    "keep_features_gb": Field(
        0.0,
        "gigabytes of features of frozen backbones kept on disk, for all runs that share them; 0: none",
        within(0),
    ),
    "checkpoint_every_s": Field(30.0, "least time between two saves, in seconds", within(0)),
}
PHASE_FIELDS = fields_of(Phase)

# `phases.N.multipliers.STAGE` is a field for every stage, and so on.
_BY_NAME = {
    "multipliers": Field(1.0, "what the stage's learning rate is multiplied by", within(0, open_low=True)),
    "class_weights": Field(1.0, "weight of the class in the training loss", within(0)),
    "per_class": Field(0, "training images of the class", within(1)),
}

# `model.options.X` is any option of the architecture; its default and its type are the architecture's own.
OPTIONS = "model.options"

# Beside the fields: the run that is trained first, also as the value of `model.weights` that starts from it, and the
# runs to compare with, by name.
SOURCE = "source"
BASELINES = "baselines"


def field_help() -> str:
    """The text of ``jaxtl fields``: every field with its default, type or allowed values, and meaning."""
    lines = []
    for path, field in all_fields().items():
        kinds = [] if field.check.allowed.startswith("one of") else [in_words(field.type)]
        allowed = ", ".join([*kinds, *filter(None, [field.check.allowed])])
        lines.append(f"{path} = {field.default!r}  ({allowed})\n    {field.doc}\n")
    networks: dict[str, list[str]] = {}
    for name in list_models():
        options = ", ".join(f"{option}={value!r}" for option, value in model_options(name).items())
        networks.setdefault(options or "no options", []).append(name)
    lines += [f"{OPTIONS}.NAME of {', '.join(names)}\n    {options}\n" for options, names in networks.items()]
    return "".join(lines)


def find_field(path: str) -> Field | None:
    """The field at a path; ``phases.N.…`` for any N."""
    group = path.rpartition(".")[0]
    if (of_names := _BY_NAME.get(group.rpartition(".")[2])) and find_field(group):
        return of_names
    parts = path.split(".")
    if len(parts) >= 3 and parts[0] == "phases" and parts[1].isdecimal() and parts[1].isascii():
        return PHASE_FIELDS.get(".".join(parts[2:]))
    return FIELDS.get(path)


def no_field(path: str) -> str:
    """The error message for a path that is not a field."""
    known = list(all_fields())
    inside = [name for name in [*known, f"{OPTIONS}.dropout"] if name.startswith(f"{path}.")]
    if inside:
        return f"{path} is a group of fields and has no value of its own; set its fields, for example {inside[0]}."
    near = nearest_field(path)
    way_out = f"did you mean {near}?" if near else "jaxtl fields lists all fields."
    return f"{path or '(no field)'} does not exist; {way_out}"


def nearest_field(path: str) -> str | None:
    """The field that an unknown path probably means: its group is missing or wrong, or its name is misspelt."""
    known = list(all_fields())
    group, _, leaf = path.rpartition(".")
    leaves = {name.rpartition(".")[2]: name for name in reversed(known)}
    sibling = closest(leaf, [name for name in leaves if find_field(f"{group}.{name}".lstrip("."))])
    near = (
        leaves.get(leaf),
        sibling and f"{group}.{sibling}".lstrip("."),
        closest(path, known),
        leaves.get(closest(leaf, leaves) or ""),
    )
    return next(filter(None, near), None)


def all_fields() -> dict[str, Field]:
    """Every field by its path; those of a phase are listed for the first one."""
    return FIELDS | {f"phases.0.{name}": field for name, field in PHASE_FIELDS.items()}


def in_run(where: str, fault: str) -> str:
    """Put the place of a run before a sentence that begins with a path."""
    return f"{where}.{fault}" if where else fault


# --- types -----------------------------------------------------------------------------------------------------------

_BOOLEANS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


def wrong_type(path: str, value: Any, field: Field) -> str | None:
    """The error message for a value that does not fit the type of its field; ``None`` where it fits."""
    if fits(value, field.type):
        return None
    what, wanted = f"{shown(repr(value))} ({type(value).__name__})", in_words(field.type)
    return f"{path} is {what}, but must be {wanted}; the default is {field.default!r}."


def read_text(text: str, type_: Any) -> Any:
    """Parse a text from the command line as a type; return the text itself where that fails.

    >>> read_text("0.5,0.25", tuple[float, ...]), read_text("yes", bool), read_text("many", int)
    ((0.5, 0.25), True, 'many')
    """
    if get_origin(type_) is tuple:
        items = (item.strip(" '\"") for item in text.strip(" ()[]").split(","))
        return tuple(read_text(item, get_args(type_)[0]) for item in items if item)
    if get_origin(type_):  # several types, a choice or a mapping
        return read_literal(text)
    try:
        return _BOOLEANS.get(text.lower(), text) if type_ is bool else type_(text)
    except ValueError:
        return text


def read_literal(text: str) -> Any:
    """A Python literal, or the text itself where it is not one."""
    try:
        return ast.literal_eval(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):  # the last two: too many brackets
        return text

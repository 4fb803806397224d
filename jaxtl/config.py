"""Every field of a config: its default, its type, its check, its meaning. All problems of a config come out at once.

A config is an `ml_collections.ConfigDict`; what it does not set has the default below. Beside the fields it may hold a
`source` (a run that is trained first, to start from) and `baselines` (runs to compare with): configs again, written as
changes to the main one.
"""

import ast
import copy
import dataclasses
import difflib
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ml_collections import ConfigDict

from jaxtl.data.catalogue import dataset_info, list_datasets
from jaxtl.errors import UserError
from jaxtl.models import build_model, list_models
from jaxtl.train.optimizer import OPTIMIZERS, SCHEDULES
from jaxtl.transfer.phases import Phase, trained_stages

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


def one_of(*choices: str) -> Check:
    """The value is one of the choices; the nearest is suggested."""

    def check(value: str) -> str | None:
        if value in choices:
            return None
        near = difflib.get_close_matches(value, choices, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"choose one of {', '.join(choices)}."
        return f"is {value!r}, which does not exist; {hint}"

    return check


def within(low: float, high: float = math.inf, *, open_low: bool = False, open_high: bool = False) -> Check:
    """The value lies between the bounds."""

    def check(value: float) -> str | None:
        if (value > low if open_low else value >= low) and (value < high if open_high else value <= high):
            return None
        if high == math.inf:
            return f"is {value}, but must be {'more than' if open_low else 'at least'} {low}."
        return f"is {value}, but must lie in {'(' if open_low else '['}{low}, {high}{')' if open_high else ']'}."

    return check


def each(check: Check) -> Check:
    """Every element passes the check."""

    def check_all(values: tuple[Any, ...]) -> str | None:
        return next((fault for value in values if (fault := check(value))), None)

    return check_all


def between_one_and_three(values: tuple[Any, ...]) -> str | None:
    """One value for all channels, or one for each of three."""
    return None if len(values) in (1, 3) else f"has {len(values)} values, but needs one a channel, or one for all."


FIELDS: dict[str, Field] = {
    "name": Field("run", "title of the run in its report"),
    "seed": Field(0, "seed of initialisation, shuffling, augmentation and dropout", within(0)),
    "data.name": Field("cifar10", "data set", one_of(*list_datasets())),
    "data.dir": Field("", "folder of the data set; empty: $JAXTL_DATA, else the cache folder"),
    "data.download": Field(True, "fetch the data set if the folder lacks it"),
    "data.classes": Field((), "names of the classes to keep, in the order of their new labels; empty: all"),
    "data.subset": Field(0, "use the first N training images, before the validation split; 0: all", within(0)),
    "data.test_subset": Field(0, "test on the first N test images; 0: all", within(0)),
    "data.per_class": Field(0, "train on N images a class, drawn by data.split_seed; 0: all", within(0)),
    "data.validation": Field(0.1, "share of the training images held out, stratified", within(0, 1, open_high=True)),
    "data.split_seed": Field(0, "seed of the validation split and of per_class", within(0)),
    "data.size": Field(0, "resize images to N x N pixels on the device; 0: as they are", within(0)),
    "data.mean": Field((0.5,), "normalisation mean, images in [0, 1]", between_one_and_three),
    "data.std": Field((0.5,), "normalisation standard deviation, images in [0, 1]", between_one_and_three),
    "model.name": Field("cnn", "architecture", one_of(*list_models())),
    "model.weights": Field("", "start from: tag of pretrained weights, file, run folder, 'source'; empty: random"),
    "model.new_head": Field(True, "with weights: start the head anew; False keeps theirs"),
    "model.dtype": Field("float32", "dtype of the computation; parameters are float32", one_of("float32", "bfloat16")),
    "batch_size": Field(128, "images a step, a multiple of the number of devices", within(1)),
    "checkpoint_every_s": Field(30.0, "least time between two saves, in seconds", within(0)),
}

# The key of the run that is trained first, and the value of `model.weights` that starts from it.
SOURCE = "source"

# `model.options.X` is any option of the architecture; its default, type and check are the architecture's own.
OPTIONS = "model.options."

# The defaults of a phase are those of the dataclass; here are their checks and meanings.
PHASE_FIELDS: dict[str, Field] = {
    name: dataclasses.replace(field, default=getattr(Phase, name))
    for name, field in {
        "train": Field(None, "stages to train, or ('all',)"),
        "epochs": Field(None, "length", within(1)),
        "optimizer": Field(None, "optimiser", one_of(*OPTIMIZERS)),
        "learning_rate": Field(None, "peak learning rate", within(0, open_low=True)),
        "schedule": Field(None, "course of the learning rate", one_of(*SCHEDULES)),
        "warmup_epochs": Field(None, "linear rise from zero, in epochs", within(0)),
        "step_epochs": Field(None, "schedule 'step': epochs between steps", within(1)),
        "step_factor": Field(None, "schedule 'step': factor at each step", within(0, 1, open_low=True)),
        "momentum": Field(None, "momentum of sgd", within(0, 1, open_high=True)),
        "nesterov": Field(None, "Nesterov's form of the momentum"),
        "weight_decay": Field(None, "weight decay, decoupled for adamw, L2 for the others", within(0)),
        "clip_norm": Field(None, "largest global norm of the gradient; 0: off", within(0)),
        "label_smoothing": Field(None, "share of the target spread over all classes", within(0, 1, open_high=True)),
        "flip": Field(None, "mirror a random half of the images"),
        "crop": Field(None, "pixels of padding before a random crop; 0: off", within(0)),
        "monitor": Field(None, "what 'best' means", one_of("val_loss", "val_accuracy")),
        "patience": Field(None, "epochs without a better value before the phase ends; 0: off", within(0)),
        "keep": Field(None, "weights that the phase ends with", one_of("best", "last")),
    }.items()
}


def default_config() -> ConfigDict:
    """A config with every field at its default and one phase, to be changed field by field."""
    config = ConfigDict(type_safe=False)
    for path, field in FIELDS.items():
        _set(config, path, field.default)
    config.model.options = ConfigDict(type_safe=False)
    config.phases = (phase(),)
    config.source = ConfigDict(type_safe=False)
    config.baselines = ConfigDict(type_safe=False)
    return config


def phase(**changes: Any) -> ConfigDict:
    """A phase with every field at its default but the changed ones; see `jaxtl.transfer.Phase`."""
    return ConfigDict({**{name: field.default for name, field in PHASE_FIELDS.items()}, **changes}, type_safe=False)


def override(config: ConfigDict, path: str, text: str) -> str | None:
    """Set a field from the command line, ``phases.0.epochs`` to ``3`` say; return what is wrong with it, if anything.

    The text is read as the type of the field's default; elements of a tuple are separated by commas.
    """
    field = _field(path)
    if field is not None:
        parsed, fault = _parse(text, field.default)
    elif _within_run(path).startswith(OPTIONS):
        parsed, fault = _parse_literal(text), ""
    else:
        return f"{path} does not exist; {_nearest(path)}"
    if fault:
        return f"{path} is {text!r}, but {fault}."
    try:
        _set(config, path, parsed)
    except (IndexError, KeyError, ValueError):
        return f"{path} does not exist; the config has {len(config.phases)} phase(s), counted from 0."
    return None


def check(config: Mapping[str, Any]) -> list[str]:
    """All that is wrong with a config, one sentence each; nothing heavy is touched."""
    problems = list(_check_tree(_plain(config)))
    if problems:
        return problems
    runs = variants(config)
    for where, resolved in runs.items():
        prefix = f"{where}." if where else ""
        if resolved["model"]["weights"] == SOURCE and (SOURCE not in runs or where == SOURCE):
            problems.append(f"{prefix}model.weights is 'source', but the config describes none; fill config.source.")
        problems += [prefix + problem for problem in _check_together(resolved)]
    return problems


def variants(config: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The main config under ``""``, its source under ``"source"``, its baselines under ``"baselines.NAME"``.

    Each is complete: a source or a baseline inherits what it does not change.
    """
    main = _plain(config)
    source, baselines = main.pop(SOURCE, {}), main.pop("baselines", {})
    main = _with_defaults(main)
    trees = {"": main}
    if source:
        # A source trains from scratch unless it says otherwise: it cannot start from itself.
        trees[SOURCE] = _merge(_merge(main, {"name": f"{main['name']}: source", "model": {"weights": ""}}), source)
    for name, changes in baselines.items():
        trees[f"baselines.{name}"] = _merge(_merge(main, {"name": f"{main['name']}: {name}"}), changes)
    return {where: _with_defaults(tree) for where, tree in trees.items()}


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """The fields in which two configs differ, as ``path: old -> new``."""
    left, right = dict(_leaves(_plain(old))), dict(_leaves(_plain(new)))
    return [
        f"{path}: {left.get(path, 'not set')} -> {right.get(path, 'not set')}"
        for path in sorted(left.keys() | right.keys())
        if left.get(path) != right.get(path)
    ]


def field_table() -> list[tuple[str, Any, str]]:
    """(path, default, meaning) of every field, for the help."""
    rows = [(path, field.default, field.doc) for path, field in FIELDS.items()]
    rows += [(f"phases.0.{name}", field.default, field.doc) for name, field in PHASE_FIELDS.items()]
    return rows


# --- trees -----------------------------------------------------------------------------------------------------------


def _plain(config: Any) -> Any:
    """ConfigDicts as dicts, lists as tuples: two configs that say the same are then equal."""
    if isinstance(config, ConfigDict | Mapping):
        return {key: _plain(config[key]) for key in config}
    if isinstance(config, list | tuple):
        return tuple(_plain(value) for value in config)
    return config


def _with_defaults(tree: Mapping[str, Any]) -> dict[str, Any]:
    complete: dict[str, Any] = {}
    for path, field in FIELDS.items():
        _set(complete, path, field.default)
    complete = _merge(complete, tree)
    defaults = {name: field.default for name, field in PHASE_FIELDS.items()}
    complete["phases"] = tuple({**defaults, **changes} for changes in complete.get("phases", ({},)))
    return complete


def _merge(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """``base`` with the leaves of ``changes``; the phases are replaced as a whole."""
    merged = copy.deepcopy(dict(base))
    for key, value in changes.items():
        nested = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = _merge(merged[key], value) if nested else copy.deepcopy(value)
    return merged


def _set(tree: Any, path: str, value: Any) -> None:
    *parents, leaf = path.split(".")
    for parent in parents:
        if isinstance(tree, tuple | list):
            tree = tree[int(parent)]
            continue
        if parent not in tree:
            tree[parent] = type(tree)()
        tree = tree[parent]
    tree[leaf] = value


def _leaves(tree: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """(path, value) of every leaf; phases count as nodes, other tuples as leaves."""
    if isinstance(tree, Mapping):
        for key, value in tree.items():
            yield from _leaves(value, f"{path}.{key}" if path else key)
    elif isinstance(tree, tuple) and any(isinstance(value, Mapping) for value in tree):
        for i, value in enumerate(tree):
            yield from _leaves(value, f"{path}.{i}")
    else:
        yield path, tree


# --- checks ----------------------------------------------------------------------------------------------------------


def _field(path: str) -> Field | None:
    """The field of a path, whichever run and phase it belongs to."""
    parts = _within_run(path).split(".")
    if len(parts) == 3 and parts[0] == "phases" and parts[1].isdigit():
        return PHASE_FIELDS.get(parts[2])
    return FIELDS.get(".".join(parts))


def _within_run(path: str) -> str:
    """The path without ``source.`` or ``baselines.NAME.``."""
    parts = path.split(".")
    skipped = {"source": 1, "baselines": 2}.get(parts[0], 0)
    return ".".join(parts[skipped:])


def _nearest(path: str) -> str:
    known = [*FIELDS, *(f"phases.0.{name}" for name in PHASE_FIELDS)]
    near = difflib.get_close_matches(path, known, n=1, cutoff=0.5)
    # A forgotten section is the commonest slip: `epochs` for `phases.0.epochs`.
    same_leaf = [field for field in known if field.rsplit(".", 1)[-1] == path.rsplit(".", 1)[-1]]
    if same_leaf or near:
        return f"did you mean {(same_leaf or near)[0]}?"
    return "`python -m jaxtl.main --help` lists the fields."


def _check_tree(tree: Mapping[str, Any]) -> Iterator[str]:
    """Unknown fields, wrong types, values out of range."""
    for path, value in _leaves(tree):
        if _within_run(path) == "phases":
            if value != ():
                yield f"{path} is {value!r}, but must be a tuple of phases, as jaxtl.config.phase() makes them."
            continue
        if value == {} or _within_run(path).startswith(OPTIONS):
            continue
        field = _field(path)
        if field is None:
            yield f"{path} does not exist; {_nearest(path)}"
        elif not _fits(value, field.default):
            yield (
                f"{path} is {value!r} ({type(value).__name__}), but must be {_kind(field.default)}; "
                f"the default is {field.default!r}."
            )
        elif fault := field.check(value):
            yield f"{path} {fault}"


def _check_together(config: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with fields that are right by themselves."""
    if not config["phases"]:
        yield "phases is empty, so nothing would train; give at least one phase."
    for i, changes in enumerate(config["phases"]):
        needs_validation = changes["patience"] > 0 or changes["keep"] == "best"
        if needs_validation and config["data"]["validation"] == 0:
            what = "patience" if changes["patience"] else "keep='best'"
            yield (
                f"phases.{i}.{what} needs validation images, but data.validation is 0; "
                "hold some out, or set keep='last' and patience=0."
            )
        if changes["warmup_epochs"] >= changes["epochs"]:
            yield (
                f"phases.{i}.warmup_epochs is {changes['warmup_epochs']}, but the phase has {changes['epochs']} "
                "epoch(s); warm up for less."
            )
    data, model = config["data"], config["model"]
    info = dataset_info(data["name"])
    for name in ("mean", "std"):
        if len(data[name]) not in (1, info.image_shape[-1]):
            yield (
                f"data.{name} has {len(data[name])} values, but {data['name']} has {info.image_shape[-1]} channel(s); "
                "give one value a channel, or one for all."
            )
    for name in data["classes"]:
        if name not in info.class_names:
            near = difflib.get_close_matches(name, info.class_names, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"it has {', '.join(info.class_names)}."
            yield f"data.classes names {name!r}, which {data['name']} does not have; {hint}"
    if len(data["classes"]) == 1 or len(set(data["classes"])) < len(data["classes"]):
        yield f"data.classes is {data['classes']}, but a classifier needs two different classes or more."
    try:
        classes = len(data["classes"] or info.class_names)
        stage_names = build_model(model["name"], classes, **model.get("options", {})).stage_names
    except (UserError, TypeError, ValueError) as error:
        yield f"model.options do not fit: {error}"
        return
    for i, changes in enumerate(config["phases"]):
        try:
            trained_stages(Phase(**changes), stage_names)
        except UserError as error:
            yield f"phases.{i}.train: {error}"


def _fits(value: Any, default: Any) -> bool:
    if isinstance(default, bool) or isinstance(value, bool):
        return isinstance(value, bool) and isinstance(default, bool)
    if isinstance(default, float):
        return isinstance(value, float | int) and math.isfinite(value)
    if isinstance(default, tuple):
        element = default[0] if default else ""
        return isinstance(value, tuple) and all(_fits(item, element) for item in value)
    return isinstance(value, type(default))


def _kind(default: Any) -> str:
    names = {bool: "True or False", int: "a whole number", float: "a number", str: "a string"}
    if isinstance(default, tuple):
        return f"a tuple, each element {_kind(default[0] if default else '')}"
    return names[type(default)]


def _parse(text: str, default: Any) -> tuple[Any, str]:
    """(value, fault) of a command-line text for a field with this default."""
    if isinstance(default, bool):
        value = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}.get(text.lower())
        return value, "" if value is not None else "must be true or false"
    if isinstance(default, tuple):
        inner = text.strip().strip("()[]").replace("'", "").replace('"', "")
        parts = [_parse(item.strip(), default[0] if default else "") for item in inner.split(",") if item.strip()]
        return tuple(value for value, _ in parts), next((fault for _, fault in parts if fault), "")
    try:
        return type(default)(text), ""
    except ValueError:
        return None, f"must be {_kind(default)}"


def _parse_literal(text: str) -> Any:
    """A Python literal, or the text itself where it is none."""
    try:
        return ast.literal_eval(text)
    except (SyntaxError, ValueError):
        return text


def raise_problems(problems: list[str], where: str) -> None:
    """Raise all problems as one error, if there are any.

    Raises:
      UserError: one sentence a problem.
    """
    if len(problems) == 1:
        raise UserError(f"{where}: {problems[0]}")
    if problems:
        raise UserError(f"{where} has {len(problems)} problems:\n" + "\n".join(f"  {problem}" for problem in problems))

"""Configs, made and checked. All problems of a config come out at once.

A config is an `ml_collections.ConfigDict`, or any mapping; what it does not set has the default of
`jaxtl.config.fields`. Beside the fields it may hold a `source` (a run that is trained first, to start from) and
`baselines` (runs to compare with): configs again, written as changes to the main one.
"""

import json
import pathlib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from jaxtl.config.data import data_info, has_validation
from jaxtl.config.fields import (
    BASELINES,
    FIELDS,
    OPTIONS,
    PHASE_FIELDS,
    SOURCE,
    find_field,
    in_run,
    nearest,
    no_field,
    wrong_type,
)
from jaxtl.config.tree import Tree, assign, leaves, merge, plain, without
from jaxtl.errors import UserError
from jaxtl.models import Classifier, build_model, model_options, option_types
from jaxtl.models.classifier import HEAD
from jaxtl.transfer.partition import count_layers
from jaxtl.transfer.phases import ALL, Phase, phase_faults, settle, trained_stages
from jaxtl.weights import weights_for
from jaxtl.weights.cards import card_for
from jaxtl.weights.store import is_tag

T = TypeVar("T")


def default_config() -> ConfigDict:
    """A config with every field at its default and one phase, to be changed field by field."""
    tree: Tree = {}
    for path, field in FIELDS.items():
        assign(tree, path, field.default)
    tree["model"]["options"] = {}
    # Not type-safe: ml_collections would raise over the first wrong type, and `check` names them all.
    return ConfigDict({**tree, "phases": (phase(),), SOURCE: {}, BASELINES: {}}, type_safe=False)


def phase(**changes: Any) -> ConfigDict:
    """A phase with every field at its default but the changed ones; see `jaxtl.transfer.Phase`."""
    return ConfigDict({**{name: field.default for name, field in PHASE_FIELDS.items()}, **changes}, type_safe=False)


def choose(recipe: str, recipes: Mapping[str, T]) -> T:
    """The recipe of a name, in a config file that has several: ``--config configs/resnet18.py:best``.

    Raises:
      UserError: for a name that is not among them.

    >>> choose("best", {"replica": 1, "best": 2})
    2
    """
    if recipe not in recipes:
        raise UserError(f"The config has no recipe {recipe!r}; {nearest(recipe, recipes)}")
    return recipes[recipe]


def check(config: Mapping[str, Any]) -> list[str]:
    """All that is wrong with a config, one sentence each; nothing heavy is touched."""
    problems: list[str] = []
    sound: dict[str, Tree] = {}
    unsound_groups: set[str] = set()
    for where, part in _parts(plain(config)).items():
        if not isinstance(part, dict):
            problems.append(f"{where} is {part!r}, but must hold changes to the main config, as in {{'seed': 1}}.")
            continue
        faults = dict(_field_faults(part))
        problems += [in_run(where, fault) for fault in faults.values()]
        unsound_groups |= {path.split(".")[0] for path in faults}
        sound[where] = without(part, faults)
    runs = _resolve(sound)
    if "data" not in unsound_groups:
        unread = dict.fromkeys(fault for run in runs.values() for fault in _unknown_data(run))
        if unread:  # nothing else can be said about runs on images that are not there
            return [*problems, *unread]
    # What fields say together is worth a look where each of them is right by itself.
    together = [look for look, groups in _TOGETHER.items() if not unsound_groups & groups]
    inherited = {fault for look in together for fault in look(runs[""])}
    for where, run in runs.items():
        faults_here = [fault for look in together for fault in look(run)]
        problems += [in_run(where, fault) for fault in faults_here if not where or fault not in inherited]
    return problems + list(_source_faults(runs)) * ("model" not in unsound_groups)


def variants(config: Mapping[str, Any]) -> dict[str, Tree]:
    """The main config under ``""``, its source under ``"source"``, its baselines under ``"baselines.NAME"``.

    Each is complete: a source or a baseline inherits what it does not change.
    """
    return _resolve(_parts(plain(config)))


def raise_problems(problems: list[str], where: str) -> None:
    """Raise all problems as one error, if there are any.

    Raises:
      UserError: one sentence a problem.
    """
    if len(problems) == 1:
        raise UserError(f"{where}: {problems[0]}")
    if problems:
        raise UserError(f"{where} has {len(problems)} problems:\n" + "\n".join(f"  {problem}" for problem in problems))


# --- the runs of a config --------------------------------------------------------------------------------------------


def _parts(tree: Tree) -> dict[str, Any]:
    """What is written for each run, by its place: the main one, its source, its baselines."""
    parts: dict[str, Any] = {"": {key: value for key, value in tree.items() if key not in (SOURCE, BASELINES)}}
    source, baselines = tree.get(SOURCE, {}), tree.get(BASELINES, {})
    if source != {}:
        parts[SOURCE] = source
    if not isinstance(baselines, dict):
        return {**parts, BASELINES: baselines}
    return parts | {f"{BASELINES}.{name}": changes for name, changes in baselines.items()}


def _resolve(parts: Mapping[str, Tree]) -> dict[str, Tree]:
    main = with_defaults(parts[""])
    runs = {"": main}
    for where, changes in parts.items():
        if where == SOURCE:
            # A source trains from scratch unless it says otherwise: it cannot start from itself.
            runs[where] = merge(merge(main, {"name": f"{main['name']}: source", "model": {"weights": ""}}), changes)
        elif where:
            runs[where] = merge(merge(main, {"name": f"{main['name']}: {where.split('.', 1)[1]}"}), changes)
    return {where: with_defaults(run) for where, run in runs.items()}


def with_defaults(tree: Mapping[str, Any]) -> Tree:
    """The config of one run, complete: what it does not set has its default."""
    complete: Tree = {}
    for path, field in FIELDS.items():
        assign(complete, path, field.default)
    complete = merge(complete, tree)
    defaults = {name: field.default for name, field in PHASE_FIELDS.items()}
    complete["phases"] = tuple({**defaults, **changes} for changes in complete.get("phases", ({},)))
    return complete


_A_MAPPING = re.compile(r"phases\.\d+(\.multipliers)?")


# --- checks ----------------------------------------------------------------------------------------------------------


def _field_faults(part: Tree) -> Iterator[tuple[str, str]]:
    """(path, sentence) of every unknown field, wrong type, and value out of range in what is written for one run."""
    phases = part.get("phases", ())
    if not isinstance(phases, tuple) or not all(isinstance(changes, dict) for changes in phases):
        yield "phases", "phases must be a tuple of phases, as in (phase(epochs=3), phase(epochs=5)), or (phase(),)."
        part = without(part, {"phases"})
    for path, value in leaves(part):
        field = find_field(path)
        if path.startswith(f"{OPTIONS}.") or (value == {} and _is_group(path)) or (path, value) == ("phases", ()):
            continue
        if field is None:
            yield path, no_field(path)
        elif fault := wrong_type(path, value, field.type, field.default):
            yield path, fault
        elif fault := field.check(value):
            yield path, f"{path} {fault}"


def _is_group(path: str) -> bool:
    return path == OPTIONS or any(name.startswith(f"{path}.") for name in FIELDS) or bool(_A_MAPPING.fullmatch(path))


def _phase_faults(run: Tree) -> Iterator[str]:
    if not run["phases"] and (not run["model"]["weights"] or run["model"]["new_head"]):
        yield (
            "phases is empty, which tests weights as they are, but the head would be new; give a phase, or "
            "model.weights with model.new_head=False."
        )
    for i, changes in enumerate(run["phases"]):
        if Phase(**changes).needs_validation and not has_validation(run["data"]):
            what = "patience" if changes["patience"] else "keep='best'"
            yield (
                f"phases.{i}.{what} needs validation images, but data.validation is 0; "
                "hold some out, or set keep='last' and patience=0."
            )


def _unknown_data(run: Tree) -> Iterator[str]:
    try:
        data_info(run["data"])
    except UserError as error:
        yield str(error)


def _data_faults(run: Tree) -> Iterator[str]:
    data = run["data"]
    info = data_info(data)
    channels, sizes = info.image_shape[-1], info.sizes
    for name in ("mean", "std"):
        if len(data[name]) not in (1, channels):
            yield (
                f"data.{name} has {len(data[name])} values, but {data['name']} has {channels} channel(s); "
                "give one value a channel, or one for all."
            )
    for name in data["classes"]:
        if name not in info.class_names:
            yield f"data.classes names {name!r}, which {data['name']} does not have; {nearest(name, info.class_names)}"
    if len(data["classes"]) == 1 or len(set(data["classes"])) < len(data["classes"]):
        yield f"data.classes is {data['classes']}, but a classifier needs two different classes or more."
    for path, count, split in (
        ("data.subset", data["subset"], "train"),
        ("data.test_subset", data["test_subset"], "test"),
        ("batch_size", run["batch_size"], "train"),
    ):
        if count > sizes[split]:
            yield f"{path} is {count}, but {data['name']} has {sizes[split]} {split} images; choose fewer."


def _model_faults(run: Tree) -> Iterator[str]:
    model, data = run["model"], run["data"]
    known, defaults = option_types(model["name"]), model_options(model["name"])
    faults = []
    for name, value in model.get("options", {}).items():
        path = f"{OPTIONS}.{name}"
        if name not in known:
            faults.append(f"{path} does not exist for {model['name']}; {nearest(name, known)}")
        elif fault := wrong_type(path, value, known[name], defaults[name]):
            faults.append(fault)
    yield from faults
    if faults:
        return
    info = data_info(data)
    try:
        built = build_model(model["name"], _class_count(run), **model.get("options", {}))
    except UserError as error:
        yield f"{OPTIONS} do not fit: {error}"
        return
    size = data["size"] or min(info.image_shape[:2])
    if size < built.least_size:
        yield (
            f"data.size is {data['size']}, so the images have {size} x {size} pixels, but {model['name']} needs "
            f"{built.least_size} x {built.least_size} or more; enlarge them."
        )
    yield from _plan_faults(run["phases"], built, (size, size, info.image_shape[-1]))


def _plan_faults(phases: Sequence[Tree], model: Classifier, image_shape: tuple[int, int, int]) -> Iterator[str]:
    layers: dict[str, int] = {}
    for i, changes in enumerate(phases):
        phase = Phase(**changes)
        try:
            # A head has parameters in any case; to count those of other stages takes seconds for a deep network.
            if not layers and not {ALL, HEAD} & set(phase.train):
                image = jax.ShapeDtypeStruct((1, *image_shape), jnp.float32)
                shapes = jax.eval_shape(model.init, jax.random.key(0), image)
                layers = count_layers(shapes["params"], model.stage_names)
            settled, _ = settle(phase, layers)
            trained = trained_stages(settled, model.stage_names)
            if layers and not sum(layers[stage] for stage in trained):
                raise UserError(f"nothing would change, because {', '.join(trained)} has no parameters; train more.")
        except UserError as error:
            yield f"phases.{i}.train: {error}"
            continue
        yield from (f"phases.{i}.{fault}" for fault in phase_faults(settled, model.stage_names))


# What looks at several fields together, and the groups of fields that it reads.
_TOGETHER = {
    _phase_faults: {"phases", "data", "model"},
    _data_faults: {"data", "batch_size"},
    _model_faults: {"model", "data", "phases"},
}


def _source_faults(runs: Mapping[str, Tree]) -> Iterator[str]:
    """What is wrong between the runs, and with what they start from."""
    starts = {where: run["model"]["weights"] for where, run in runs.items()}
    if SOURCE in runs and SOURCE not in starts.values():
        yield "source is described, but no run starts from it; set model.weights='source', or leave source empty."
    for where, start in starts.items():
        if start == SOURCE:
            if SOURCE not in runs or where == SOURCE:
                yield in_run(where, "model.weights is 'source', but the config describes none for it; fill source.")
            else:
                yield from (in_run(where, fault) for fault in _start_faults(runs[where], runs[SOURCE], "the source"))
        elif start:
            yield from (in_run(where, fault) for fault in _weights_faults(runs[where], start))
        if where.startswith(BASELINES) and not re.fullmatch(r"[\w -]+", where.split(".", 1)[1]):
            yield f"{where} has a name that cannot name a folder; take letters, digits, blanks, - and _."


def _weights_faults(run: Tree, start: str) -> Iterator[str]:
    """What is wrong with a tag, a file or a run folder to start from, as far as a look at its description tells."""
    name, path = run["model"]["name"], pathlib.Path(start).expanduser()
    if is_tag(name, start):
        card = card_for(name, start)
        yield from _head_faults(run, card.classes, f"the weights {start!r}")
    elif (path / "summary.json").is_file():
        try:
            described = json.loads((path / "config.json").read_text())["config"]
            yield from _start_faults(run, with_defaults(described), f"the run in {start}")
        except (OSError, ValueError, KeyError, TypeError):
            yield f"model.weights is {start!r}, a run folder whose config.json cannot be read; give another."
    elif not path.is_file():
        tags = ", ".join(card.tag for card in weights_for(name)) or "none"
        yield (
            f"model.weights is {start!r}, which is neither a file, nor the folder of a finished run, nor a tag of "
            f"{name} (it has: {tags}); give one of them."
        )


def _start_faults(run: Tree, source: Tree, what: str) -> Iterator[str]:
    if (theirs := source["model"]["name"]) != run["model"]["name"]:
        yield (
            f"model.weights: {what} is a {theirs}, but model.name is {run['model']['name']!r}; "
            "start from weights of the same architecture."
        )
        return
    yield from _head_faults(run, _class_count(source), what)


def _head_faults(run: Tree, classes: int, what: str) -> Iterator[str]:
    wanted = _class_count(run)
    if not run["model"]["new_head"] and classes != wanted:
        yield (
            f"model.new_head is False, but the head of {what} has {classes} classes and the data {wanted}; "
            "set it to True to start a new head."
        )


def _class_count(run: Tree) -> int:
    return len(run["data"]["classes"] or data_info(run["data"]).class_names)

"""Check configs: all problems at once, one sentence each."""

import functools
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from jaxtl.config.build import parts_of, resolve, tree_of, with_defaults
from jaxtl.config.data import data_info, has_validation
from jaxtl.config.fields import BASELINES, FIELDS, OPTIONS, SOURCE, find_field, in_run, no_field, wrong_type
from jaxtl.config.tree import Tree, leaves, without
from jaxtl.errors import UserError, nearest
from jaxtl.models import Classifier, build_model, option_types
from jaxtl.models.classifier import HEAD
from jaxtl.models.options import checked
from jaxtl.runtime.environment import memory
from jaxtl.runtime.files import user_path
from jaxtl.runtime.run_files import RunFiles
from jaxtl.transfer.partition import count_layers
from jaxtl.transfer.phases import ALL, Phase, phase_faults, settle, trained_stages
from jaxtl.weights import weights_for
from jaxtl.weights.cards import card_for
from jaxtl.weights.hub import is_hub
from jaxtl.weights.store import is_tag

# To train a parameter takes 4 bytes each for its value, its gradient and two moments.
_MOST_PARAMETERS = min(memory() / 16, 4e9)


def check(config: Mapping[str, Any]) -> list[str]:
    """All problems of a config, one sentence each. No image is decoded and no weights are read."""
    problems: list[str] = []
    sound: dict[str, Tree] = {}
    unsound_groups: set[str] = set()
    for where, part in parts_of(tree_of(config)).items():
        if not isinstance(part, dict):
            problems.append(f"{where} is {part!r}, but must hold changes to the main config, as in {{'seed': 1}}.")
            continue
        faults = dict(_field_faults(part))
        problems += [in_run(where, fault) for fault in faults.values()]
        unsound_groups |= {path.split(".")[0] for path in faults}
        sound[where] = without(part, faults)
    runs = resolve(sound)
    if "data" not in unsound_groups:
        unread = dict.fromkeys(fault for run in runs.values() for fault in _unknown_data(run))
        if unread:  # nothing else can be said about runs on images that are not there
            return [*problems, *unread]
    # Fields are checked together only where each of them is right by itself.
    together = [look for look, groups in _TOGETHER.items() if not unsound_groups & groups]
    found = {where: [fault for look in together for fault in look(run)] for where, run in runs.items()}
    for where, faults_here in found.items():  # a problem that a source or a baseline inherits is reported once
        problems += [in_run(where, fault) for fault in faults_here if not where or fault not in found[""]]
    return problems + list(_source_faults(runs)) * ("model" not in unsound_groups)


def raise_problems(problems: list[str], where: str) -> None:
    """Raise all problems as one error, if there are any.

    Raises:
      UserError: one sentence a problem.
    """
    if len(problems) == 1:
        raise UserError(f"{where}: {problems[0]}")
    if problems:
        raise UserError(f"{where} has {len(problems)} problems:\n" + "\n".join(f"  {problem}" for problem in problems))


def _field_faults(part: Tree) -> Iterator[tuple[str, str]]:
    """(path, sentence) of every unknown field, wrong type and value out of range in one part of a config."""
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
        elif fault := wrong_type(path, value, field):
            yield path, fault
        elif fault := field.check.fault(value):
            yield path, f"{path} {fault}"


def _is_group(path: str) -> bool:
    is_phase, takes_names = re.fullmatch(r"phases\.\d+", path), find_field(f"{path}.name")
    return path == OPTIONS or any(name.startswith(f"{path}.") for name in FIELDS) or bool(is_phase or takes_names)


def _phase_faults(run: Tree) -> Iterator[str]:
    if not run["phases"] and (not run["model"]["weights"] or run["model"]["new_head"]):
        yield (
            "phases is empty, which tests weights as they are, but the head would be new; give a phase, or "
            "model.weights with model.new_head=False."
        )
    yield from _unknown_classes(run, "data.per_class", run["data"]["per_class"])
    for i, changes in enumerate(run["phases"]):
        yield from _unknown_classes(run, f"phases.{i}.class_weights", changes["class_weights"])
        if Phase(**changes).needs_validation and not has_validation(run["data"]):
            what = "patience" if changes["patience"] else "keep='best'"
            yield (
                f"phases.{i}.{what} needs validation images, but data.validation is 0; "
                "hold some out, or set keep='last' and patience=0."
            )


def _unknown_classes(run: Tree, path: str, by_class: Any) -> Iterator[str]:
    if not isinstance(by_class, Mapping) or not by_class:  # no class is named, and to scan images takes a while
        return
    classes = run["data"]["classes"] or data_info(run["data"]).class_names
    for name in by_class:
        if name not in classes:
            yield f"{path} names {name!r}, which is not a class of the data; {nearest(name, classes)}"


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
    folds, fold = data["folds"], data["fold"]
    if folds == 1 or 0 <= fold >= folds:
        yield f"data.folds is {folds} and data.fold {fold}; take two folds or more, which are counted from 0."
    if folds and "val" in sizes:
        yield f"data.folds is {folds}, but {data['name']} has validation images of its own; set data.folds to 0."
    for path, count, split in (
        ("data.subset", data["subset"], "train"),
        ("data.test_subset", data["test_subset"], "test"),
        ("batch_size", run["batch_size"], "train"),
    ):
        if count > sizes[split]:
            yield f"{path} is {count}, but {data['name']} has {sizes[split]} {split} images; choose fewer."


def _model_faults(run: Tree) -> Iterator[str]:
    model, data = run["model"], run["data"]
    options = model.get("options", {})
    if faults := [*_option_faults(model["name"], options)]:
        yield from faults
        return
    info = data_info(data)
    try:
        built = build_model(model["name"], _class_count(run), **options)
    except UserError as error:
        yield f"{OPTIONS} do not fit: {error}"
        return
    size = data["size"] or min(info.image_shape[:2])
    image_shape = (size, size, info.image_shape[-1])
    if size < built.least_size:
        yield (
            f"data.size is {data['size']}, so the images have {size} x {size} pixels, but {model['name']} needs "
            f"{built.least_size} x {built.least_size} or more; enlarge them."
        )
    elif (options or size > 512) and (parameters := _parameter_count(built, image_shape)) > _MOST_PARAMETERS:
        yield (
            f"{OPTIONS} and data.size make a network of {parameters:,} parameters, more than fit into memory; "
            "choose fewer units or smaller images."
        )
        return
    H, W, channels = info.image_shape
    for i, changes in enumerate(run["phases"]):
        if changes["crop"] > size:
            yield f"phases.{i}.crop is {changes['crop']}, but the images have {size} x {size} pixels; choose less."
        if changes["quarter_turns"] and H != W:
            yield f"phases.{i}.quarter_turns needs square images, but these have {W} x {H} pixels; leave it off."
        for name in ("saturation", "hue"):
            if changes[name] and channels == 1:
                yield f"phases.{i}.{name} changes nothing in grey images, as these are; leave it at 0."
    yield from _plan_faults(run["phases"], built, image_shape)


def _option_faults(name: str, options: Tree) -> Iterator[str]:
    known = option_types(name)
    for option, value in options.items():
        path = f"{OPTIONS}.{option}"
        if option not in known:
            yield f"{path} does not exist for {name}; {nearest(option, known)}"
            continue
        try:
            checked(path, option, known[option], value)
        except UserError as error:
            yield str(error)


@functools.lru_cache(maxsize=64)
def _shapes(model: Classifier, image_shape: tuple[int, int, int]) -> Any:
    """The shapes of the parameters. Nothing is computed, but tracing a deep network takes seconds."""
    image = jax.ShapeDtypeStruct((1, *image_shape), jnp.float32)
    return jax.eval_shape(model.init, jax.random.key(0), image)["params"]


def _parameter_count(model: Classifier, image_shape: tuple[int, int, int]) -> int:
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(_shapes(model, image_shape)))


def _plan_faults(phases: Sequence[Tree], model: Classifier, image_shape: tuple[int, int, int]) -> Iterator[str]:
    layers: dict[str, int] = {}
    for i, changes in enumerate(phases):
        phase = Phase(**changes)
        try:
            # A head has parameters in any case; to count those of other stages takes seconds for a deep network.
            if not layers and not {ALL, HEAD} & set(phase.train):
                layers = count_layers(_shapes(model, image_shape), model.stage_names)
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
    """Problems between the runs, and with the weights that they start from."""
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
    """Problems with a tag, a file or a run folder to start from, without reading the weights."""
    name, path = run["model"]["name"], user_path(start)
    if is_hub(start):
        return  # what it holds is known once it is read
    files = RunFiles(path)
    if is_tag(name, start):
        yield from _head_faults(run, card_for(name, start).classes, f"the weights {start!r}")
    elif not files.unfinished():
        try:
            with files.explained(files.CONFIG):
                found = [*_start_faults(run, with_defaults(files.config()["config"]), f"the run in {start}")]
        except UserError as error:
            found = [f"model.weights: {error}"]
        yield from found
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

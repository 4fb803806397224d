"""The story of a run on one page: data -> model -> phases -> test -> report."""

import contextlib
import math
import pathlib
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from jaxtl.config import SOURCE, check, raise_problems, variants
from jaxtl.config_data import load_splits, preprocessing
from jaxtl.config_model import create, settled_plan
from jaxtl.data.augment import Transform, compose
from jaxtl.data.dataset import Dataset
from jaxtl.data.prepare import Splits
from jaxtl.environment import describe, device
from jaxtl.errors import UserError
from jaxtl.models import Classifier
from jaxtl.models.grad_cam import ClassMaps
from jaxtl.report import html
from jaxtl.report.comparison import Arm, compare
from jaxtl.report.console import RunConsole
from jaxtl.report.figures import draw
from jaxtl.report.statistics import classification_scores
from jaxtl.report.tensorboard import write_events
from jaxtl.report.text import duration
from jaxtl.run_folder import RunFolder
from jaxtl.train.checkpoint import Checkpoints
from jaxtl.train.class_maps import class_maps
from jaxtl.train.evaluate import Evaluation, make_evaluator
from jaxtl.train.examples import place
from jaxtl.train.features import FeatureCache, head_alone
from jaxtl.train.interrupt import stop_on_signals
from jaxtl.train.loop import Fitted, fit
from jaxtl.train.mesh import data_mesh
from jaxtl.train.progress import Progress
from jaxtl.transfer.partition import Variables
from jaxtl.transfer.phases import Phase, caches_features, trained_stages

Summary = dict[str, Any]

# What an interval over test images does not cover, said wherever runs are compared.
ONE_DRAW = (
    "Each run of the comparison is one draw of training images and one initialisation; the intervals and the test "
    "cover the choice of test images alone."
)


def run(config: Mapping[str, Any], workdir: str | pathlib.Path, *, console: RunConsole | None = None) -> Summary:
    """Train, test and report what a config describes; or go on with it, where the work folder was left.

    Args:
      config: as the files in ``configs/`` return it; see ``jaxtl.config`` for the fields.
      workdir: the run folder. Source and baselines get run folders of their own inside.
      console: where to print.

    Returns:
      The content of ``summary.json``: ``test`` {accuracy, loss, precision, recall, f1, n, confusion_matrix,
      per_class}, ``time`` {compile_s, train_s, features_s, inference_s, total_s} in seconds, of which
      ``features_s`` is the part of ``train_s`` that kept features took; ``params`` {total, trainable}, ``best_epoch``,
      ``epochs_run``, and ``comparison`` where the config names baselines.

    Raises:
      UserError: for a mistake in the config, the data or the folder.
      jaxtl.train.interrupt.Interrupted: on SIGTERM or Ctrl-C, after everything is saved.
    """
    raise_problems(check(config), "The config")
    console, workdir = console or RunConsole(), pathlib.Path(workdir)
    runs = variants(config)
    main, source = runs.pop(""), runs.pop(SOURCE, None)
    whole = {**main, **({SOURCE: source} if source else {}), **runs}

    def start_of(tree: Mapping[str, Any]) -> str | pathlib.Path | None:
        weights = tree["model"]["weights"]
        return workdir / SOURCE if weights == SOURCE else weights or None

    with _disk_errors_explained(workdir), RunFolder(workdir, whole) as folder, contextlib.closing(console):
        if finished := folder.summary():
            console.say(f"{workdir} is finished: nothing was trained, and the test images were not looked at again.")
            console.summary(main["name"], finished, str(folder.report))
            return finished
        if source or runs:
            _look_at_weights([tree for tree in (source, *runs.values(), main) if tree], start_of)
        if source:
            with RunFolder(workdir / SOURCE, source) as beside:
                _train_and_test(source, beside, start_of(source), console)
        baselines = []
        for where, baseline in runs.items():
            name = where.removeprefix("baselines.")
            with RunFolder(workdir / "baselines" / name, baseline) as beside:
                summary = _train_and_test(baseline, beside, start_of(baseline), console)
                baselines.append(_arm(name, baseline, summary, beside))
        return _train_and_test(main, folder, start_of(main), console, baselines)


@contextlib.contextmanager
def _disk_errors_explained(workdir: pathlib.Path) -> Iterator[None]:
    """Turn a full or failing disk into a sentence, wherever it shows."""
    try:
        yield
    except BrokenPipeError:
        raise  # of the screen, not of the disk
    except OSError as error:
        raise UserError(
            f"The work folder {workdir} cannot be written or read ({error.strerror or error}); free some space or mend "
            "the folder and run the same command again: it goes on from the last checkpoint."
        ) from error


def _train_and_test(
    config: Mapping[str, Any],
    folder: RunFolder,
    weights: str | pathlib.Path | None,
    console: RunConsole,
    baselines: Sequence[Arm] = (),
) -> Summary:
    """One run and its report; its result alone, where the folder holds it already."""
    if finished := folder.summary():
        return finished
    start = time.perf_counter()
    console.say(f"\n{config['name']}, on {device()}")
    plan = tuple(Phase(**phase) for phase in config["phases"])
    model, variables = create(config, weights)  # first: a mistake in the weights shows before any data is fetched
    plan, remarks = settled_plan(plan, model, variables["params"])
    splits = load_splits(config["data"], console.on_decoded)
    if splits.validation is None and any(phase.needs_validation for phase in plan):
        raise UserError(
            f"data.validation={config['data']['validation']} holds out none of the {len(splits.train)} training "
            "images, but a phase needs some; take more images, or set keep='last' and patience=0."
        )
    # Not before: a mistake so far leaves the folder free for the command that mends it.
    folder.begin(describe(), {"image_shape": splits.train.image_shape, "class_names": splits.train.class_names})
    folder.write_split(splits.train.ids, splits.validation.ids if splits.validation else splits.train.ids[:0])
    folder.write_remarks(splits.remarks)
    console.remarks(splits.remarks, str(folder.remarks))
    console.parameters(variables["params"])
    for remark in remarks:
        console.say(remark)

    preprocess, batch_size = preprocessing(config["data"]), config["batch_size"]
    mesh = data_mesh(batch_size)
    if mesh.size < jax.device_count():
        console.say(f"Batches of {batch_size} are shared evenly by {mesh.size} of {jax.device_count()} devices.")
    with contextlib.closing(Checkpoints(folder.checkpoints)) as checkpoints:
        # The checkpoint is what counts: lines written after it belong to epochs that will be run again.
        saved = Progress(**(checkpoints.last_progress() or {}))
        spent_before = saved.compile_s + saved.features_s + saved.seconds
        spent_before += sum(line["seconds"] for line in saved.history)
        folder.write_history(saved.history)
        if saved.total_step:
            console.say(f"Going on after epoch {len(saved.history)}, from step {saved.total_step}.")
        console.keep_line = folder.append_line
        # Elsewhere the signals keep their usual effect: whatever else is written appears whole or not at all.
        with stop_on_signals(signal.SIGTERM, signal.SIGINT) as stop:
            features = FeatureCache(model, preprocess, batch_size=batch_size, mesh=mesh, observer=console, stop=stop)
            fitted = fit(
                model,
                variables,
                plan,
                splits.train,
                splits.validation,
                preprocess=preprocess,
                batch_size=batch_size,
                seed=config["seed"],
                mesh=mesh,
                features=features,
                checkpoints=checkpoints,
                checkpoint_every_s=config["checkpoint_every_s"],
                observer=console,
                stop=stop,
            )
            test = _test(model, fitted.variables, plan[-1], splits.test, preprocess, batch_size, mesh, features)

    if not math.isfinite(test.loss):
        raise UserError(
            f"The loss of {config['name']!r} on the test images is not a number, so its figures would mean nothing; "
            "lower the learning rate or set clip_norm, and start in a new work folder."
        )
    summary = _summarise(config["name"], model, plan, fitted, test, splits.test.class_names)
    folder.write_predictions(
        splits.test.ids, splits.test.labels, test.predicted, test.probability, splits.test.class_names
    )
    if baselines:
        this = _arm(config["arm"], config, summary, folder)
        summary["comparison"] = compare([this, *baselines])
    summary["time"]["total_s"] = spent_before + time.perf_counter() - start
    _report(config, folder, splits, model, preprocess, fitted, test, summary, baselines)
    folder.write_summary(summary)  # last of all: this file says that the run is finished
    console.summary(config["name"], summary, str(folder.report))
    return summary


def _test(
    model: Classifier,
    variables: Variables,
    last: Phase,
    test: Dataset,
    preprocess: Transform,
    batch_size: int,
    mesh: Mesh,
    features: FeatureCache,
) -> Evaluation:
    """One pass over the test images; where the last phase kept features, the backbone's first and then the head's."""
    if not caches_features(last, model.stage_names, variables["batch_stats"]):
        images = place(test, mesh)
        return make_evaluator(model, images, preprocess, batch_size=batch_size, mesh=mesh)(variables)
    kept = features.of(variables, "test", test)
    evaluate = make_evaluator(model, kept.examples, compose(), batch_size=batch_size, mesh=mesh, method="classify")
    found = evaluate(head_alone(variables))
    return found._replace(seconds=kept.seconds + found.seconds, compile_s=kept.compile_s + found.compile_s)


def _look_at_weights(
    trees: Sequence[Mapping[str, Any]], start_of: Callable[[Mapping[str, Any]], str | pathlib.Path | None]
) -> None:
    """Let weights that do not fit be told before the first of several runs trains, not when their turn comes."""
    seen: list[Mapping[str, Any]] = []
    for tree in trees:
        described = {"model": tree["model"], "classes": tree["data"]["classes"], "size": tree["data"]["size"]}
        if tree["model"]["weights"] not in ("", SOURCE) and described not in seen:
            seen.append(described)
            create(tree, start_of(tree))


def _summarise(
    name: str, model: Classifier, plan: Sequence[Phase], fitted: Fitted, test: Evaluation, class_names: Sequence[str]
) -> Summary:
    """Everything of ``summary.json`` but the comparison and the total time."""
    scores = classification_scores(test.confusion)
    per_class = [{"class": name, **line} for name, line in zip(class_names, scores["per_class"], strict=True)]
    params = fitted.variables["params"]
    trained = {stage for phase in plan for stage in trained_stages(phase, model.stage_names)}
    return {
        "name": name,
        "test": {
            "accuracy": test.accuracy,
            "loss": test.loss,
            **{score: scores[score] for score in ("precision", "recall", "f1")},
            "n": int(test.confusion.sum()),
            "confusion_matrix": test.confusion.tolist(),
            "per_class": per_class,
        },
        "time": {
            "compile_s": fitted.compile_s + test.compile_s,
            "train_s": sum(line["seconds"] for line in fitted.history) + fitted.features_s,
            "features_s": fitted.features_s,
            "inference_s": test.seconds,
        },
        "params": {
            "total": _count(params),
            "trainable": _count({stage: leaves for stage, leaves in params.items() if stage in trained}),
        },
        "best_epoch": fitted.best_epoch,
        "epochs_run": len(fitted.history),
    }


def _count(params: Mapping[str, Any]) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(params))


def _report(
    config: Mapping[str, Any],
    folder: RunFolder,
    splits: Splits,
    model: Classifier,
    preprocess: Transform,
    fitted: Fitted,
    test: Evaluation,
    summary: Summary,
    baselines: Sequence[Arm],
) -> None:
    """Pictures, page and event files."""
    comparison = summary.get("comparison", [])

    def explain(shown: np.ndarray) -> ClassMaps | None:
        images, labels = np.asarray(splits.test.images[shown]), splits.test.labels[shown]
        return class_maps(model, fitted.variables, images, test.predicted[shown], labels, preprocess)

    figures = draw(
        history=fitted.history,
        best_epoch=fitted.best_epoch,
        class_names=splits.test.class_names,
        train_images=splits.train.images,
        train_labels=splits.train.labels,
        test_images=splits.test.images,
        test_labels=splits.test.labels,
        predicted=test.predicted,
        probability=test.probability,
        losses=test.losses,
        confusion=test.confusion,
        comparison=comparison,
        histories={config["arm"]: fitted.history, **{arm.name: arm.history for arm in baselines}},
        explain=explain,
    )
    html.write_report(
        folder.report,
        title=config["name"],
        summary=summary,
        config=config,
        history=fitted.history,
        class_names=splits.test.class_names,
        figures=figures,
        comparison=comparison or None,
        notes=[ONE_DRAW] if comparison else [],
        environment={**describe(), "seed": config["seed"], "wall time": duration(summary["time"]["total_s"])},
    )
    scores = ("accuracy", "loss", "precision", "recall", "f1")
    write_events(
        folder.tensorboard, fitted.history, figures, {f"test/{score}": summary["test"][score] for score in scores}
    )


def _arm(name: str, config: Mapping[str, Any], summary: Summary, folder: RunFolder) -> Arm:
    """A run as the comparison takes it."""
    per_class = config["data"]["per_class"]
    return Arm(name, _in_words(config), summary, folder.history(), folder.predictions(), per_class)


def _in_words(config: Mapping[str, Any]) -> str:
    """How a run was trained, in one line."""
    start = {"": "random weights", SOURCE: "weights of the source"}
    steps = [f"{phase['epochs']} epochs of {'+'.join(phase['train'])}" for phase in config["phases"]]
    return f"from {start.get(config['model']['weights'], config['model']['weights'])}: {', then '.join(steps)}"

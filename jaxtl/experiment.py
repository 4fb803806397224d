"""The story of a run on one page: data -> model -> phases -> test -> report. Read this first."""

import contextlib
import dataclasses
import math
import pathlib
import signal
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
import rich.console

from jaxtl.config import SOURCE, check, raise_problems, variants
from jaxtl.config.data import load_splits, preprocessing
from jaxtl.config.model import create, settled_plan
from jaxtl.data.dataset import Dataset
from jaxtl.data.overview import lines as overview_lines
from jaxtl.data.prepare import Splits
from jaxtl.errors import UserError
from jaxtl.report.comparison import Comparison, compare_with_baselines
from jaxtl.report.console import RunConsole
from jaxtl.report.remarks import majority, remarks
from jaxtl.report.statistics import calibration, classification_scores
from jaxtl.report.text import counted, duration, percent
from jaxtl.runs.folder import RunFolder, open_folder
from jaxtl.runs.read import read_run
from jaxtl.runtime.compile_cache import keep_compiled
from jaxtl.runtime.environment import describe, device, invocation
from jaxtl.runtime.files import cache_dir, user_path
from jaxtl.runtime.interrupts import stop_on_signals
from jaxtl.runtime.mesh import data_mesh
from jaxtl.runtime.processes import (
    broadcast,
    broadcast_arrays,
    gather_ints,
    is_main_process,
    main_process_first,
)
from jaxtl.train.checkpoint import Checkpoints
from jaxtl.train.evaluate import Evaluation, folded, make_evaluator
from jaxtl.train.examples import place
from jaxtl.train.feature_store import FeatureStore
from jaxtl.train.loop import Fitted, fit
from jaxtl.train.progress import Progress
from jaxtl.train.task import Session, Task
from jaxtl.transfer.phases import Phase, caches_features, trained_stages

Config = Mapping[str, Any]
Weights = str | pathlib.Path | None  # a tag, a file or a run folder; None: random variables


class Summary(dict[str, Any]):
    """The content of ``summary.json``; a notebook shows a line of it, not every cell of the confusion matrix."""

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        test = self["test"]
        line = f"test accuracy {percent(test['accuracy'])} on {counted(test['n'], 'image')}"
        printer.text(f"Summary of {self['name']!r}: {line}; keys {', '.join(self)}")


Baseline = tuple[str, Summary, RunFolder]  # name, summary and folder


def run(config: Config, workdir: str | pathlib.Path, *, console: RunConsole | None = None) -> Summary:
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
      jaxtl.runtime.interrupts.Interrupted: on SIGTERM or Ctrl-C, after everything is saved.
    """
    raise_problems(check(config), "The config")
    keep_compiled()
    console = console or RunConsole(None if is_main_process() else rich.console.Console(quiet=True))
    workdir = user_path(workdir)
    runs = variants(config)
    main, source = runs.pop(""), runs.pop(SOURCE, None)
    whole = {**main, **({SOURCE: source} if source else {}), **runs}

    with disk_errors_explained(workdir), open_folder(workdir, whole) as folder, contextlib.closing(console):
        if finished := broadcast(folder.summary()):
            console.say(f"{workdir} is finished: nothing was trained, and the test images were not looked at again.")
            console.summary(main["name"], finished, str(folder.report))
            return Summary(finished)
        if (source or runs) and is_main_process():
            validate_weights([tree for tree in (source, *runs.values(), main) if tree], workdir)
        if source:
            with open_folder(workdir / SOURCE, source) as beside:
                _run_one(source, beside, start_weights(source, workdir), console)
        baselines: list[Baseline] = []
        for where, baseline in runs.items():
            name = where.removeprefix("baselines.")
            with open_folder(workdir / "baselines" / name, baseline) as beside:
                summary = _run_one(baseline, beside, start_weights(baseline, workdir), console)
                baselines.append((name, summary, beside))
        return _run_one(main, folder, start_weights(main, workdir), console, baselines)


def _run_one(
    config: Config,
    folder: RunFolder,
    weights: Weights,
    console: RunConsole,
    baselines: Sequence[Baseline] = (),
) -> Summary:
    """Train, test and report one run; only its summary, where the folder holds it already."""
    if finished := broadcast(folder.summary()):
        return Summary(finished)
    start = time.perf_counter()
    with train(config, folder, weights, console) as trained:
        found = test(trained)
    if not math.isfinite(found.loss):
        raise UserError(
            f"The loss of {config['name']!r} on the test images is not a number, so its figures would mean nothing; "
            "lower the learning rate or set clip_norm, and start in a new work folder."
        )
    summary = summarise(config["name"], trained, found)
    if is_main_process():
        images = trained.test
        folder.write_predictions(images.ids, images.labels, found.predicted, found.probability, images.class_names)
        summary["time"]["total_s"] = trained.spent_before + time.perf_counter() - start
        write_report(config, folder, trained, found, summary, baselines)
        folder.write_summary(summary)  # last of all: this file says that the run is finished
        console.summary(config["name"], summary, str(folder.report))
    return Summary(broadcast(summary))  # once the main process has reported


class Trained(NamedTuple):
    """What training leaves for the test.

    Attributes:
      task: model, plan, images and devices.
      test: the test images, which training has not seen.
      data: what was read, see ``jaxtl.data.overview.overview``.
      fitted: the variables to test, and how they came about.
      spent_before: seconds that earlier processes of the same run took.
    """

    task: Task
    test: Dataset
    data: Mapping[str, Any]
    fitted: Fitted
    spent_before: float


@contextlib.contextmanager
def train(
    config: Config,
    folder: RunFolder,
    weights: Weights,
    console: RunConsole,
    load: Callable[[Config], Splits] | None = None,
) -> Iterator[Trained]:
    """Data -> model -> phases: one run up to its test, or the rest of it where the folder was left.

    A context, in which a signal waits until what is under way has ended.

    Args:
      config: of one run, complete: one of ``jaxtl.config.variants``.
      folder: where checkpoints and history go.
      weights: what the network starts from.
      console: is told of everything, epoch by epoch.
      load: gives the images of the config's data fields, if they are at hand.

    Raises:
      UserError: for a mistake in the weights or the data.
      jaxtl.train.phase.DivergedError: the loss is not a number any more.
      jaxtl.runtime.interrupts.Interrupted: on SIGTERM or Ctrl-C, after everything is saved.
    """
    console.say(f"\n{config['name']}, on {device()}")
    with main_process_first():
        # The model first: a mistake in the weights shows before any data is fetched. One process reads them for all.
        model, variables = create(config, weights if is_main_process() else None)
        plan, remarks = settled_plan([Phase(**phase) for phase in config["phases"]], model, variables["params"])
        splits = load(config["data"]) if load else load_splits(config["data"], console.on_decoded)
    variables = broadcast_arrays(variables)
    _check_splits(splits, plan, config)
    _begin(folder, splits)
    for line in overview_lines(splits.overview):
        console.say(line)
    console.remarks(splits.remarks, str(folder.remarks))
    console.parameters(variables["params"])
    for remark in remarks:
        console.say(remark)
    batch_size = config["batch_size"]
    mesh = data_mesh(batch_size)
    if mesh.size < jax.device_count():
        console.say(f"Batches of {batch_size} are shared evenly by {mesh.size} of {jax.device_count()} devices.")
    preprocess = preprocessing(config["data"])
    task = Task(model, plan, splits.train, splits.validation, preprocess, batch_size, config["seed"], mesh)
    with contextlib.closing(Checkpoints(folder.checkpoints)) as checkpoints:
        # The checkpoint is what counts: lines written after it belong to epochs that will be run again.
        saved = checkpoints.last_progress() or Progress()
        folder.write_history(saved.history)
        if saved.total_step:
            console.say(f"Going on after epoch {len(saved.history)}, from step {saved.total_step}.")
        console.keep_line = folder.append_line
        # Elsewhere the signals keep their usual effect: whatever else is written appears whole or not at all.
        with stop_on_signals(signal.SIGTERM, signal.SIGINT) as stop:
            bound = config["keep_features_gb"] * 1e9
            store = FeatureStore(cache_dir() / "features", bound) if bound else None
            session = Session(checkpoints, config["checkpoint_every_s"], console, stop, store)
            fitted = fit(task, variables, session)
            yield Trained(task, splits.test, splits.overview, fitted, saved.spent_s())


def _check_splits(splits: Splits, plan: Sequence[Phase], config: Config) -> None:
    """Check that the images suit the plan and are the same in all processes, as far as names and labels tell.

    Raises:
      UserError: they do not.
    """
    parts = [part for part in (splits.train, splits.validation, splits.test) if part is not None]
    content = b"".join(array.tobytes() for part in parts for array in (part.ids, part.labels))
    sums = gather_ints([zlib.crc32(content) >> 1])  # 31 bits
    if (sums != sums[0]).any():
        raise UserError(
            "The processes of this run do not see the same images; give all hosts the same files under data.dir."
        )
    if splits.validation is None and any(phase.needs_validation for phase in plan):
        raise UserError(
            f"data.validation={config['data']['validation']} holds out none of the {len(splits.train)} training "
            "images, but a phase needs some; take more images, or set keep='last' and patience=0."
        )


def _begin(folder: RunFolder, splits: Splits) -> None:
    """Write what is known before training. A mistake so far leaves the folder free for the corrected command."""
    seen = {"image_shape": splits.train.image_shape, "class_names": splits.train.class_names}
    folder.begin({**describe(), **invocation()}, seen)
    held_out = splits.validation.ids if splits.validation else splits.train.ids[:0]
    folder.write_split(splits.train.ids, held_out, splits.test.ids)
    folder.write_remarks(splits.remarks)


def test(trained: Trained) -> Evaluation:
    """One pass over the test images; where the last phase kept features, through its compiled backbone."""
    task, variables, images = trained.task, trained.fitted.variables, trained.test
    last = task.plan[-1:]
    features_serve = last and caches_features(last[0], task.model.stage_names, variables["batch_stats"])
    if features_serve:
        kept = trained.fitted.features.of(variables, "test", images)
        found = task.evaluate_features(kept)(variables)
        return found._replace(seconds=kept.seconds + found.seconds, compile_s=kept.compile_s + found.compile_s)
    model, variables = folded(task.model, variables, channels=images.image_shape[-1], mesh=task.mesh)
    examples = place(images, task.mesh)
    evaluate = make_evaluator(model, examples, task.preprocess, batch_size=task.batch_size, mesh=task.mesh)
    return evaluate(variables)


def summarise(name: str, trained: Trained, found: Evaluation) -> Summary:
    """Everything of ``summary.json`` but the comparison and the total time."""
    fitted, plan, class_names = trained.fitted, trained.task.plan, trained.test.class_names
    scores = classification_scores(found.confusion)
    params = fitted.variables["params"]
    stages = {stage for phase in plan for stage in trained_stages(phase, trained.task.model.stage_names)}
    sizes = {stage: sum(leaf.size for leaf in jax.tree.leaves(tree)) for stage, tree in params.items()}
    content = {
        "name": name,
        "data": trained.data,
        "test": {
            "accuracy": found.accuracy,
            "loss": found.loss,
            **{score: scores[score] for score in ("precision", "recall", "f1")},
            **({"top5": float((found.ranks < 5).mean())} if len(class_names) > 10 else {}),
            "calibration_error": calibration(found.probability, found.ranks == 0)[1],
            "n": int(found.confusion.sum()),
            "majority": majority(found.confusion, class_names),
            "remarks": remarks(found.confusion, class_names),
            "confusion_matrix": found.confusion.tolist(),
            "per_class": [{"class": name, **line} for name, line in zip(class_names, scores["per_class"], strict=True)],
        },
        "time": {
            "compile_s": fitted.compile_s + found.compile_s,
            "train_s": sum(line["seconds"] for line in fitted.history) + fitted.features_s,
            "features_s": fitted.features_s,
            "inference_s": found.seconds,
        },
        "params": {
            "total": sum(sizes.values()),
            "trainable": sum(size for stage, size in sizes.items() if stage in stages),
        },
        "best_epoch": fitted.best_epoch,
        "epochs_run": len(fitted.history),
    }
    return Summary(content)


def write_report(
    config: Config,
    folder: RunFolder,
    trained: Trained,
    found: Evaluation,
    summary: Summary,
    baselines: Sequence[Baseline],
) -> None:
    """Pictures, page and event files; where there are baselines, ``comparison`` is added to the summary."""
    # Not at the top: the libraries that draw take long to import, and no training should wait for them.
    from jaxtl.report import html
    from jaxtl.report.figures import draw
    from jaxtl.report.tensorboard import write_events
    from jaxtl.train.class_maps import ClassMaps, class_maps

    task, history, images = trained.task, trained.fitted.history, trained.test
    comparison = _compared(config, folder, summary, baselines)
    if comparison:
        summary["comparison"] = comparison.record()

    def explain(shown: np.ndarray) -> ClassMaps | None:
        variables = jax.device_get(trained.fitted.variables)  # the other processes draw nothing
        chosen, labels = np.asarray(images.images[shown]), images.labels[shown]
        return class_maps(task.model, variables, chosen, found.predicted[shown], labels, task.preprocess)

    figures = draw(
        history=history,
        best_epoch=trained.fitted.best_epoch,
        tested=_findings(config, images, found),
        train_images=task.train.images,
        train_labels=task.train.labels,
        comparison=comparison,
        explain=explain,
    )
    took = duration(summary["time"]["total_s"])
    html.write_report(
        folder.report,
        title=config["name"],
        summary=summary,
        config=config,
        history=history,
        class_names=images.class_names,
        figures=figures,
        comparison=comparison,
        environment={**invocation(), **describe(), "seed": config["seed"], "wall time": took},
    )
    scores = {f"test/{score}": summary["test"][score] for score in ("accuracy", "loss", "precision", "recall", "f1")}
    write_events(folder.tensorboard, history, figures, scores)


def _compared(config: Config, folder: RunFolder, summary: Summary, baselines: Sequence[Baseline]) -> Comparison | None:
    """The run beside its baselines, if it has any."""
    if not baselines:
        return None
    runs = [(config["arm"], summary, folder), *baselines]
    this, *others = (dataclasses.replace(read_run(of.path, its), name=name) for name, its, of in runs)
    return compare_with_baselines(this, others)


def _findings(config: Config, images: Dataset, found: Evaluation) -> Any:
    """The test as the report takes it."""
    from jaxtl.report.figures import Findings  # not at the top, see write_report

    return Findings(
        images=images.images,
        labels=images.labels,
        ids=images.ids,
        class_names=images.class_names,
        predicted=found.predicted,
        probability=found.probability,
        losses=found.losses,
        confusion=found.confusion,
        originals=pathlib.Path(config["data"]["dir"]) if config["data"]["dir"] else None,
    )


def start_weights(config: Config, workdir: pathlib.Path) -> Weights:
    """What a run starts from; the work folder is the one that holds its source."""
    weights = config["model"]["weights"]
    return workdir / SOURCE if weights == SOURCE else weights or None


def validate_weights(trees: Sequence[Config], workdir: pathlib.Path) -> None:
    """Check that weights fit before anything trains, where several runs follow each other.

    Raises:
      UserError: weights of one of the runs do not fit its model.
    """
    seen: list[Config] = []
    for tree in trees:
        described = {"model": tree["model"], "classes": tree["data"]["classes"], "size": tree["data"]["size"]}
        if tree["model"]["weights"] not in ("", SOURCE) and described not in seen:
            seen.append(described)
            create(tree, start_weights(tree, workdir))


@contextlib.contextmanager
def disk_errors_explained(workdir: pathlib.Path) -> Iterator[None]:
    """Turn a full or failing disk into a sentence, wherever it shows."""
    try:
        yield
    except BrokenPipeError:
        raise  # of the screen, not of the disk
    except OSError as error:
        raise UserError(
            f"The work folder {workdir} cannot be written or read ({error.strerror or error}); free some space or "
            "repair the folder and run the same command again: it goes on from the last checkpoint."
        ) from error

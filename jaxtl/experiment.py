"""The story of a run on one page: data -> model -> phases -> test -> report. Read this first."""

import contextlib
import dataclasses
import math
import pathlib
import signal
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import NoneType
from typing import Any

import jax
import rich.console

from jaxtl.config import BASELINES, SOURCE, check, raise_problems, repeats, variants
from jaxtl.config.data import load_splits, preprocessing, with_images
from jaxtl.config.model import create, settled_plan, start_weights, validate_weights, with_fallbacks
from jaxtl.data.overview import lines as overview_lines
from jaxtl.data.prepare import Splits
from jaxtl.errors import UserError, expect
from jaxtl.report.console import RunConsole, closing_figures
from jaxtl.report.run import Summary, Trained, compare_arms, summarise
from jaxtl.runs.folder import RunFolder, disk_errors_explained
from jaxtl.runtime.compile_cache import keep_compiled
from jaxtl.runtime.environment import describe, device, invocation
from jaxtl.runtime.files import cache_dir, user_path
from jaxtl.runtime.interrupts import stop_on_signals
from jaxtl.runtime.mesh import data_mesh
from jaxtl.runtime.processes import broadcast, broadcast_arrays, gather_ints, is_main_process, main_process_first
from jaxtl.train.calibration import calibrated
from jaxtl.train.checkpoint import Checkpoints
from jaxtl.train.evaluate import Evaluation, folded, make_evaluator
from jaxtl.train.examples import place
from jaxtl.train.feature_store import FeatureStore
from jaxtl.train.loop import fit
from jaxtl.train.observer import Observer
from jaxtl.train.phase import DivergedError
from jaxtl.train.progress import Progress
from jaxtl.train.task import Session, Task
from jaxtl.transfer.phases import Phase, caches_features

Config = Mapping[str, Any]
Images = Any  # a Dataset, a pair of arrays, or a data frame
Weights = str | pathlib.Path | None  # a tag, a file or a run folder; None: random variables


def run(
    config: Config,
    workdir: str | pathlib.Path,
    *,
    seeds: Sequence[int] = (),
    vary_split: bool = False,
    train: Images | None = None,
    validation: Images | None = None,
    test: Images | None = None,
    callbacks: Sequence[Observer] = (),
    console: RunConsole | None = None,
) -> Summary:
    """Train, test and report what a config describes; or continue a run that was stopped.

    Args:
      config: as the files in ``configs/`` return it; see ``jaxtl.config`` for the fields.
      workdir: the run folder. Source and baselines get run folders of their own inside.
      seeds: a run for each seed, in a run folder of its own inside; likewise for each fold where ``data.folds`` asks
        for folds. They are compared, and nothing else lies in the work folder. Those that diverge are left out.
      vary_split: whether each seed is also ``data.split_seed``, which draws the images.
      train: images to train on, in place of those that ``data.name`` names; the other data fields apply to them. A
        ``Dataset``; or a pair of arrays: images, uint8 ``[N, H, W, C]`` or ``[N, H, W]``, and labels, integers or names
        ``[N]``; or a data frame of image files with the columns ``path`` (relative to ``data.dir``, else to the
        current directory) and ``label``.
      validation: images to validate on, likewise; without them ``data.validation`` holds out a share of ``train``.
      test: images to test on, likewise; needed with ``train``, unless that is a data frame: its column ``split`` says
        which images train, validate and test, and without that ``data.test`` holds out a share.
      callbacks: are told what happens, epoch by epoch, see ``jaxtl.Observer``.
      console: where to print.

    Returns:
      The content of ``summary.json``: ``test`` {accuracy, loss, precision, recall, f1, n, confusion_matrix,
      per_class}, ``time`` {compile_s, train_s, features_s, inference_s, total_s} in seconds, of which
      ``features_s`` is the part of ``train_s`` that kept features took; ``params`` {total, trainable}, ``best_epoch``,
      ``epochs_run``, ``weights_sha256``, and ``comparison`` where the config names baselines. Of several runs the
      content of ``comparison.json``: ``runs``, and ``repeated`` with mean, standard deviation and interval across them.

    Raises:
      UserError: for a mistake in the config, the data or the folder.
      jaxtl.runtime.interrupts.Interrupted: on SIGTERM or Ctrl-C, after everything is saved.
    """
    workdir = user_path(workdir)
    expect("console", console, (RunConsole, NoneType), "a jaxtl.report.console.RunConsole")
    expect("callbacks", callbacks, (tuple, list), "a list of callbacks")
    if strange := [each for each in callbacks if not isinstance(each, Observer)]:
        raise UserError(f"callbacks has {strange[0]!r}, which is not an object of a subclass of jaxtl.Observer.")
    console = console or RunConsole(None if is_main_process() else rich.console.Console(quiet=True))
    console.callbacks = tuple(callbacks) if is_main_process() else ()
    with with_images(config, train, validation, test) as tree, contextlib.closing(console):
        raise_problems(check(tree), "The config")
        with disk_errors_explained(workdir):
            if several := repeats(tree, seeds, vary_split=vary_split):
                return _run_each(several, workdir, console)
            return _run_all(variants(tree), workdir, console)


def _run_each(several: Mapping[str, Config], workdir: pathlib.Path, console: RunConsole) -> Summary:
    """Run a config several times, by the name of the run folder, and compare the runs."""
    if (workdir / RunFolder.CONFIG).exists():
        raise UserError(f"The work folder {workdir} holds a single run; choose another for several with --workdir.")
    diverged: dict[str, DivergedError] = {}
    for number, (name, config) in enumerate(several.items(), start=1):
        console.say(f"\nRun {number} of {len(several)}: {name}")
        try:
            _run_all(variants(config), workdir / name, console)
        except DivergedError as error:  # the others may well end
            diverged[name] = error
            console.close()
            console.say(f"{name} is left out: {error}")
    if len(diverged) == len(several):
        raise next(iter(diverged.values()))
    record: dict[str, Any] = {}
    if is_main_process():
        from jaxtl.report.comparison_page import compare_folders  # draws, which no training should wait for

        folders, notes = [workdir / name for name in several if name not in diverged], []
        if diverged:
            left_out = f"{len(diverged)} of {len(several)} runs diverged ({', '.join(diverged)})"
            notes = [f"{left_out}. They are left out of all figures, so that the recipe looks better than it is."]
        record = compare_folders(folders, workdir, console, with_baselines=True, notes=notes).record()
        record["diverged"] = [*diverged]
    return Summary(broadcast(record))


def _run_all(runs: Mapping[str, Config], workdir: pathlib.Path, console: RunConsole) -> Summary:
    """Run the source, the baselines and the main config, which is compared with the baselines."""
    runs, changed = with_fallbacks(runs, workdir)
    for sentence in changed:
        console.say(sentence)
    main, others = runs[""], {where: config for where, config in runs.items() if where}
    with RunFolder(workdir, {**main, **others}) as folder:
        if finished := folder.finished():
            with folder.explained(folder.SUMMARY):
                closing_figures(finished)
            console.say(f"{workdir} is finished: nothing was trained, and the test images were not looked at again.")
            console.summary(main["name"], finished, str(folder.report))
            return Summary(finished)
        if others and is_main_process():
            validate_weights([*others.values(), main], workdir)
        baselines: list[tuple[str, RunFolder]] = []
        for where, config in others.items():
            with RunFolder(folder.part(where), config) as beside:
                _run_one(config, beside, start_weights(config, workdir), console)
            if where != SOURCE:
                baselines.append((where.removeprefix(f"{BASELINES}."), beside))
        return _run_one(main, folder, start_weights(main, workdir), console, baselines)


def _run_one(
    config: Config,
    folder: RunFolder,
    weights: Weights,
    console: RunConsole,
    baselines: Sequence[tuple[str, RunFolder]] = (),
) -> Summary:
    """Train, test and report one run; only return its summary if the folder holds it already."""
    if finished := folder.finished():
        return Summary(finished)
    start = time.perf_counter()
    with train(config, folder, weights, console) as trained:
        found, validated = test(trained), validate(trained)
    if not math.isfinite(found.loss):
        raise DivergedError(
            f"The loss of {config['name']!r} on the test images is not a number, so its figures would mean nothing"
        )
    found, validated = calibrated(found, validated)
    summary = summarise(config["name"], trained, found, validated)
    if is_main_process():
        from jaxtl.report.html import write_report  # draws, which no training should wait for

        folder.write_predictions(trained.test, found.predicted, found.probability)
        if validated and (images := trained.task.validation):
            folder.write_predictions(images, validated.predicted, validated.probability, name=folder.VALIDATION)
        summary["time"]["total_s"] = trained.spent_before + time.perf_counter() - start
        comparison = compare_arms([(config["arm"], folder), *baselines], summary) if baselines else None
        write_report(config, folder, trained, found, summary, comparison)
        folder.write_summary(summary)  # last of all: this file says that the run is finished
        console.observer.on_run_end(summary)
        console.summary(config["name"], summary, str(folder.report))
    return Summary(broadcast(summary))  # once the main process has reported


@contextlib.contextmanager
def train(
    config: Config,
    folder: RunFolder,
    weights: Weights,
    console: RunConsole,
    load: Callable[[Config], Splits] | None = None,
) -> Iterator[Trained]:
    """Data -> model -> phases: one run up to its test, or the rest of it if it was stopped.

    It is a context manager: until it exits, signals are deferred.

    Args:
      config: of one run, complete: one of ``jaxtl.config.variants``.
      folder: where checkpoints and history go.
      weights: what the network starts from.
      console: is told of everything, epoch by epoch.
      load: loads the images of the config's data fields; default: ``jaxtl.config.data.load_splits``.

    Raises:
      UserError: for a mistake in the weights or the data.
      jaxtl.train.phase.DivergedError: the loss is not a number any more.
      jaxtl.runtime.interrupts.Interrupted: on SIGTERM or Ctrl-C, after everything is saved.
    """
    keep_compiled()
    console.say(f"\n{config['name']}, on {device()}")
    with main_process_first():
        # The model first: a mistake in the weights shows before any data is fetched. One process reads them for all.
        model, variables = create(config, weights if is_main_process() else None)
        plan, adjusted = settled_plan([Phase(**phase) for phase in config["phases"]], model, variables["params"])
        splits = load(config["data"]) if load else load_splits(config["data"], console.on_decoded)
    variables = broadcast_arrays(variables)
    _check_splits(splits, plan, config["data"]["validation"])
    if is_main_process():  # only now: after a mistake up to here the folder is free for the corrected command
        folder.begin({**describe(), **invocation()}, splits)
        console.observer.on_run_start(config, folder.path)
    for line in overview_lines(splits.overview):
        console.say(line)
    console.remarks(splits.remarks, str(folder.remarks))
    console.parameters(variables["params"])
    for line in adjusted:
        console.say(line)
    batch_size = config["batch_size"]
    mesh = data_mesh(batch_size)
    if mesh.size < jax.device_count():
        console.say(f"Batches of {batch_size} are shared evenly by {mesh.size} of {jax.device_count()} devices.")
    preprocess = preprocessing(config["data"])
    task = Task(model, plan, splits.train, splits.validation, preprocess, batch_size, config["seed"], mesh)
    with contextlib.closing(Checkpoints(folder.checkpoints)) as checkpoints:
        saved = checkpoints.last_progress() or Progress()
        if is_main_process():
            folder.write_history(saved.history)  # lines after the checkpoint belong to epochs that will be run again
            console.keep_line = folder.append_line
        if saved.total_step:
            console.say(f"Going on after epoch {len(saved.history)}, from step {saved.total_step}.")
        # Elsewhere the signals keep their usual effect: whatever else is written appears whole or not at all.
        with stop_on_signals(signal.SIGTERM, signal.SIGINT) as stop:
            bound = config["keep_features_gb"] * 1e9
            store = FeatureStore(cache_dir() / "features", bound) if bound else None
            session = Session(checkpoints, config["checkpoint_every_s"], console.observer, stop, store)
            fitted = fit(task, variables, session)
            yield Trained(task, splits.test, splits.overview, fitted, saved.spent_s())


def _check_splits(splits: Splits, plan: Sequence[Phase], validation: float) -> None:
    """Check that all processes see the same images, as far as names and labels tell, and that the plan has enough.

    Raises:
      UserError: they do not, or it does not.
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
            f"data.validation={validation} holds out none of the {len(splits.train)} training images, but a phase "
            "needs some; take more images, or set keep='last' and patience=0."
        )


def test(trained: Trained) -> Evaluation:
    """One pass over the test images; where the last phase kept features, through its compiled backbone."""
    task, variables, images = trained.task, trained.fitted.variables, trained.test
    if _keeps_features(trained):
        kept = trained.fitted.features.of(variables, "test", images)
        found = task.evaluate_features(kept)(variables)
        # The time of the pass, also where an earlier run made it: that is what it takes to test these images.
        seconds, compile_s = kept.pass_s + found.seconds, kept.compile_s + found.compile_s
        return dataclasses.replace(found, seconds=seconds, compile_s=compile_s)
    model, variables = folded(task.model, variables, channels=images.image_shape[-1], mesh=task.mesh)
    examples = place(images, task.mesh)
    evaluate = make_evaluator(model, examples, task.preprocess, batch_size=task.batch_size, mesh=task.mesh)
    return evaluate(variables)


def validate(trained: Trained) -> Evaluation | None:
    """The validation of the weights that are tested; ``None`` without validation images."""
    if trained.fitted.validation is not None:
        return trained.fitted.validation
    task, variables = trained.task, trained.fitted.variables
    if task.validation is not None and _keeps_features(trained):
        return task.evaluate_features(trained.fitted.features.of(variables, "validation", task.validation))(variables)
    return task.evaluate(variables) if task.evaluate else None


def _keeps_features(trained: Trained) -> bool:
    last, batch_stats = trained.task.plan[-1:], trained.fitted.variables["batch_stats"]
    return bool(last) and caches_features(last[0], trained.task.model.stage_names, batch_stats)

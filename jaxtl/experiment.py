"""The story of a run on one page: data -> model -> phases -> test -> report."""

import contextlib
import math
import pathlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import rich.console

from jaxtl.config import SOURCE, check, raise_problems, variants
from jaxtl.config.model import create
from jaxtl.data.augment import compose
from jaxtl.errors import UserError
from jaxtl.report.console import RunConsole
from jaxtl.runs.folder import RunFolder, open_folder
from jaxtl.runtime.compile_cache import keep_compiled
from jaxtl.runtime.processes import broadcast, is_main_process
from jaxtl.train.evaluate import Evaluation, make_evaluator
from jaxtl.train.examples import place
from jaxtl.train.features import head_alone
from jaxtl.train.folded import folded
from jaxtl.training import Trained, train
from jaxtl.transfer.phases import caches_features

Summary = dict[str, Any]
# A baseline that is done: its name, config, summary and folder.
Done = tuple[str, Mapping[str, Any], Summary, RunFolder]


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
      jaxtl.runtime.interrupts.Interrupted: on SIGTERM or Ctrl-C, after everything is saved.
    """
    raise_problems(check(config), "The config")
    keep_compiled()
    console = console or RunConsole(None if is_main_process() else rich.console.Console(quiet=True))
    workdir = pathlib.Path(workdir)
    runs = variants(config)
    main, source = runs.pop(""), runs.pop(SOURCE, None)
    whole = {**main, **({SOURCE: source} if source else {}), **runs}

    def start_of(tree: Mapping[str, Any]) -> str | pathlib.Path | None:
        weights = tree["model"]["weights"]
        return workdir / SOURCE if weights == SOURCE else weights or None

    with disk_errors_explained(workdir), open_folder(workdir, whole) as folder, contextlib.closing(console):
        if finished := broadcast(folder.summary()):
            console.say(f"{workdir} is finished: nothing was trained, and the test images were not looked at again.")
            console.summary(main["name"], finished, str(folder.report))
            return dict(finished)
        if (source or runs) and is_main_process():
            _look_at_weights([tree for tree in (source, *runs.values(), main) if tree], start_of)
        if source:
            with open_folder(workdir / SOURCE, source) as beside:
                _train_and_test(source, beside, start_of(source), console)
        baselines: list[Done] = []
        for where, baseline in runs.items():
            name = where.removeprefix("baselines.")
            with open_folder(workdir / "baselines" / name, baseline) as beside:
                summary = _train_and_test(baseline, beside, start_of(baseline), console)
                baselines.append((name, baseline, summary, beside))
        return _train_and_test(main, folder, start_of(main), console, baselines)


@contextlib.contextmanager
def disk_errors_explained(workdir: pathlib.Path) -> Iterator[None]:
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
    baselines: Sequence[Done] = (),
) -> Summary:
    """One run and its report; its result alone, where the folder holds it already."""
    if finished := broadcast(folder.summary()):
        return dict(finished)
    start = time.perf_counter()
    with train(config, folder, weights, console) as trained:
        test = _test(trained, config["batch_size"])
    from jaxtl import outcome  # not before: no start of a training should wait for the import of what draws

    if not math.isfinite(test.loss):
        raise UserError(
            f"The loss of {config['name']!r} on the test images is not a number, so its figures would mean nothing; "
            "lower the learning rate or set clip_norm, and start in a new work folder."
        )
    summary = outcome.summarise(config["name"], trained, test)
    if not is_main_process():
        return dict(broadcast(summary))  # once the first process has reported
    images = trained.splits.test
    folder.write_predictions(images.ids, images.labels, test.predicted, test.probability, images.class_names)
    others = [outcome.arm(*baseline) for baseline in baselines]
    summary["time"]["total_s"] = trained.spent_before + time.perf_counter() - start
    outcome.report(config, folder, trained, test, summary, others)
    folder.write_summary(summary)  # last of all: this file says that the run is finished
    console.summary(config["name"], summary, str(folder.report))
    broadcast(summary)
    return summary


def _test(trained: Trained, batch_size: int) -> Evaluation:
    """One pass over the test images; where the last phase kept features, the backbone's first and then the head's."""
    model, variables, mesh, images = trained.model, trained.fitted.variables, trained.mesh, trained.splits.test
    last = trained.plan[-1:]
    kept_serve = last and caches_features(last[0], model.stage_names, variables["batch_stats"])
    if model.test_views or not kept_serve:  # kept features are those of one view
        model, variables = folded(model, variables, channels=images.image_shape[-1], mesh=mesh)
        examples = place(images, mesh)
        return make_evaluator(model, examples, trained.preprocess, batch_size=batch_size, mesh=mesh)(variables)
    kept = trained.features.of(variables, "test", images)
    evaluate = make_evaluator(
        model,
        kept.examples,
        compose(),
        batch_size=batch_size,
        mesh=mesh,
        method="classify",
    )
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

"""What a run came to: its summary, its place in a comparison, its page.

Imported once a run is tested: the libraries that draw take long to import.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxtl.models.grad_cam import ClassMaps
from jaxtl.report import html
from jaxtl.report.comparison import FinishedRun, compare_with_baselines
from jaxtl.report.figures import Findings, draw
from jaxtl.report.remarks import majority, remarks
from jaxtl.report.statistics import classification_scores
from jaxtl.report.tensorboard import write_events
from jaxtl.report.text import duration
from jaxtl.runs.folder import RunFolder
from jaxtl.runs.read import read_run
from jaxtl.runtime.environment import describe
from jaxtl.train.class_maps import class_maps
from jaxtl.train.evaluate import Evaluation
from jaxtl.training import Trained
from jaxtl.transfer.phases import trained_stages


def summarise(name: str, trained: Trained, test: Evaluation) -> dict[str, Any]:
    """Everything of ``summary.json`` but the comparison and the total time."""
    fitted, class_names = trained.fitted, trained.splits.test.class_names
    scores = classification_scores(test.confusion)
    per_class = [{"class": name, **line} for name, line in zip(class_names, scores["per_class"], strict=True)]
    params = fitted.variables["params"]
    stages = {stage for phase in trained.plan for stage in trained_stages(phase, trained.model.stage_names)}
    return {
        "name": name,
        "test": {
            "accuracy": test.accuracy,
            "loss": test.loss,
            **{score: scores[score] for score in ("precision", "recall", "f1")},
            "n": int(test.confusion.sum()),
            "majority": majority(test.confusion, class_names),
            "remarks": remarks(test.confusion, class_names),
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
            "trainable": _count({stage: leaves for stage, leaves in params.items() if stage in stages}),
        },
        "best_epoch": fitted.best_epoch,
        "epochs_run": len(fitted.history),
    }


def _count(params: Mapping[str, Any]) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(params))


def report(
    config: Mapping[str, Any],
    folder: RunFolder,
    trained: Trained,
    test: Evaluation,
    summary: dict[str, Any],
    others: Sequence[FinishedRun],
) -> None:
    """Pictures, page and event files; where there are baselines, ``comparison`` is added to the summary."""
    splits, fitted = trained.splits, trained.fitted
    comparison = compare_with_baselines(arm(config["arm"], config, summary, folder), others) if others else None
    if comparison:
        summary["comparison"] = comparison.record()

    def explain(shown: np.ndarray) -> ClassMaps | None:
        images, labels = np.asarray(splits.test.images[shown]), splits.test.labels[shown]
        variables = jax.device_get(fitted.variables)  # the other processes draw nothing
        return class_maps(trained.model, variables, images, test.predicted[shown], labels, trained.preprocess)

    images = splits.test
    folder_of_files = config["data"]["dir"]
    tested = Findings(
        images.images,
        images.labels,
        images.ids,
        images.class_names,
        test.predicted,
        test.probability,
        test.losses,
        test.confusion,
        Path(folder_of_files) if folder_of_files else None,
    )
    figures = draw(
        tested=tested,
        history=fitted.history,
        best_epoch=fitted.best_epoch,
        train_images=splits.train.images,
        train_labels=splits.train.labels,
        comparison=comparison,
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
        comparison=comparison,
        environment={**describe(), "seed": config["seed"], "wall time": duration(summary["time"]["total_s"])},
    )
    scores = ("accuracy", "loss", "precision", "recall", "f1")
    write_events(
        folder.tensorboard, fitted.history, figures, {f"test/{score}": summary["test"][score] for score in scores}
    )


def arm(name: str, config: Mapping[str, Any], summary: dict[str, Any], folder: RunFolder) -> FinishedRun:
    """A run as the comparison takes it."""
    return dataclasses.replace(read_run(folder.path, summary), name=name)

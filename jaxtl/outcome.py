"""What a run came to: its summary, its place in a comparison, its page.

Imported once a run is tested: the libraries that draw take long to import.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from jaxtl.config import SOURCE
from jaxtl.models.grad_cam import ClassMaps
from jaxtl.report import html
from jaxtl.report.comparison import Arm, compare
from jaxtl.report.figures import draw
from jaxtl.report.statistics import classification_scores
from jaxtl.report.tensorboard import write_events
from jaxtl.report.text import duration
from jaxtl.runs.folder import RunFolder
from jaxtl.runtime.environment import describe
from jaxtl.train.class_maps import class_maps
from jaxtl.train.evaluate import Evaluation
from jaxtl.training import Trained
from jaxtl.transfer.phases import trained_stages

# What an interval over test images does not cover, said wherever runs are compared.
ONE_DRAW = (
    "Each run of the comparison is one draw of training images and one initialisation; the intervals and the test "
    "cover the choice of test images alone."
)


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
    others: Sequence[Arm],
) -> None:
    """Pictures, page and event files."""
    comparison, splits, fitted = summary.get("comparison", []), trained.splits, trained.fitted

    def explain(shown: np.ndarray) -> ClassMaps | None:
        images, labels = np.asarray(splits.test.images[shown]), splits.test.labels[shown]
        variables = jax.device_get(fitted.variables)  # the other processes draw nothing
        return class_maps(trained.model, variables, images, test.predicted[shown], labels, trained.preprocess)

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
        histories={config["arm"]: fitted.history, **{arm.name: arm.history for arm in others}},
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


def comparison(
    config: Mapping[str, Any], summary: dict[str, Any], folder: RunFolder, others: Sequence[Arm]
) -> list[dict[str, Any]]:
    """A run beside its baselines, see `jaxtl.report.comparison`."""
    return compare([arm(config["arm"], config, summary, folder), *others])


def arm(name: str, config: Mapping[str, Any], summary: dict[str, Any], folder: RunFolder) -> Arm:
    """A run as the comparison takes it."""
    per_class = config["data"]["per_class"]
    return Arm(name, _in_words(config), summary, folder.history(), folder.predictions(), per_class)


def _in_words(config: Mapping[str, Any]) -> str:
    """How a run was trained, in one line."""
    start = {"": "random weights", SOURCE: "weights of the source"}
    steps = [f"{phase['epochs']} epochs of {'+'.join(phase['train'])}" for phase in config["phases"]]
    how = ", then ".join(steps) or "as they are"
    return f"from {start.get(config['model']['weights'], config['model']['weights'])}: {how}"

"""The results of a run: the content of ``summary.json``, and its comparison with baselines."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax

from jaxtl.data.dataset import Dataset
from jaxtl.report.compared_runs import read_run
from jaxtl.report.comparison import Comparison, compare_with_baselines
from jaxtl.report.evaluation import scores
from jaxtl.report.text import counted, percent
from jaxtl.runs.folder import RunFolder
from jaxtl.train.calibration import choose_threshold
from jaxtl.train.checkpoint import weights_digest
from jaxtl.train.evaluate import Evaluation
from jaxtl.train.loop import Fitted
from jaxtl.train.task import Task
from jaxtl.transfer.phases import trained_stages

ERROR_RATES = (0.01, 0.02, 0.05, 0.1)  # for which the report tells how many images would be answered


class Trained(NamedTuple):
    """What training leaves for the test and the report."""

    task: Task  # model, plan, images and devices
    test: Dataset  # the test images, which training has not seen
    data: Mapping[str, Any]  # what was read, see ``jaxtl.data.overview.overview``
    fitted: Fitted  # the variables to test, and how they came about
    spent_before: float  # seconds that earlier processes of the same run took


class Summary(dict[str, Any]):
    """The content of ``summary.json``; a notebook shows a line of it, not every cell of the confusion matrix."""

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        if "test" not in self:  # several runs
            printer.text("; ".join(f"{run['name']}: {percent(run['accuracy'])}" for run in self["runs"]))
            return
        test = self["test"]
        line = f"test accuracy {percent(test['accuracy'])} on {counted(test['n'], 'image')}"
        printer.text(f"Summary of {self['name']!r}: {line}; keys {', '.join(self)}")


def summarise(name: str, trained: Trained, found: Evaluation, validated: Evaluation | None) -> Summary:
    """Everything of ``summary.json`` but the comparison and the total time; both evaluations are calibrated."""
    fitted, task, class_names = trained.fitted, trained.task, trained.test.class_names
    stages = {stage for phase in task.plan for stage in trained_stages(phase, task.model.stage_names)}
    sizes = {
        stage: sum(leaf.size for leaf in jax.tree.leaves(tree)) for stage, tree in fitted.variables["params"].items()
    }
    return Summary(
        name=name,
        data=trained.data,
        test=scores(found, class_names, range(len(class_names))),
        calibration=_calibration(found, validated),
        time={
            "compile_s": fitted.compile_s + found.compile_s,
            "train_s": sum(line["seconds"] for line in fitted.history) + fitted.features_s,
            "features_s": fitted.features_s,
            "inference_s": found.seconds,
        },
        params={"total": sum(sizes.values()), "trainable": sum(sizes[stage] for stage in stages & sizes.keys())},
        best_epoch=fitted.best_epoch,
        weights_sha256=weights_digest(fitted.variables),
        epochs_run=len(fitted.history),
    )


def _calibration(found: Evaluation, validated: Evaluation | None) -> dict[str, Any]:
    """The temperature, why there is none, and for each error rate the confidence and what it means for the test."""
    why = "the run has no validation images" if validated is None else "the validation images do not call for it"
    answered: list[dict[str, Any]] = []
    confidence, right = (validated.probability, validated.predicted == validated.labels) if validated else ((), ())
    for max_error in ERROR_RATES:
        if threshold := choose_threshold(confidence, right, max_error):
            sure = found.probability >= threshold
            error = float((found.predicted != found.labels)[sure].mean()) if sure.any() else None
            line = {"max_error": max_error, "confidence": threshold}
            answered.append({**line, "answered": float(sure.mean()), "error": error})
    return {
        "temperature": found.temperature,
        "validation_images": len(validated.labels) if validated else 0,
        "remark": "" if found.temperature != 1 else f"Probabilities are not calibrated, because {why}.",
        "answered": answered,
    }


def compare_arms(arms: Sequence[tuple[str, RunFolder]], summary: Mapping[str, Any]) -> Comparison:
    """A run beside its baselines.

    Args:
      arms: names and folders: of the run, then of its baselines.
      summary: that of the run, whose file is not written yet.
    """
    summaries = [summary, *[None] * (len(arms) - 1)]
    this, *others = (
        dataclasses.replace(read_run(folder.path, its), name=name)
        for (name, folder), its in zip(arms, summaries, strict=True)
    )
    return compare_with_baselines(this, others)

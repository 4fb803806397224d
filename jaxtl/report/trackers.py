"""Runs in Weights & Biases and in MLflow, as callbacks of ``jaxtl.run``; each imports its library when it is made.

A run that continues goes on in the entry that it began: both find it by the path of its folder and the config.
"""

import hashlib
import importlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jaxtl.config.tree import leaves
from jaxtl.errors import UserError
from jaxtl.runtime.run_files import RunFiles
from jaxtl.train.observer import Observer
from jaxtl.train.progress import Line

_TAG = "jaxtl_run"
_MOST_PARAMS = 100  # that MLflow takes at once


class WeightsAndBiases(Observer):
    """Keeps every run in Weights & Biases: its config, a line an epoch, the figures of the test.

    ``WANDB_PROJECT``, ``WANDB_MODE=offline`` and the other variables of ``wandb`` say where.

    Raises:
      UserError: the library is not installed.
    """

    def __init__(self) -> None:
        self._wandb = _library("wandb")
        self._run: Any = None

    def on_run_start(self, config: Mapping[str, Any], folder: Path) -> None:
        """Begin or continue the entry."""
        if self._run:  # of a run that was stopped before
            self._run.finish()
        self._run = self._wandb.init(
            id=_key(config, folder), resume="allow", name=config["name"], config=dict(config), dir=str(folder)
        )
        self._run.define_metric("*", step_metric="epoch")

    def on_epoch_end(self, line: Line) -> None:
        """Add an epoch."""
        self._run.log({**_numbers(line), "phase": line["phase"]})

    def on_run_end(self, summary: Mapping[str, Any]) -> None:
        """Add the figures of the test, and close the entry."""
        self._run.summary.update(_figures(summary))
        self._run.finish()
        self._run = None


class MLflow(Observer):
    """Keeps every run in MLflow: its config, a line an epoch, the figures of the test and the report.

    ``MLFLOW_TRACKING_URI``, ``MLFLOW_EXPERIMENT_NAME`` and the other variables of ``mlflow`` say where.

    Raises:
      UserError: the library is not installed.
    """

    def __init__(self) -> None:
        self._mlflow = _library("mlflow")
        self._folder = Path()

    def on_run_start(self, config: Mapping[str, Any], folder: Path) -> None:
        """Begin or continue the entry."""
        mlflow, key, self._folder = self._mlflow, _key(config, folder), folder
        mlflow.end_run()  # of a run that was stopped before
        begun = mlflow.search_runs(filter_string=f"tags.{_TAG} = '{key}'", output_format="list")
        if begun:
            mlflow.start_run(run_id=begun[0].info.run_id)
            return
        mlflow.start_run(run_name=config["name"], tags={_TAG: key})
        params = [(path, str(value)) for path, value in leaves(config) if value not in ("", (), {})]
        for first in range(0, len(params), _MOST_PARAMS):
            mlflow.log_params(dict(params[first : first + _MOST_PARAMS]))

    def on_epoch_end(self, line: Line) -> None:
        """Add an epoch."""
        self._mlflow.log_metrics(_numbers(line), step=line["epoch"])

    def on_run_end(self, summary: Mapping[str, Any]) -> None:
        """Add the figures of the test and the report, and close the entry."""
        self._mlflow.log_metrics(_figures(summary))
        self._mlflow.log_artifact(str(RunFiles(self._folder).report))
        self._mlflow.end_run()


TRACKERS: dict[str, type[Observer]] = {"wandb": WeightsAndBiases, "mlflow": MLflow}


def _library(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise UserError(f"{name} is not installed ({error}); install it with pip install 'jaxtl[{name}]'.") from error


def _key(config: Mapping[str, Any], folder: Path) -> str:
    content = f"{folder.absolute()} {json.dumps(config, sort_keys=True)}"
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def _numbers(figures: Mapping[str, Any]) -> dict[str, float]:
    return {name: value for name, value in figures.items() if isinstance(value, int | float)}


def _figures(summary: Mapping[str, Any]) -> dict[str, float]:
    test, time = _numbers(summary["test"]), _numbers(summary["time"])
    return {f"test_{name}": value for name, value in test.items()} | time

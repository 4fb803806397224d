"""CIFAR-10 from scratch to 94 %: the config speedrun94 with several seeds.

    python -m benchmarks.speedrun --dtype bfloat16 --json speedrun.json

Whole runs of the config, one a seed. Time of training is what the run says: compilation and test apart. With
``--epochs`` fewer epochs than the config's ten: another experiment, to see that it runs.
"""

import argparse
import json
import pathlib
import statistics
import sys
import tempfile
from collections.abc import Sequence
from typing import Any

from rich.console import Console

import jaxtl
from benchmarks.measure import load_average
from jaxtl.config.flags import load_config
from jaxtl.report.console import RunConsole
from jaxtl.report.statistics import wilson_interval
from jaxtl.report.text import duration
from jaxtl.runtime.command import at_least_one, exit_status, write_result
from jaxtl.runtime.environment import describe, device

CONFIG = pathlib.Path(__file__).parents[1] / "configs" / "speedrun94.py"
GOAL = 0.94


def one_run(seed: int, dtype: str, epochs: int) -> dict[str, float]:
    """Test accuracy in [0, 1] with its 95 % interval, and seconds of training, compilation and test."""
    config = load_config(str(CONFIG))
    config["seed"], config["model"]["dtype"] = seed, dtype
    if epochs:
        only = config["phases"][0]
        warmup = only["warmup_epochs"] * epochs / only["epochs"]
        config["phases"] = ({**only, "epochs": epochs, "warmup_epochs": warmup},)
    with tempfile.TemporaryDirectory() as folder:
        summary = jaxtl.run(config, pathlib.Path(folder) / "run", console=RunConsole(Console(quiet=True)))
    times = {name: summary["time"][name] for name in ("train_s", "compile_s", "inference_s")}
    accuracy, n = summary["test"]["accuracy"], summary["test"]["n"]
    low, high = wilson_interval(round(accuracy * n), n)
    return {"seed": seed, "accuracy": accuracy, "low": low, "high": high, **times}


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print, and write JSON where asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=at_least_one, default=10, help="seeds 0, 1, ..., one run each")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--epochs", type=at_least_one, help="of each run; default: the config's")
    parser.add_argument("--json", type=pathlib.Path, help="write the figures here too")
    arguments = parser.parse_args(argv)
    return exit_status(lambda: _command(arguments))


def _command(arguments: argparse.Namespace) -> int:
    print(f"speedrun94, {arguments.dtype}, seeds 0 to {arguments.seeds - 1}, on {device()}", flush=True)
    runs: list[dict[str, Any]] = []
    for seed in range(arguments.seeds):
        run = one_run(seed, arguments.dtype, arguments.epochs or 0)
        runs.append(run)
        print(
            f"seed {seed}: {100 * run['accuracy']:.2f} % "
            f"(95 % interval {100 * run['low']:.2f} to {100 * run['high']:.2f}), "
            f"training {duration(run['train_s'])}, "
            f"compilation {duration(run['compile_s'])}, test {duration(run['inference_s'])}",
            flush=True,
        )
    accuracies, times = ([run[what] for run in runs] for what in ("accuracy", "train_s"))
    print(
        f"mean {100 * statistics.mean(accuracies):.2f} % ({100 * min(accuracies):.2f} to {100 * max(accuracies):.2f}), "
        f"{sum(accuracy >= GOAL for accuracy in accuracies)} of {len(runs)} reach {GOAL:.0%}; training "
        f"{duration(statistics.mean(times))} ({duration(min(times))} to {duration(max(times))})"
    )
    if arguments.json:
        result = {"environment": describe(), "load_average": load_average(), "dtype": arguments.dtype, "runs": runs}
        write_result(arguments.json, json.dumps(result, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

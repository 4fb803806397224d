"""Where commands are tried: an environment of their own, and a small run that nothing disturbed."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.conftest import TINY
from tests.faults.case import Ended

ROOT = Path(__file__).parents[2]
PYTHON = sys.executable
LONGEST_S = 120.0  # that a command may take

TRAIN = (PYTHON, "-m", "jaxtl.main")
# Transfer on handwritten digits as in configs/quickstart.py, cut short: a source, two phases, a baseline, reports.
QUICKSTART = (
    *TRAIN,
    *("--config", str(ROOT / "configs" / "quickstart.py"), "--config.checkpoint_every_s=0"),
    *("--config.source.phases.0.epochs=8", "--config.baselines.scratch.phases.0.epochs=5"),
    *("--config.phases.0.epochs=3", "--config.phases.1.epochs=5"),
)
# Three trials of a tiny network, and the training of the best one.
SEARCH = (
    *(PYTHON, "-m", "jaxtl.search", "--config", "tiny.py", "--trials", "3"),
    *("--config.phases.0.epochs=12", "--config.checkpoint_every_s=0"),
    *("--space", "phases.0.learning_rate=log:1e-3..1e-1"),
)
TIMES = ("seconds", "images_per_s")


@dataclasses.dataclass(frozen=True)
class Bench:
    """A folder for what all commands share.

    Attributes:
      folder: holds the compiled programs, the config ``tiny.py``, and the runs that `prepare` makes.
    """

    folder: Path

    @property
    def config(self) -> Path:
        """A config whose run takes a second of training."""
        return self.folder / "tiny.py"

    @property
    def tiny(self) -> Path:
        """A finished run of that config."""
        return self.folder / "tiny"

    def environment(self) -> dict[str, str]:
        """The variables that commands see."""
        names = ("PATH", "HOME", "JAX_PLATFORMS")  # not how tests compile: programs are as users have them
        passed = {name: os.environ[name] for name in names if name in os.environ}
        cache = str(self.folder / "cache")
        matplotlib = str(self.folder / "matplotlib")
        return {**passed, "PYTHONPATH": str(ROOT), "JAXTL_CACHE": cache, "MPLCONFIGDIR": matplotlib, "LANG": "C.UTF-8"}

    def prepare(self, **commands: Sequence[str]) -> None:
        """Run what nothing disturbs: a training of ``tiny.py``, and commands with a work folder of the same name.

        Raises:
          RuntimeError: one of them failed.
        """
        self.config.write_text(TINY)
        tiny = (*TRAIN, "--config", str(self.config))
        for name, command in {"tiny": tiny, **commands}.items():
            ended = self.run([*command, "--workdir", str(self.folder / name)])
            if ended.status != 0:
                raise RuntimeError(f"{name}, which nothing disturbed, ended with {ended.status}: {ended.err}")

    def run(
        self,
        command: Sequence[str],
        *,
        folder: Path | None = None,
        variables: Mapping[str, str | None] | None = None,
        **options: Any,
    ) -> Ended:
        """Run a command to its end.

        Args:
          command: the program and its arguments.
          folder: the current directory.
          variables: changed in the environment; ``None``: unset.
          **options: of ``subprocess.Popen``.
        """
        process = self.start(command, folder=folder, variables=variables, **options)
        try:
            out, err = process.communicate(timeout=LONGEST_S)
        except subprocess.TimeoutExpired:
            kill_group(process)
            out, err = process.communicate()
            return Ended(None, text(out), text(err))
        return Ended(process.returncode, text(out), text(err))

    def start(
        self,
        command: Sequence[str],
        *,
        folder: Path | None = None,
        variables: Mapping[str, str | None] | None = None,
        **options: Any,
    ) -> subprocess.Popen[bytes]:
        """Start a command in a process group of its own."""
        environment = {**self.environment(), **(variables or {})}
        return subprocess.Popen(
            list(command),
            cwd=folder or self.folder,
            env={name: value for name, value in environment.items() if value is not None},
            stdin=options.pop("stdin", subprocess.DEVNULL),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            **options,
        )


def kill_group(process: subprocess.Popen[bytes]) -> None:
    """Kill a command and what it has started."""
    os.killpg(process.pid, signal.SIGKILL)


def text(content: bytes) -> str:
    """What a command wrote, whatever its encoding."""
    return content.decode("utf-8", "backslashreplace")


def figures(workdir: Path) -> dict[str, Any] | None:
    """All figures of a run and of the runs inside it, or of a search, without times; ``None`` before its end."""
    if not (workdir / "summary.json").exists() and not (workdir / "trials.json").exists():
        return None
    found = {str(path.parent.relative_to(workdir)): _figures(path.parent) for path in workdir.rglob("summary.json")}
    if (workdir / "trials.json").exists():
        trials = json.loads((workdir / "trials.json").read_text())["trials"]
        found["trials"] = [{field: value for field, value in trial.items() if field != "seconds"} for trial in trials]
    return found


def _figures(workdir: Path) -> dict[str, Any]:
    summary = json.loads((workdir / "summary.json").read_text())
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return {
        **{field: summary[field] for field in ("test", "params", "best_epoch", "epochs_run", "data")},
        "predictions": (workdir / "predictions.csv").read_bytes(),
        "history": [{field: value for field, value in line.items() if field not in TIMES} for line in lines],
    }


def wait_until(condition: Callable[[], bool], process: subprocess.Popen[bytes]) -> bool:
    """Look every millisecond; whether the condition came true before the process ended."""
    end = time.monotonic() + LONGEST_S
    while not condition():
        if process.poll() is not None or time.monotonic() > end:
            return False
        time.sleep(0.001)
    return True

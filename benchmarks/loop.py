"""What the training loop costs beside its steps: batches, progress, checks of the loss, metrics.

    python -m benchmarks.loop
    python -m benchmarks.loop --model cnn --data cifar10

A run of its own, like any other. Its step is wrapped, so that every call is waited for: the time of an epoch outside
those calls is the loop's own. Nothing of it hides behind the device here, as it otherwise does. Validation, checkpoints
and what a terminal does are not in it. The digits make epochs of a few steps, in which what is done once an epoch
weighs more than elsewhere.
"""

import argparse
import contextlib
import pathlib
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import jax
from rich.console import Console

import jaxtl
from jaxtl.config import default_config
from jaxtl.report.console import RunConsole
from jaxtl.runtime.command import at_least_one, exit_status
from jaxtl.runtime.environment import device
from jaxtl.train.phase import PhaseTrainer
from jaxtl.train.stepper import Stepper
from jaxtl.transfer.plans import from_scratch

W = TypeVar("W", bound=Callable[..., Any])


class Again:
    """A compiled step that goes on after its run, with nothing beside it."""

    def __init__(self, step: Callable[..., Any]) -> None:
        self.step = step
        self._state: Any = None
        self._given: tuple[Any, ...] = ()

    def __call__(self, *arguments: Any) -> Any:
        """The step's result."""
        self._state, self._given = self.step(*arguments), arguments[1:]
        return self._state

    def seconds(self, steps: int) -> float:
        """Seconds of a step, one after the other on the last batch of the run."""
        jax.block_until_ready(self(self._state, *self._given))
        start = time.perf_counter()
        for _ in range(steps):
            self(self._state, *self._given)
        jax.block_until_ready(self._state)
        return (time.perf_counter() - start) / steps


class Waited:
    """A compiled step whose every call is waited for and timed."""

    def __init__(self, step: Callable[..., Any]) -> None:
        self.step, self.seconds, self.calls = step, 0.0, 0

    def __call__(self, *arguments: Any) -> Any:
        """The step's result, ready."""
        start = time.perf_counter()
        out = jax.block_until_ready(self.step(*arguments))
        self.seconds += time.perf_counter() - start
        self.calls += 1
        return out


@contextlib.contextmanager
def wrapped_steps(wrapper: Callable[[Callable[..., Any]], W]) -> Iterator[list[W]]:
    """The steps that runs compile in this context, each in a wrapper through which all of its calls go."""
    compile_step = Stepper.compile
    wrappers: list[W] = []

    def wrapped(self: Stepper, inputs: Any, batch: Any) -> float:
        seconds = compile_step(self, inputs, batch)
        assert self.program is not None
        wrappers.append(wrapper(self.program))
        self.program = wrappers[-1]
        return seconds

    Stepper.compile = wrapped  # type: ignore[method-assign]
    try:
        yield wrappers
    finally:
        Stepper.compile = compile_step  # type: ignore[method-assign]


def epochs(model: str, data: str, size: int, batch: int, count: int) -> tuple[list[float], int]:
    """The loop's own share of each epoch but the first, and the steps of an epoch."""
    config = default_config()
    config.data.name, config.data.size, config.data.validation = data, size, 0.0
    config.data.test_subset = batch
    config.model.name, config.batch_size = model, batch
    config.phases = from_scratch(count, keep="last")
    run_epoch = PhaseTrainer._train_epoch
    shares: list[float] = []
    steps = 0

    def timed(self: PhaseTrainer) -> float:
        nonlocal steps
        before, calls = (waited[0].seconds, waited[0].calls) if waited else (0.0, 0)
        start = time.perf_counter()
        train_s = run_epoch(self)
        whole, inside = time.perf_counter() - start, waited[0].seconds - before
        if calls:  # not the first epoch, which compiles
            shares.append((whole - inside) / whole)
            steps = waited[0].calls - calls
        return train_s

    PhaseTrainer._train_epoch = timed  # type: ignore[method-assign]
    try:
        with tempfile.TemporaryDirectory() as folder, wrapped_steps(Waited) as waited:
            jaxtl.run(config, pathlib.Path(folder) / "run", console=RunConsole(Console(quiet=True)))
    finally:
        PhaseTrainer._train_epoch = run_epoch  # type: ignore[method-assign]
    return shares, steps


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="cnn")
    parser.add_argument("--data", default="digits", help="a data set of jaxtl")
    parser.add_argument("--size", type=at_least_one, default=32, help="height and width that are trained on")
    parser.add_argument("--batch", type=at_least_one, default=64)
    parser.add_argument("--epochs", type=at_least_one, default=5, help="measured, after one that is not")
    arguments = parser.parse_args(argv)

    def measure() -> int:
        shares, steps = epochs(arguments.model, arguments.data, arguments.size, arguments.batch, arguments.epochs + 1)
        print(
            f"{arguments.model} on {arguments.data} at {arguments.size}, batch {arguments.batch}, on {device()}: the "
            f"loop takes {100 * statistics.median(shares):.2f} % of an epoch of {steps} steps "
            f"(median of {len(shares)}; {100 * min(shares):.2f} to {100 * max(shares):.2f} %)."
        )
        return 0

    return exit_status(measure)


if __name__ == "__main__":
    sys.exit(main())

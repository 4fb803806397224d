"""What a run tells while it goes on: the console implements it, and callbacks of one's own may."""

import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxtl.train.progress import Line


class Observer:
    """Is told of runs, compilations, passes and epochs.

    A callback of ``jaxtl.run`` is a subclass that overrides the methods it needs. Callbacks are called in their order,
    in the main process alone. An exception that one raises ends the run, which continues from its last checkpoint when
    it is started again. A finished run tells nothing.
    """

    def on_run_start(self, config: Mapping[str, Any], folder: Path) -> None:
        """A run begins or continues, by this resolved config, in this run folder; sources and baselines, too."""

    def on_run_end(self, summary: Mapping[str, Any]) -> None:
        """The run is tested and its folder complete; the content of its ``summary.json``."""

    def on_compile(self, what: str, seconds: float) -> None:
        """A step was compiled."""

    def on_epoch_start(self, phase: str, epoch: int, epochs: int, images: int) -> None:
        """An epoch begins: its number and the number planned, over all phases; the images it will see."""

    def on_pass_start(self, what: str, images: int) -> None:
        """A pass without training begins over so many images."""

    def on_images(self, done: int) -> None:
        """So many images of the epoch or pass are done on the device."""

    def on_pass_end(self, what: str, views: int, images: int, seconds: float) -> None:
        """The features of so many images are kept, of so many views each."""

    def on_pass_skipped(self, what: str, images: int) -> None:
        """The features of so many images were kept on disk by an earlier run."""

    def on_pass_awaited(self) -> None:
        """Another process computes the same features, and this one waits for it."""

    def on_pass_unkept(self, what: str, images: int, nbytes: int, most_bytes: float) -> None:
        """The features of so many images are not kept on disk: they, or they and those before, exceed the bound."""

    def on_epoch_end(self, line: Line) -> None:
        """An epoch is over, and this is its line in ``metrics.jsonl``."""

    def on_time_saved(self, epochs: int, passes: int, seconds: float) -> None:
        """A phase is over that trained on kept features: epochs run, passes of the backbone, time saved."""


class Observers(Observer):
    """Tells several observers, one after the other."""

    def __init__(self, observers: Sequence[Observer]) -> None:
        for moment in (name for name in dir(Observer) if name.startswith("on_")):
            methods = [getattr(observer, moment) for observer in observers]
            setattr(self, moment, functools.partial(_tell, methods))


def _tell(methods: Sequence[Callable[..., None]], *what: Any) -> None:
    for method in methods:
        method(*what)

"""What a person sees while a run goes on: a live line, a line for each of some epochs, a table at the end."""

import time
from collections.abc import Callable, Mapping, Sequence
from math import ceil
from typing import Any

import jax
import rich
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from jaxtl.report.evaluation import facts
from jaxtl.report.tables import Table, print_facts, print_shares, print_table
from jaxtl.report.text import counted, duration, integer, number, percent, speed
from jaxtl.runtime.command import escape_unencodable
from jaxtl.train.observer import Observer, Observers

PATIENCE_S = 30.0  # where there is no live line, work that goes on prints a line this often
FEW_EPOCHS, SHOWN_EPOCHS = 30, 10  # of few epochs each has a line; of more, so many have one, and all slow ones


class LiveConsole:
    """Shows how far something is: a terminal has a bar, a notebook one line that changes.

    A pipe or a file has a line every half minute.

    Attributes:
      console: where it prints.
    """

    def __init__(self, console: Console | None = None) -> None:
        escape_unencodable()
        self.console = console or rich.get_console()
        self._bar: Progress | None = None
        self._live: Any = None  # of a notebook
        self._doing, self._total = "", 0
        self._started, self._heard = 0.0, time.monotonic()
        self._done_before: int | None = None

    def say(self, text: str) -> None:
        """Print a line."""
        self._heard = time.monotonic()
        self.console.print(text, highlight=False, markup=False, soft_wrap=True)

    def on_images(self, done: int) -> None:
        """Show how far it is."""
        if not self._doing:
            return
        now = time.perf_counter()
        if self._done_before is None:  # a resumed epoch does not begin at 0, and its rate must not count what was done
            self._done_before, self._started = done, now
        elapsed = now - self._started
        rate = speed((done - self._done_before) / elapsed) if elapsed else ""
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=done, rate=rate)
        elif rate:
            self._show(f"{self._doing}: {integer(done)} of {integer(self._total)} images, {rate}")

    def close(self) -> None:
        """Take away what is live, if anything is."""
        self._stop()
        if self._live is not None:
            self._live.update({"text/plain": ""}, raw=True)
            self._live = None

    def _start(self, text: str, images: int) -> None:
        self._stop()  # a terminal has room for one live display
        self._doing, self._total, self._done_before = text, images, None
        if not self.console.is_terminal:
            return
        words = [
            TextColumn(text, markup=False)
            for text in ("{task.description}", "{task.percentage:3.0f} %", "{task.fields[rate]}")
        ]
        times = TimeElapsedColumn(), TextColumn("ETA"), TimeRemainingColumn()
        self._bar = Progress(words[0], BarColumn(), *words[1:], *times, console=self.console, transient=True)
        self._bar.add_task(text, total=images, rate="")
        self._bar.start()

    def _stop(self) -> None:
        self._doing = ""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _show(self, text: str) -> None:
        """A line that the next one replaces; where that cannot be, a line once in a while."""
        waited = time.monotonic() - self._heard
        if not self.console.is_jupyter:
            if waited >= PATIENCE_S:
                self.say(text)
        elif self._live is None:
            from IPython.display import display  # type: ignore[import-not-found]  # a notebook has it

            self._live = display({"text/plain": text}, raw=True, display_id=True)
        elif waited >= 0.2:
            self._live.update({"text/plain": text}, raw=True)
            self._heard = time.monotonic()


class RunConsole(LiveConsole, Observer):
    """Prints a run; the training loop calls the ``on_…`` methods, see ``jaxtl.train.observer``.

    Attributes:
      keep_line: is handed every finished epoch's line, to be kept in a file.
      callbacks: are told what it is told, after it.
    """

    def __init__(self, console: Console | None = None) -> None:
        super().__init__(console)
        self.callbacks: Sequence[Observer] = ()
        self.keep_line: Callable[[Mapping[str, Any]], None] = lambda line: None
        self._epochs, self._phase = 0, ""
        self._stages: dict[str, int] = {}

    @property
    def observer(self) -> Observer:
        """Itself and the callbacks."""
        return Observers([self, *self.callbacks])

    def parameters(self, params: Mapping[str, Any]) -> None:
        """Print the number of parameters by stage; of a network that was listed before, the total."""
        stages = {stage: sum(leaf.size for leaf in jax.tree.leaves(leaves)) for stage, leaves in params.items()}
        if stages == self._stages:
            self.say(f"The network has {integer(sum(stages.values()))} parameters, in stages as above.")
            return
        self._stages = stages
        rows = [[stage, integer(count)] for stage, count in {**stages, "in all": sum(stages.values())}.items()]
        print_table(Table("", ["stage", "parameters"], rows), self.console)

    def on_decoded(self, split: str, done: int, images: int) -> None:
        """Show how far the decoding of image files is."""
        if self._doing != (doing := f"Decoding the {split} images"):
            self._start(doing, images)
        self.on_images(done)
        if done == images:
            self._stop()

    def remarks(self, remarks: Sequence[tuple[str, str, str]], path: str) -> None:
        """Say where the remarks on the images are, (place, problem, consequence) each, with one as an example."""
        for place, problem, consequence in remarks[:1]:
            number = counted(len(remarks), "remark")
            self.say(f"{number} on the images in {path}, for example {place}: {problem} ({consequence}).")

    def on_compile(self, what: str, seconds: float) -> None:
        """A step was compiled."""
        self.say(f"Compiled the {what} in {duration(seconds)}.")

    def on_epoch_start(self, phase: str, epoch: int, epochs: int, images: int) -> None:
        """Begin to show an epoch."""
        self._epochs = epochs
        self._start(f"Epoch {epoch}/{epochs} ({phase})", images)

    def on_pass_start(self, what: str, images: int) -> None:
        """Begin to show a pass."""
        self._start(what, images)

    def on_pass_end(self, what: str, views: int, images: int, seconds: float) -> None:
        """Replace what is live by a line."""
        self._stop()
        of_views = f", {views} views of each," if views > 1 else ""
        self.say(f"Computed the features of the {counted(images, f'{what} image')}{of_views} in {duration(seconds)}.")

    def on_pass_skipped(self, what: str, images: int) -> None:
        """Say that an earlier run did the work."""
        self.say(f"The features of the {counted(images, f'{what} image')} are those that an earlier run kept.")

    def on_pass_awaited(self) -> None:
        """Say why nothing moves."""
        self.say("Waiting for another process that computes the same features.")

    def on_pass_unkept(self, what: str, images: int, nbytes: int, most_bytes: float) -> None:
        """Say which bound is too low."""
        with_others = "" if nbytes > most_bytes else "with those before "
        self.say(
            f"The features of the {counted(images, f'{what} image')} take {number(nbytes / 1e9)} GB, {with_others}more "
            f"than keep_features_gb={most_bytes / 1e9:g}, so they are not kept on disk."
        )

    def on_time_saved(self, epochs: int, passes: int, seconds: float) -> None:
        """Say what the kept features were good for, or that they were not."""
        ran = f"the backbone ran {_times(passes)} over the training images"
        if seconds > 0:
            self.say(f"Keeping features saved about {duration(seconds)}: {ran} and not {_times(epochs)}.")
        else:
            self.say(f"Keeping features saved no time: {ran} for {counted(epochs, 'epoch')}.")

    def on_epoch_end(self, line: Mapping[str, Any]) -> None:
        """Keep the line; print it where there are few epochs, or where nothing was heard for a while."""
        self.keep_line(line)
        self._stop()
        text = f"Epoch {line['epoch']:>3}/{self._epochs}  {line['phase']}"
        for split in ("train", "val"):
            if line[f"{split}_loss"] is not None:
                text += f"  {split} loss {line[f'{split}_loss']:.4f} accuracy {percent(line[f'{split}_accuracy'])}"
        if line.get("val_f1") is not None:
            text += f" F1 {percent(line['val_f1'])}"
        text += f"  lr {line['learning_rate']:.2g}  {speed(line['images_per_s'])}  {duration(line['seconds'])}"
        step = 1 if self._epochs <= FEW_EPOCHS else ceil(self._epochs / SHOWN_EPOCHS)
        if line["phase"] != self._phase or line["epoch"] % step == 0 or line["epoch"] in (1, self._epochs):
            self._phase = line["phase"]
            self.say(text)
        else:
            self._show(text)

    def summary(self, name: str, summary: Mapping[str, Any], report: str) -> None:
        """Print the closing table, and what to know of the figures."""
        self.close()
        rows, runs, remarks = closing_figures(summary)
        print_facts(name, {**rows, "report": report}, self.console)
        if runs:
            print_shares("Test accuracy", runs, self.console)
        for remark in remarks:
            self.say(remark)


def closing_figures(summary: Mapping[str, Any]) -> tuple[dict[str, str], dict[str, float], Sequence[str]]:
    """What is printed of the content of ``summary.json``: figures, test accuracies of runs that are compared, remarks.

    Raises:
      KeyError, TypeError, ValueError, AttributeError: it is damaged or of another version.
    """
    test, times, params = summary["test"], summary["time"], summary["params"]
    rows = {
        **facts(test, "test "),
        "epochs run, tested": f"{summary['epochs_run']}, {summary['best_epoch']}",
        "parameters, trained": f"{integer(params['total'])}, {integer(params['trainable'])}",
        "time to compile": duration(times["compile_s"]),
        "time to train": duration(times["train_s"]),
        f"time to test {counted(test['n'], 'image')}": duration(times["inference_s"]),
    }
    compared = summary["comparison"]["runs"] if "comparison" in summary else ()
    return rows, {run["name"]: float(run["accuracy"]) for run in compared}, list(test.get("remarks", ()))


def _times(count: int) -> str:
    return {1: "once", 2: "twice"}.get(count, f"{integer(count)} times")

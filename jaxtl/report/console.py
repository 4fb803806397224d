"""What a person sees while a run goes on: parameters, compile times, a bar, a line an epoch, a table at the end."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import rich
from clu import parameter_overview
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from jaxtl.report.statistics import wilson_interval
from jaxtl.report.text import duration, integer, number, percent


class RunConsole:
    """Prints a run; the training loop calls the ``on_…`` methods.

    Attributes:
      console: where it prints; the progress bar appears on terminals only.
      keep_line: is handed every finished epoch's line, to be kept in a file.
    """

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or rich.get_console()
        self.keep_line: Callable[[Mapping[str, Any]], None] = lambda line: None
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._started = 0.0
        self._done_before: int | None = None
        self._epochs = 0
        self._loading = ""

    def say(self, text: str) -> None:
        """Print a line."""
        self.console.print(text, highlight=False, markup=False, soft_wrap=True)

    def parameters(self, params: Mapping[str, Any]) -> None:
        """Print shape, size, mean and standard deviation of every parameter, and their total number."""
        self.say(parameter_overview.get_parameter_overview(params))

    def on_decoded(self, split: str, done: int, images: int) -> None:
        """Show how far the decoding of image files is."""
        if self._loading != split:
            self._loading = split
            self._show_bar(f"Decoding the {split} images", images)
        self.on_images(done)
        if done == images:
            self._loading = ""
            self.close()

    def remarks(self, remarks: Sequence[tuple[str, str, str]], path: str) -> None:
        """Say how much of the images was remarkable, with an example of each kind: (place, problem, consequence)."""
        if not remarks:
            return
        kinds: dict[str, list[tuple[str, str, str]]] = {}
        for remark in remarks:
            kinds.setdefault(remark[2], []).append(remark)
        told = [
            f"{len(kind)} {consequence} ({place}: {problem}{', ...' if len(kind) > 1 else ''})"
            for consequence, kind in kinds.items()
            for place, problem, _ in kind[:1]
        ]
        self.say(f"Remarks on the images, all in {path}: {'; '.join(told)}.")

    def on_compile(self, what: str, seconds: float) -> None:
        """A step was compiled."""
        self.say(f"Compiled the {what} in {duration(seconds)}.")

    def on_epoch_start(self, phase: str, epoch: int, epochs: int, images: int) -> None:
        """Show an empty bar."""
        self._epochs = epochs
        self._show_bar(f"Epoch {epoch}/{epochs} ({phase})", images)

    def on_pass_start(self, what: str, images: int) -> None:
        """Show an empty bar."""
        self._show_bar(what, images)

    def on_pass_end(self, what: str, views: int, images: int, seconds: float) -> None:
        """Replace the bar by a line."""
        self.close()
        of_views = f", {views} views of each" if views > 1 else ""
        self.say(
            f"The backbone ran over the {integer(images)} {what} images{of_views} in {duration(seconds)}; "
            "their features are kept."
        )

    def on_time_saved(self, epochs: int, passes: int, seconds: float) -> None:
        """Say what the kept features were good for, or that they were not."""
        ran = f"The backbone ran {passes} time{'s' * (passes != 1)} over the images, not {epochs} times"
        if seconds > 0:
            self.say(f"{ran}, which saved about {duration(seconds)}.")
        else:
            self.say(f"{ran}, which saved no time; more epochs or fewer views would.")

    def _show_bar(self, text: str, images: int) -> None:
        self.close()  # a terminal has room for one live display
        self._started, self._done_before = time.perf_counter(), None
        if not self.console.is_terminal:
            return
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:3.0f} %"),
            TextColumn("{task.fields[rate]}"),
            TimeElapsedColumn(),
            TextColumn("ETA"),
            TimeRemainingColumn(),
            console=self.console,
            transient=True,
        )
        self._task = self._bar.add_task(text, total=images, rate="")
        self._bar.start()

    def on_images(self, done: int) -> None:
        """Move the bar."""
        if self._bar is None or self._task is None:
            return
        now = time.perf_counter()
        if self._done_before is None:  # a resumed epoch does not begin at 0, and its rate must not count what was done
            self._done_before, self._started = done, now
            self._bar.update(self._task, completed=done)
            return
        rate = (done - self._done_before) / max(now - self._started, 1e-9)
        self._bar.update(self._task, completed=done, rate=f"{rate:,.0f} images/s")

    def on_epoch_end(self, line: Mapping[str, Any]) -> None:
        """Keep the line, and replace the bar by it."""
        self.keep_line(line)
        self.close()
        text = (
            f"Epoch {line['epoch']:>3}/{self._epochs}  {line['phase']}  "
            f"train loss {line['train_loss']:.4f} accuracy {percent(line['train_accuracy'])}"
        )
        if line["val_loss"] is not None:
            text += f"  val loss {line['val_loss']:.4f} accuracy {percent(line['val_accuracy'])}"
        text += f"  lr {line['learning_rate']:.2g}  {line['images_per_s']:,.0f} images/s  {duration(line['seconds'])}"
        self.say(text)

    def close(self) -> None:
        """Take the bar away, if there is one."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = self._task = None

    def summary(self, name: str, summary: Mapping[str, Any], report: str) -> None:
        """Print the closing table."""
        test, times, params = summary["test"], summary["time"], summary["params"]
        low, high = wilson_interval(round(test["accuracy"] * test["n"]), test["n"])
        table = Table(title=name, show_header=False, title_justify="left")
        table.add_column(style="bold")
        table.add_column()
        table.add_row("test accuracy", f"{percent(test['accuracy'])} (95 % interval {percent(low)} to {percent(high)})")
        table.add_row("test loss", number(test["loss"]))
        scores = (percent(test[score]) for score in ("precision", "recall", "f1"))
        table.add_row("macro precision, recall, F1", ", ".join(scores))
        table.add_row("test images", integer(test["n"]))
        table.add_row("epochs run, tested", f"{summary['epochs_run']}, {summary['best_epoch']}")
        table.add_row("parameters, trained", f"{integer(params['total'])}, {integer(params['trainable'])}")
        table.add_row("time to compile", duration(times["compile_s"]))
        table.add_row("time to train", duration(times["train_s"]))
        table.add_row(f"time to test {integer(test['n'])} images", duration(times["inference_s"]))
        for row in summary.get("comparison", {}).get("runs", [])[1:]:
            table.add_row(f"{row['name']}, test accuracy", percent(row["accuracy"]))
        table.add_row("report", report)
        self.console.print(table)


def print_fields(rows: Iterable[tuple[str, Any, str]]) -> None:
    """Print the fields of a config: (path, default, meaning) of each."""
    table = Table("field", "default", "meaning")
    for path, default, meaning in rows:
        table.add_row(path, repr(default), meaning)
    rich.print(table)

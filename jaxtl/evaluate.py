"""``python -m jaxtl.evaluate --run DIR [--data NAME]``: a finished run tested on another data set or split."""

import argparse
import contextlib
import io
import json
import shutil
import sys
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

from rich.console import Console

from jaxtl.data.catalogue import list_datasets
from jaxtl.data.collection import SKIPPED
from jaxtl.data.dataset import Dataset, first
from jaxtl.data.match_classes import match_classes
from jaxtl.errors import UserError
from jaxtl.report.console import RunConsole
from jaxtl.report.evaluation import scores, show
from jaxtl.runs.evaluation import make_evaluation
from jaxtl.runs.evaluation_images import ALL, SPLITS, choose_images
from jaxtl.runs.finished import LoadedRun, load_run
from jaxtl.runtime.command import at_least_one, exit_status, put, tell, write_result
from jaxtl.runtime.cpu import use_fast_cpu_lowerings
from jaxtl.runtime.environment import describe
from jaxtl.runtime.files import user_path


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The flags."""
    parser = argparse.ArgumentParser(
        prog="python -m jaxtl.evaluate",
        description="Test a finished run on another data set or split; by default, on its own test images again.",
        allow_abbrev=False,
    )
    parser.add_argument("--run", required=True, metavar="DIR", help="work folder of a finished run")
    parser.add_argument("--data", metavar="NAME", help=f"default: the run's; one of {', '.join(list_datasets())}")
    parser.add_argument("--data-dir", type=user_path, metavar="DIR", help="where it lies; the folder of --data folder")
    parser.add_argument("--split", choices=SPLITS, default="test", help="default: %(default)s")
    parser.add_argument("--classes", metavar="A,B,C", help="the data set's class for each of the run's, in its order")
    parser.add_argument("--size", type=at_least_one, metavar="N", help="run the network at N x N; default: as trained")
    parser.add_argument(
        "--subset",
        type=int,
        metavar="N",
        help="the first N images; 0: all; default: all, but as many as the run where they are its own test images",
    )
    parser.add_argument("--batch", type=at_least_one, default=64, help="images a step (%(default)s)")
    parser.add_argument(
        "--out", type=user_path, metavar="FILE.json", help="all figures, confusion matrix and environment"
    )
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; for the exit status see ``jaxtl.runtime.command.exit_status``."""
    use_fast_cpu_lowerings()
    return exit_status(lambda: _evaluate(parse(sys.argv[1:] if argv is None else argv)))


def _evaluate(arguments: argparse.Namespace) -> int:
    start = time.perf_counter()
    run = load_run(arguments.run)
    load_s = time.perf_counter() - start
    split = arguments.split
    size = (arguments.size, arguments.size) if arguments.size else run.input_shape[:2]
    evaluate = make_evaluation(run, size, batch_size=arguments.batch)  # first: it may refuse the size
    images = _choose(arguments, run, size)
    dataset = images.dataset
    for remark in dataset.remarks:
        tell(f"{remark.place}: {remark.problem} ({remark.consequence})")
    if skipped := sum(remark.consequence == SKIPPED for remark in dataset.remarks):
        tell(f"{skipped} of {skipped + images.read} images could not be read.")
    found = evaluate(dataset)
    test = scores(found.confusion, found.loss, run.class_names, images.present)
    times = {
        "load_s": load_s,
        "compile_s": found.compile_s,
        "inference_s": found.seconds,
        "total_s": time.perf_counter() - start,
    }
    title = f"{run.name}, on {'all' if split == ALL else f'the {split} split'} of {images.source}"
    _print(title, test, times, images.remarks)
    if arguments.out:
        tree = {
            "name": run.name,
            "run": str(run.folder),
            "data": {
                "name": arguments.data or run.config["data"]["name"],
                "source": images.source,
                "split": split,
                "image_shape": list(dataset.image_shape),
                "image_size": list(size),
                "classes": list(_players(arguments)),
            },
            "test": test,
            "remarks": images.remarks,
            "images": [remark._asdict() for remark in dataset.remarks],
            "time": times,
            "environment": describe(),
        }
        write_result(arguments.out, json.dumps(tree, indent=2, ensure_ascii=False) + "\n")
        tell(f"All figures: {arguments.out}")
    return 0


class _Images(NamedTuple):
    """The images to test on, with the run's labels.

    Attributes:
      dataset: the images.
      source: what their data set is called.
      present: which of the run's classes have images.
      read: how many images there were before any was left out.
      remarks: what a person should know of the choice, a sentence each.
    """

    dataset: Dataset
    source: str
    present: tuple[int, ...]
    read: int
    remarks: list[str]


def _choose(arguments: argparse.Namespace, run: LoadedRun, size: tuple[int, int]) -> _Images:
    split = arguments.split
    with contextlib.closing(RunConsole(Console(stderr=True))) as bar:
        chosen = choose_images(
            run,
            name=arguments.data,
            data_dir=arguments.data_dir,
            split=split,
            image_size=size if arguments.size else run.image_shape[:2],
            progress=lambda done, images: bar.on_decoded(split, done, images),
        )
    matched = match_classes(chosen.dataset, run.class_names, _players(arguments))
    remarks = [*chosen.remarks, *matched.remarks]
    dataset, subset = matched.dataset, arguments.subset
    if subset is None and chosen.is_own_test and (subset := run.config["data"]["test_subset"]):
        remarks.append(f"The first {subset} of {len(dataset)} images are taken, as by the run; --subset 0 takes all.")
    if subset:
        dataset = first(dataset, subset)
    if not len(dataset):
        raise UserError(
            f"The {split} split of {chosen.source} has no image of the run's classes; choose another --split."
        )
    if dataset.image_shape[:2] != size:
        H, W, _ = dataset.image_shape
        remarks.append(f"The images are {H} x {W} pixels and were resized to {size[0]} x {size[1]} on the device.")
    if dataset.image_shape[2] != run.image_shape[2]:
        remarks.append(f"The images were turned from {_kind(dataset.image_shape)} to {_kind(run.image_shape)}.")
    return _Images(dataset, chosen.source, matched.present, len(chosen.dataset), remarks)


def _players(arguments: argparse.Namespace) -> Sequence[str]:
    """Which class of the images plays each class of the run, as ``--classes`` says."""
    return [each.strip() for each in arguments.classes.split(",")] if arguments.classes else ()


def _print(title: str, test: dict[str, Any], times: dict[str, float], remarks: Sequence[str]) -> None:
    on_screen = sys.stdout.isatty()
    console = Console(
        file=io.StringIO(), width=shutil.get_terminal_size().columns if on_screen else 200, force_terminal=on_screen
    )
    with console.capture() as captured:
        show(title, test, times["inference_s"], console)
    put(captured.get())
    for remark in remarks:
        put(f"{remark}\n")


def _kind(image_shape: tuple[int, int, int]) -> str:
    return "grey" if image_shape[2] == 1 else "RGB"


if __name__ == "__main__":
    sys.exit(main())

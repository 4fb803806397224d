"""``python -m jaxtl.evaluate --run DIR [--data NAME]``: test a finished run on another data set or split."""

import argparse
import contextlib
import dataclasses
import sys
import time
from collections.abc import Iterator, Sequence

from rich.console import Console

from jaxtl.data.catalogue import list_datasets
from jaxtl.data.collection import SKIPPED
from jaxtl.errors import UserError
from jaxtl.report.console import RunConsole
from jaxtl.report.evaluation import scores, show
from jaxtl.report.statistics import accuracy_interval
from jaxtl.runs.evaluation import ALL, SPLITS, Chosen, choose_images, make_evaluation
from jaxtl.runs.finished import LoadedRun, load_run
from jaxtl.runtime.command import CommandParser, at_least_one, command, path, tell, whole_number, write_result
from jaxtl.runtime.environment import describe
from jaxtl.runtime.files import json_text
from jaxtl.runtime.run_files import RunFiles

MOST_PIXELS = 4096  # a side, as in ``data.size``


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The flags."""
    parser = CommandParser(
        prog="python -m jaxtl.evaluate",
        description="Test a finished run on another data set or split; by default, on its own test images again.",
    )
    parser.add_argument("--run", type=path, required=True, metavar="DIR", help="work folder of a finished run")
    parser.add_argument("--data", metavar="NAME", help=f"default: the run's; one of {', '.join(list_datasets())}")
    parser.add_argument("--data-dir", type=path, metavar="DIR", help="where it lies; the folder of --data folder")
    parser.add_argument("--split", choices=SPLITS, default="test", help="default: %(default)s")
    parser.add_argument(
        "--classes", default="", metavar="A,B,C", help="the data set's class for each of the run's, in its order"
    )
    parser.add_argument("--size", type=at_least_one, metavar="N", help="run the network at N x N; default: as trained")
    parser.add_argument(
        "--subset",
        type=whole_number(0),
        metavar="N",
        help="the first N images; 0: all; default: all, but as many as the run where they are its own test images",
    )
    parser.add_argument("--batch", type=at_least_one, default=64, help="images a step (%(default)s)")
    parser.add_argument("--out", type=path, metavar="FILE.json", help="all figures, confusion matrix and environment")
    arguments = parser.parse_args(argv)
    RunFiles.refuse_to_replace(arguments.out)
    if arguments.size and arguments.size > MOST_PIXELS:
        raise UserError(f"--size is {arguments.size}, but must be at most {MOST_PIXELS}; choose a smaller one.")
    return arguments


def evaluate(argv: Sequence[str]) -> None:
    """Test a run, and print the figures."""
    arguments, start = parse(argv), time.perf_counter()
    run = load_run(arguments.run)
    load_s = time.perf_counter() - start
    split, players = arguments.split, [name.strip() for name in arguments.classes.split(",") if arguments.classes]
    size = (arguments.size, arguments.size) if arguments.size else run.input_shape[:2]
    evaluation_of = make_evaluation(run, size, batch_size=arguments.batch)  # first: it may refuse the size
    images = _choose(arguments, run, players)
    found = dataclasses.replace(evaluation_of(images.dataset), temperature=run.temperature)
    test = scores(found, run.class_names, images.present)
    test |= {"interval": list(accuracy_interval(test)), "class_names": list(run.class_names)}
    times = {
        "load_s": load_s,
        "compile_s": found.compile_s,
        "inference_s": found.seconds,
        "total_s": time.perf_counter() - start,
    }
    remarks = [*images.remarks, *_adaptations(run, images.dataset.image_shape, size)]
    title = f"{run.name}, on {'all' if split == ALL else f'the {split} split'} of {images.source}"
    show(title, test, times["inference_s"], remarks, Console(width=None if sys.stdout.isatty() else 200))
    if arguments.out:
        tree = {
            "name": run.name,
            "run": str(run.folder),
            "data": {
                "name": arguments.data or run.config["data"]["name"],
                "source": images.source,
                "split": split,
                "image_shape": list(images.dataset.image_shape),
                "image_size": list(size),
                "classes": players,
            },
            "test": test,
            "remarks": remarks,
            "images": [remark._asdict() for remark in images.dataset.remarks],
            "time": times,
            "environment": describe(),
        }
        write_result(arguments.out, json_text(tree))
        tell(f"All figures: {arguments.out}")


def _choose(arguments: argparse.Namespace, run: LoadedRun, players: Sequence[str]) -> Chosen:
    """Load the images, with a progress bar, and report those that could not be read."""
    size = (arguments.size, arguments.size) if arguments.size else run.image_shape[:2]
    with contextlib.closing(RunConsole(Console(stderr=True))) as bar:
        images = choose_images(
            run,
            name=arguments.data,
            data_dir=arguments.data_dir,
            split=arguments.split,
            image_size=size,
            classes=players,
            subset=arguments.subset,
            progress=lambda done, images: bar.on_decoded(arguments.split, done, images),
        )
    remarks = images.dataset.remarks
    for remark in remarks:
        tell(f"{remark.place}: {remark.problem} ({remark.consequence})")
    if skipped := sum(remark.consequence == SKIPPED for remark in remarks):
        tell(f"{skipped} of {skipped + images.read} images could not be read.")
    return images


def _adaptations(run: LoadedRun, image_shape: tuple[int, int, int], size: tuple[int, int]) -> Iterator[str]:
    """How images of another size or kind are converted for the network, a sentence each."""
    H, W, channels = image_shape
    kinds = {1: "grey", 3: "RGB"}
    if size != (H, W):
        yield f"The images are {H} x {W} pixels and were resized to {size[0]} x {size[1]} on the device."
    if channels != run.image_shape[2]:
        yield f"The images were converted from {kinds[channels]} to {kinds[run.image_shape[2]]}."


main = command(evaluate)

if __name__ == "__main__":
    sys.exit(main())

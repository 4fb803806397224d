"""``python -m jaxtl.main --config configs/X.py --workdir DIR [--config.FIELD=VALUE ...]``: train, test, report."""

import argparse
import sys
from collections.abc import Sequence

from jaxtl.config.fields import field_help
from jaxtl.config.flags import parse_config
from jaxtl.experiment import run
from jaxtl.report.trackers import TRACKERS
from jaxtl.runtime.command import CommandParser, command, seeds
from jaxtl.runtime.processes import broadcast, is_main_process, run_together


def _run(argv: Sequence[str]) -> int:
    parser = CommandParser(
        prog="python -m jaxtl.main",
        usage="%(prog)s --config FILE [--workdir DIR] [--seeds SEEDS] [--config.FIELD=VALUE ...], or "
        "%(prog)s --help-fields",
        description="Train, test and report what a config describes; or go on where the work folder was left.",
        epilog="Any field can be changed: --config.seed=3, --config.phases.0.epochs=1, --config.source.batch_size=64.",
        formatter_class=argparse.RawTextHelpFormatter,
    )
    fields = "list every field with its default, allowed values and meaning"
    parser.add_argument("--help-fields", action="store_true", help=fields)
    each = "a run for each seed, as in 0..4 or 0,3,7, and their mean"
    split = "each seed is also data.split_seed, which draws the images"
    parser.add_argument("--seeds", type=seeds, default=(), help=each)
    parser.add_argument("--vary-split", action="store_true", help=split)
    log = "keep epochs and figures in Weights & Biases or MLflow, too; their environment variables say where"
    parser.add_argument("--log", choices=TRACKERS, action="append", default=[], help=log)
    if "--help-fields" in argv:  # by ourselves: argparse hides that nobody reads, or that the disk is full
        print(field_help())
        return 0
    nothing = argparse.Namespace(workdir="", seeds=(), vary_split=False, log=[])
    config, arguments = parse_config(parser, argv) if is_main_process() else ({}, nothing)
    callbacks = [TRACKERS[name]() for name in arguments.log]
    # Where there are several processes, the first one tells the others: a user error in the flags is then told once.
    told = config, str(arguments.workdir), arguments.seeds, arguments.vary_split
    config, workdir, several, vary_split = broadcast(told)
    run(config, workdir, seeds=several, vary_split=vary_split, callbacks=callbacks)
    return 0


main = command(lambda argv: run_together(lambda: _run(argv)), resumes=True)

if __name__ == "__main__":
    sys.exit(main())

"""``python -m tests.faults [--only KIND] [--out docs/reliability.md]``: try all faults, and write what happened."""

import argparse
import collections
import concurrent.futures
import logging
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from jaxtl.runtime.lowerings import use_fast_lowerings
from tests.faults import calls, environment, files, images, kills, layouts, runs
from tests.faults.bench import QUICKSTART, SEARCH, Bench
from tests.faults.case import OK, Row, attempt
from tests.faults.page import KINDS, page


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; 0 if jaxtl did what it must after every fault."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description="Do faults to jaxtl on purpose.")
    parser.add_argument("--only", choices=KINDS, help="of one kind")
    parser.add_argument("--out", type=Path, metavar="FILE.md", help="write the tables there")
    parser.add_argument("--jobs", type=int, default=2, help="commands at the same time (%(default)s)")
    arguments = parser.parse_args(argv)
    logging.getLogger("absl").setLevel(logging.ERROR)  # as the commands do
    signal.signal(signal.SIGINT, signal.default_int_handler)  # children of a background job would ignore Ctrl-C
    use_fast_lowerings()
    start = time.perf_counter()
    tables = try_all([arguments.only] if arguments.only else list(KINDS), arguments.jobs)
    seconds = time.perf_counter() - start
    rows = [row for table in tables.values() for row in table]
    print(f"{len(rows)} faults in {seconds:.0f} s: {dict(collections.Counter(row.verdict for row in rows))}")
    if arguments.out:
        options = f" --only {arguments.only}" if arguments.only else ""
        arguments.out.write_text(page(tables, seconds, f"python -m tests.faults{options}"), encoding="utf-8")
    return int(any(row.verdict != OK for row in rows))


def try_all(kinds: Sequence[str], jobs: int) -> dict[str, list[Row]]:
    """The rows of each kind."""
    tables: dict[str, list[Row]] = {kind: [] for kind in kinds}
    with tempfile.TemporaryDirectory() as place:
        Path(place).chmod(0o755)  # commands of other users read the config and the runs
        bench = Bench(Path(place).resolve())
        if set(kinds) - {"layouts"}:
            bench.prepare(**({"quickstart": QUICKSTART, "search": SEARCH} if "kills" in kinds else {}))
        if "layouts" in kinds:
            _one_by_one(tables["layouts"], list(layouts.cases()))
        if "inputs" in kinds:
            _one_by_one(tables["inputs"], [*images.cases(), *files.cases(), *calls.cases(), *runs.cases(bench)])
        with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
            works: list[Callable[[], object]] = []
            if "kills" in kinds:
                works += [_keeping(tables["kills"], chain) for chain in kills.chains(bench)]
            if "environment" in kinds:
                works += [
                    _keeping(tables["environment"], lambda case=case: [attempt(case)])
                    for case in environment.cases(bench)
                ]
            for done in concurrent.futures.as_completed([pool.submit(work) for work in works]):
                done.result()
    return tables


def _one_by_one(table: list[Row], cases: Sequence) -> None:
    for case in cases:
        _keep(table, attempt(case))


def _keeping(table: list[Row], work: Callable[[], list[Row]]) -> Callable[[], None]:
    def act() -> None:
        for row in work():
            _keep(table, row)

    return act


def _keep(table: list[Row], row: Row) -> None:
    table.append(row)
    if row.verdict != OK:
        print(f"{row.verdict}: {row.what}\n  must {row.must}\n  did  {row.did}", flush=True)


if __name__ == "__main__":
    sys.exit(main())

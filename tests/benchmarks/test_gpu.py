"""`benchmarks.gpu`: every stage runs; what fails, does not fit or is cut off is named, and the rest is kept."""

import argparse
import json
import os
import signal
import subprocess
import sys
import time

import pytest

from benchmarks.gpu import __main__ as gpu
from benchmarks.gpu.job import WORK
from benchmarks.gpu.plan import JOBS, STAGES, Job, plan
from benchmarks.gpu.table import Done, table


def test_every_stage_has_its_work_and_takes_part_in_a_tiny_run():
    assert set(STAGES) == set(WORK)
    assert {job.stage for job in plan([], tiny=True)} == set(STAGES)
    assert [job.stage for job in JOBS[:3]] == ["ceilings", "right", "right"]


@pytest.fixture
def jobs(monkeypatch):
    """Jobs of a line of Python each, in place of the real ones: ``jobs(name=source, …)``; WORDS is their command."""

    def replace(needs_s=0, stage="ceilings", **sources):
        jobs = [Job(stage, name, needs_s, 20) for name in sources]
        monkeypatch.setattr(gpu, "plan", lambda only, tiny: jobs)
        popen = subprocess.Popen

        def start(words, **rest):
            case, out = words[words.index("--out") - 1], words[words.index("--out") + 1]
            source = f"import os, pathlib, sys, time; OUT = {out!r}; WORDS = {words!r}\n{sources[case]}"
            return popen([sys.executable, "-c", source], **rest)

        monkeypatch.setattr(gpu.subprocess, "Popen", start)

    return replace


def written(work):
    """Source that writes a job's file with one line."""
    line = {"work": work, "measured": "42 images/s", "beside": "", "target": "", "met": None}
    found = {"done": True, "lines": [line], "figures": {}, "environment": {"device": "a card", "driver": "580"}}
    return f"pathlib.Path(OUT).write_text({json.dumps(json.dumps(found))})"


def test_a_job_that_fails_is_named_with_its_last_lines_and_the_next_one_runs(jobs, tmp_path, capsys):
    jobs(first="print('what it did'); sys.exit('and what was wrong')", second=written("second work"))
    assert gpu.main(["--minutes", "1", "--out", str(tmp_path)]) == 1
    results = (tmp_path / "results.md").read_text()
    assert (
        "| ceilings-first | not measured to the end: failed with status 1: what it did / and what was wrong" in results
    )
    assert "| second work | 42 images/s |" in results
    assert "Card: a card; driver 580; seed 0; wall time" in results
    assert "second work" in capsys.readouterr().out


def test_a_job_that_takes_too_long_is_stopped_and_keeps_what_it_wrote(jobs, tmp_path):
    jobs(slow=written("half of it") + "; time.sleep(60)")
    start = time.monotonic()
    assert gpu.main(["--minutes", "0.02", "--out", str(tmp_path)]) == 1
    assert time.monotonic() - start < 20
    results = (tmp_path / "results.md").read_text()
    assert "| half of it | 42 images/s |" in results
    assert "stopped after 1 s" in results


def test_a_job_that_does_not_fit_into_the_time_is_skipped_and_named(jobs, tmp_path):
    jobs(needs_s=90, long=written("never"))
    assert gpu.main(["--minutes", "1", "--out", str(tmp_path)]) == 0
    assert (
        "ceilings-long | not measured to the end: skipped: it needs 90 s, and" in (tmp_path / "results.md").read_text()
    )
    assert not (tmp_path / "ceilings-long.json").exists()


NOTE = """
cache, first = os.environ["JAX_COMPILATION_CACHE_DIR"], "--fill-caches" in WORDS
with open(OUT + ".order", "a") as file:
    print(first, cache, file=file)
"""


def test_programs_are_compiled_before_anything_is_timed(jobs, tmp_path, capsys):
    jobs(stage="small", one=NOTE + written("one"), broken=NOTE + "sys.exit(3)", slow=NOTE + "time.sleep(60)")
    start = time.monotonic()
    assert gpu.main(["--minutes", "0.08", "--compile-first", "0.04", "--out", str(tmp_path)]) == 1
    assert time.monotonic() - start < 20
    cache = f"{tmp_path}/caches/jax"
    for name in ("one", "broken"):
        order = (tmp_path / f"small-{name}.json.order").read_text().splitlines()
        assert order == [f"True {cache}", f"False {cache}"]
    said = capsys.readouterr().out
    assert (
        "small-one: compiled\n" in said
        and "small-broken: compilation failed with status 3, see compile-small-broken.log\n" in said
    )
    assert "Not compiled in time: small-slow\n" in said
    assert "compiled beforehand, side by side, for 0.04 min at most" in (tmp_path / "results.md").read_text()
    assert os.environ.get("JAX_COMPILATION_CACHE_DIR") != cache


@pytest.mark.parametrize("minutes", ["2", "-1"])
def test_time_to_compile_is_part_of_the_time(tmp_path, capsys, minutes):
    with pytest.raises(SystemExit):
        gpu.main(["--minutes", "2", "--compile-first", minutes, "--out", str(tmp_path)])
    assert "it must be 0 or more, and less than those" in capsys.readouterr().err


def test_stages_that_time_no_step_are_not_compiled_before(jobs, tmp_path, capsys):
    jobs(only=written("done"))
    assert gpu.main(["--minutes", "1", "--compile-first", "0.5", "--out", str(tmp_path)]) == 0
    assert "ceilings-only: compiled" not in capsys.readouterr().out


def test_a_line_that_missed_its_target_says_so():
    line = {"work": "a step", "measured": "0.9 x", "beside": "a | peer", "target": ">= 1.0 x", "met": False}
    done = Done(Job("small", "cnn", 1, 1), 2.0, "", {"lines": [line], "environment": {}})
    assert "| a step | 0.9 x | a / peer | >= 1.0 x | **no** |" in table([done], seed=3, wall_s=2.0, tiny=False)


@pytest.mark.bench
def test_every_stage_runs_and_misses_nothing(tmp_path):
    assert gpu.main(["--minutes", "6", "--out", str(tmp_path), "--tiny"]) == 0
    for job in plan([], tiny=True):
        found = json.loads((tmp_path / f"{job.name}.json").read_text())
        assert found["done"], job.name
        assert found["lines"], job.name
    right = json.loads((tmp_path / "right-families.json").read_text())
    assert all(line["met"] for line in right["lines"])
    (_, quickstart) = json.loads((tmp_path / "right-runs.json").read_text())["lines"]
    assert quickstart["met"], quickstart


@pytest.mark.bench
@pytest.mark.parametrize(("stage", "others"), [("train224", 1), ("small", 2)])
def test_a_step_that_was_compiled_beforehand_is_not_compiled_again(tmp_path, stage, others):
    arguments = argparse.Namespace(out=tmp_path, seed=0, tiny=True, compile_first=2.0)
    jobs = plan([stage], tiny=True)

    def programs():
        return {file.name for file in (tmp_path / "caches" / "jax").glob("jit_train_step-*-cache")}

    gpu.compile_first(jobs, arguments)
    before = programs()
    assert before
    assert not gpu.do(jobs[0], arguments, 120).problem
    # That of plain Flax, the peer of a tiny run, and that of the epochs.
    assert len(programs() - before) == others


@pytest.mark.bench
def test_what_was_found_survives_a_kill(tmp_path):
    words = [sys.executable, "-m", "benchmarks.gpu", "--tiny", "--out", str(tmp_path), "--only", "ceilings", "right"]
    for number in (signal.SIGKILL, signal.SIGTERM):
        process = subprocess.Popen(words, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)})
        deadline = time.monotonic() + 120
        while not (tmp_path / "right-families.log").exists():
            assert time.monotonic() < deadline
            time.sleep(0.1)
        process.send_signal(number)
        process.wait()
        assert "| matmul, bfloat16 |" in (tmp_path / "results.md").read_text()
        assert json.loads((tmp_path / "ceilings.json").read_text())["done"]
        (tmp_path / "right-families.log").unlink()
    assert "right-families | not measured to the end: the command was stopped" in (tmp_path / "results.md").read_text()

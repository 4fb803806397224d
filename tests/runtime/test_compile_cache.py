"""A second start of the same run neither traces nor compiles its programs."""

import json
import os
import subprocess
import sys

RUN = """
import sys, jax, jaxtl, jaxtl.outcome
from jaxtl.config.flags import load_config
traced = []
jax.monitoring.register_event_duration_secs_listener(lambda name, _, **what: traced.append(what.get("fun_name", "")))
jaxtl.outcome.draw = lambda **figures: {}
jaxtl.run(load_config(sys.argv[1]), sys.argv[2])
print(jax.config.jax_compilation_cache_dir, *traced, file=sys.stderr)
"""
PROGRAMS = {"train_step", "eval_step", "init", "first_state"}


def start(config, workdir, cache):
    """The cache folder and the functions that were traced, lowered or compiled."""
    environment = {**os.environ, "JAXTL_CACHE": str(cache)}
    environment.pop("JAX_COMPILATION_CACHE_DIR", None)
    done = subprocess.run(
        [sys.executable, "-c", RUN, config, workdir], capture_output=True, text=True, env=environment, check=True
    )
    folder, *names = done.stderr.splitlines()[-1].split()
    return folder, set(names)


def test_a_second_start_traces_no_program_and_gives_the_same_figures(tiny_config, tmp_path):
    first, second = (start(tiny_config, tmp_path / name, tmp_path / "cache") for name in ("first", "second"))
    assert first[0] == str(tmp_path / "cache" / "compiled")
    assert first[1] >= PROGRAMS
    assert not sorted(PROGRAMS & second[1])
    summaries = [json.loads((tmp_path / name / "summary.json").read_text()) for name in ("first", "second")]
    assert summaries[0]["test"] == summaries[1]["test"]
    assert summaries[1]["time"]["compile_s"] < summaries[0]["time"]["compile_s"]

"""A second start of the same run compiles none of its programs."""

import json
import os
import subprocess
import sys

RUN = """
import sys, jax, jaxtl, jaxtl.report.figures
from jaxtl.config.flags import load_config
from jaxtl.runtime import compile_cache
found = {"cache_hits": 0, "cache_misses": 0}

def count(event, **_):
    name = event.removeprefix("/jax/compilation_cache/")
    if name in found:
        found[name] += 1

jax.monitoring.register_event_listener(count)
compile_cache._WORTH_KEEPING_S = 0.0  # whether a small program is kept must not depend on the time it took
jaxtl.report.figures.draw = lambda **figures: {}
jaxtl.run(load_config(sys.argv[1]), sys.argv[2])
print(jax.config.jax_compilation_cache_dir, *found.values(), file=sys.stderr)
"""


def start(config, workdir, cache):
    """The cache folder, and how many programs were found there and how many were not."""
    environment = {**os.environ, "JAXTL_CACHE": str(cache)}
    environment.pop("JAX_COMPILATION_CACHE_DIR", None)
    done = subprocess.run(
        [sys.executable, "-c", RUN, config, workdir], capture_output=True, text=True, env=environment, check=True
    )
    folder, hits, misses = done.stderr.splitlines()[-1].split()
    return folder, int(hits), int(misses)


def test_a_second_start_compiles_nothing_and_gives_the_same_figures(tiny_config, tmp_path):
    first, second = (start(tiny_config, tmp_path / name, tmp_path / "cache") for name in ("first", "second"))
    folder, _, compiled = first
    assert folder == str(tmp_path / "cache" / "compiled")
    assert compiled >= 4  # the first variables, the train step, the validation and the test
    assert second == (folder, compiled + first[1], 0)
    summaries = [json.loads((tmp_path / name / "summary.json").read_text()) for name in ("first", "second")]
    assert summaries[0]["test"] == summaries[1]["test"]
    assert summaries[1]["time"]["compile_s"] < summaries[0]["time"]["compile_s"]

"""A second start of the same run finds its programs compiled."""

import json
import os
import subprocess
import sys

RUN = """
import sys, jax, jaxtl, jaxtl.experiment
from jaxtl.config_flags import load_config
compiled = []
jax.monitoring.register_event_listener(lambda name, **_: compiled.append(name))
jaxtl.experiment.draw = lambda **figures: {}
jaxtl.run(load_config(sys.argv[1]), sys.argv[2])
print(compiled.count("/jax/compilation_cache/cache_hits"), jax.config.jax_compilation_cache_dir, file=sys.stderr)
"""


def start(config, workdir, cache):
    environment = {**os.environ, "JAXTL_CACHE": str(cache)}
    environment.pop("JAX_COMPILATION_CACHE_DIR", None)
    done = subprocess.run(
        [sys.executable, "-c", RUN, config, workdir], capture_output=True, text=True, env=environment, check=True
    )
    *_, line = done.stderr.splitlines()
    hits, folder = line.split()
    return int(hits), folder


def test_a_second_start_compiles_no_step_and_gives_the_same_figures(tiny_config, tmp_path):
    first, second = (start(tiny_config, tmp_path / name, tmp_path / "cache") for name in ("first", "second"))
    assert first[1] == str(tmp_path / "cache" / "compiled")
    assert second[0] > first[0] and any((tmp_path / "cache" / "compiled").iterdir())
    summaries = [json.loads((tmp_path / name / "summary.json").read_text()) for name in ("first", "second")]
    assert summaries[0]["test"] == summaries[1]["test"]
    assert summaries[1]["time"]["compile_s"] < summaries[0]["time"]["compile_s"]

"""A second start of the same run compiles none of its programs."""

import json
import os
import subprocess
import sys

import jax
import pytest

from jaxtl.runtime import compile_cache

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
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("JAX_", "XLA_FLAGS"))}
    environment = {**kept, "JAXTL_CACHE": str(cache)}  # compiled as users have it, which takes long
    done = subprocess.run(
        [sys.executable, "-c", RUN, config, workdir], capture_output=True, text=True, env=environment, check=True
    )
    assert "Error" not in done.stderr  # JAX warns of what it cannot read or write, and goes on
    folder, hits, misses = done.stderr.splitlines()[-1].split()
    return folder, int(hits), int(misses)


@pytest.mark.processes
def test_a_second_start_compiles_nothing_and_gives_the_same_figures(tiny_config, tmp_path):
    first, second = (start(tiny_config, tmp_path / name, tmp_path / "cache") for name in ("first", "second"))
    folder, _, compiled = first
    assert folder == str(tmp_path / "cache" / "compiled")
    assert compiled >= 4  # the first variables, the train step, the validation and the test
    assert second == (folder, compiled + first[1], 0)
    summaries = [json.loads((tmp_path / name / "summary.json").read_text()) for name in ("first", "second")]
    assert summaries[0]["test"] == summaries[1]["test"]
    assert summaries[1]["time"]["compile_s"] < summaries[0]["time"]["compile_s"]

    half_written = next((tmp_path / "cache" / "compiled").glob("*train_step*-cache"))
    os.truncate(half_written, 100)
    half_written.with_name(half_written.name.removesuffix("-cache") + "-atime").unlink()
    third = start(tiny_config, tmp_path / "third", tmp_path / "cache")
    assert third == (folder, second[1] - 1, 1)


@pytest.fixture
def no_folder_yet(tmp_path, monkeypatch):
    """The cache folder of a user whose JAX has been told of no cache."""
    before = jax.config.jax_compilation_cache_dir
    jax.config.update("jax_compilation_cache_dir", None)
    monkeypatch.setenv("JAXTL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(compile_cache.compilation_cache, "reset_cache", lambda: None)
    yield tmp_path / "cache"
    jax.config.update("jax_compilation_cache_dir", before)


def test_a_folder_of_ones_own_is_used(no_folder_yet, capsys):
    compile_cache.keep_compiled()
    assert jax.config.jax_compilation_cache_dir == str(no_folder_yet / "compiled")
    assert (no_folder_yet / "compiled").stat().st_mode & 0o777 == 0o700
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("place", "mode"), [("", 0o777), ("compiled", 0o770), ("compiled", 0o702), ("compiled/p", 0o666)]
)
def test_what_others_can_write_is_not_run(no_folder_yet, capsys, place, mode):
    (no_folder_yet / "compiled").mkdir(parents=True, mode=0o700)
    (no_folder_yet / "compiled" / "p").touch(mode=0o600)
    (no_folder_yet / place).chmod(mode)
    compile_cache.keep_compiled()
    assert not jax.config.jax_compilation_cache_dir
    assert f"other users can write to {no_folder_yet / place}; delete" in capsys.readouterr().err


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_what_belongs_to_others_is_not_run(no_folder_yet, capsys):
    (no_folder_yet / "compiled").mkdir(parents=True, mode=0o700)
    (no_folder_yet / "compiled" / "p").touch(mode=0o600)
    os.chown(no_folder_yet / "compiled" / "p", 12345, 12345)
    compile_cache.keep_compiled()
    assert not jax.config.jax_compilation_cache_dir
    assert "compiled/p; delete" in capsys.readouterr().err


def test_without_a_home_folder_nothing_is_kept(no_folder_yet, monkeypatch, capsys):
    for name in ("JAXTL_CACHE", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)

    def unknown(_):
        raise KeyError("unknown user")

    monkeypatch.setattr("pwd.getpwuid", unknown)
    compile_cache.keep_compiled()
    assert not jax.config.jax_compilation_cache_dir
    assert capsys.readouterr().err == ""


def test_a_program_half_written_by_a_killed_process_is_removed(no_folder_yet):
    compiled = no_folder_yet / "compiled"
    compiled.mkdir(parents=True, mode=0o700)
    for name in ("whole-cache", "whole-atime", "half-cache"):
        (compiled / name).write_bytes(b"\0" * 8)
    compile_cache.keep_compiled()
    assert {path.name for path in compiled.iterdir()} == {"whole-cache", "whole-atime"}

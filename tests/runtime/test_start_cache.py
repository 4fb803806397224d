"""What a start keeps for the next: programs and first variables, found again only where nothing that counts differs."""

import dataclasses
import functools
import os
import subprocess
import sys

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxtl.config import default_config
from jaxtl.config.model import starts_of
from jaxtl.create import create_model
from jaxtl.models.registry import MODELS
from jaxtl.runtime import start_cache as module
from jaxtl.runtime.start_cache import NOTHING_KEPT, StartCache, start_cache
from jaxtl.train.optimizer import make_optimizer
from jaxtl.train.state import init_state


@pytest.fixture
def starts(tmp_path):
    return StartCache(tmp_path / "starts", "a run")


@pytest.fixture
def compiled(monkeypatch):
    """One entry for each program that XLA compiles for the cache."""
    found, anew = [], module.compiling_anew
    monkeypatch.setattr(module, "compiling_anew", lambda: found.append("program") or anew())
    return found


def step_of(traced, factor=2.0):
    def step(state, x):
        traced.append(x.shape)
        return state + factor * x, {"sum": x.sum()}

    return jax.jit(step, donate_argnums=0)


def run(starts, traced, name="step", factor=2.0, x=(1.0, 2.0)):
    """What a step computes from zeros."""
    state, x = jnp.zeros(len(x)), jnp.asarray(x)
    result, sums = starts.program(name, step_of(traced, factor), state, x)(state, x)
    assert state.is_deleted()  # the state is donated still
    return result.tolist(), float(sums["sum"])


def test_a_program_is_traced_once(starts, compiled):
    traced = []
    assert run(starts, traced) == run(starts, traced) == ([2.0, 4.0], 3.0)
    assert (traced, compiled) == ([(2,)], ["program"])


@pytest.mark.parametrize("different", ["name", "made_from", "source", "shape", "dtype", "flag", "version", "processor"])
def test_what_differs_in_anything_that_counts_is_another_program(starts, tmp_path, monkeypatch, different):
    traced = []
    assert run(starts, traced) == ([2.0, 4.0], 3.0)
    name, x = "step", (1.0, 2.0)
    if different == "name":
        name = "another step"
    elif different == "made_from":
        starts = StartCache(tmp_path / "starts", "another run")
    elif different == "source":
        monkeypatch.setattr(module, "_SOURCE", "edited")
    elif different == "shape":
        x = (1.0, 2.0, 3.0)
    elif different == "dtype":
        x = (1, 2)
    elif different == "flag":
        monkeypatch.setenv("XLA_FLAGS", f"{os.environ.get('XLA_FLAGS', '')} --xla_cpu_use_fusion_emitters=true")
    elif different == "version":
        monkeypatch.setattr(module.importlib.metadata, "version", lambda package: "9.9")
    elif different == "processor":
        monkeypatch.setattr(module, "_processor", lambda: "another one")
    result, _ = run(starts, traced, name, factor=3.0, x=x)
    assert result == [3.0 * value for value in x]
    assert len(traced) == 2


def test_an_edit_that_leaves_the_program_as_it_was_compiles_nothing(starts, compiled, monkeypatch):
    traced = []
    run(starts, traced)
    monkeypatch.setattr(module, "_SOURCE", "edited")
    assert run(starts, traced) == ([2.0, 4.0], 3.0)
    assert (len(traced), compiled) == (2, ["program"])
    assert run(starts, traced) == ([2.0, 4.0], 3.0)
    assert len(traced) == 2  # and the next start finds it without a look at the program


def adam(**options):
    """The first state of a phase, whose text hides how the optimiser nests it."""
    optimizer = make_optimizer("adam", lambda step: 1e-3, **options)

    def first_state(params):
        return init_state(params, {}, optimizer, 3)

    return jax.jit(first_state), optimizer


def test_programs_of_one_text_with_results_nested_otherwise(starts):
    params = {"head": {"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2)}}
    for i, options in enumerate(({}, {"bias_multiplier": 2.0}, {"clip_norm": 1.0}, {})):
        step, optimizer = adam(**options)
        state = starts.program(f"phase {i}", step, params)(params)
        assert jax.tree.structure(state.opt_state) == jax.tree.structure(optimizer.init(params))
        optimizer.update(params, state.opt_state, params)


def test_programs_of_one_text_that_look_at_other_arguments(starts):
    a, b = jnp.asarray(1.0), jnp.asarray(10.0)
    assert starts.program("first", jax.jit(lambda a, b: a * 2), a, b)(a, b) == 2
    assert starts.program("second", jax.jit(lambda a, b: b * 2), a, b)(a, b) == 20
    assert starts.program("alone", jax.jit(lambda b: b * 2), b)(b) == 20


def test_what_cannot_be_kept_is_compiled_as_ever(starts):
    @jax.tree_util.register_dataclass
    @dataclasses.dataclass
    class OfThisTestAlone:
        sum: jax.Array

    step = jax.jit(lambda x: OfThisTestAlone(x.sum()))
    for _ in range(2):
        assert starts.program("step", step, jnp.ones(3))(jnp.ones(3)).sum == 3


def test_a_network_from_elsewhere_is_not_kept(monkeypatch):
    config = default_config().to_dict()
    assert starts_of(config).folder is not None
    monkeypatch.setitem(MODELS, "cnn", functools.partial(MODELS["cnn"], blocks=((8,),)))
    assert starts_of(config) == NOTHING_KEPT


def test_a_model_can_be_made_within_a_transformation():
    keys = jax.random.split(jax.random.key(0), 2)
    made = jax.eval_shape(jax.vmap(lambda key: create_model("logistic_regression", 3, key=key)[1]), keys)
    assert {leaf.shape[0] for leaf in jax.tree.leaves(made)} == {2}


def test_arrays_are_made_once_and_stay_the_same_to_the_last_bit(starts):
    made = []

    def make():
        made.append(1)
        return {"drawn": jax.random.normal(jax.random.key(0), (3,)), "shape": jax.ShapeDtypeStruct((2, 1), jnp.int32)}

    first, second = starts.arrays("both", make), starts.arrays("both", make)
    assert made == [1]
    assert isinstance(second["drawn"], jax.Array)
    np.testing.assert_array_equal(first["drawn"], second["drawn"])
    assert first["shape"] == second["shape"]
    starts.arrays("others", make)
    assert made == [1, 1]


def test_a_model_is_drawn_once(starts, monkeypatch):
    options = {"blocks": ((4,),), "hidden": (8,), "image_shape": (8, 8, 1)}
    _, plain = create_model("cnn", 3, key=jax.random.key(1), **options)
    _, first = create_model("cnn", 3, key=jax.random.key(1), starts=starts, **options)
    monkeypatch.setattr(jax, "jit", None)  # nothing draws any more
    _, second = create_model("cnn", 3, key=jax.random.key(1), starts=starts, **options)
    chex.assert_trees_all_equal(plain, first, second)
    for other in ({"num_classes": 4}, {"key": jax.random.key(2)}, {"blocks": ((5,),)}, {"image_shape": (9, 8, 1)}):
        with pytest.raises(TypeError, match="not callable"):
            create_model("cnn", **{"num_classes": 3, "key": jax.random.key(1), **options, **other}, starts=starts)


def test_a_folder_that_can_be_read_alone_is_of_use(starts, monkeypatch):
    def refuse(path):
        raise PermissionError

    traced = []
    run(starts, traced)
    monkeypatch.setattr(module.os, "utime", refuse)
    run(starts, traced)
    assert len(traced) == 1


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only the administrator gives files away")
def test_files_of_others_are_not_run(starts, tmp_path):
    traced = []
    run(starts, traced)
    for file in (tmp_path / "starts" / "programs").iterdir():
        os.chown(file, 12345, -1)
    run(starts, traced)
    assert len(traced) == 2


@pytest.mark.parametrize("damage", [b"", b"short", bytes(1000)])
def test_a_damaged_file_is_made_again(starts, tmp_path, damage):
    traced = []
    run(starts, traced)
    for file in (tmp_path / "starts" / "programs").iterdir():
        file.write_bytes(damage)
    assert run(starts, traced) == ([2.0, 4.0], 3.0)
    assert run(starts, traced) == ([2.0, 4.0], 3.0)
    assert len(traced) == 2


def test_a_place_that_cannot_be_written_is_done_without(tmp_path):
    (tmp_path / "file").write_text("in the way")
    traced, starts = [], StartCache(tmp_path / "file" / "starts")
    assert run(starts, traced) == run(starts, traced) == ([2.0, 4.0], 3.0)
    assert len(traced) == 2


def test_what_was_not_used_for_longest_makes_room(starts, tmp_path, monkeypatch):
    def keep(name):
        return starts.arrays(name, lambda: made.append(name) or np.zeros(10_000, np.float32))

    made = []
    monkeypatch.setitem(module.MOST_BYTES, "arrays", 100_000)  # two of them
    for name in ("a", "b"):
        keep(name)
    files = (tmp_path / "starts" / "arrays").iterdir()
    for age, file in enumerate(sorted(files, key=lambda file: file.stat().st_mtime_ns)):
        os.utime(file, (age, age))
    keep("a")  # so that b is the one that was not used for longest
    keep("c")
    for name in ("a", "c", "b"):
        keep(name)
    assert made == ["a", "b", "c", "b"]


def test_it_is_off_where_jax_keeps_nothing_or_several_processes_compute(monkeypatch):
    assert start_cache([1]).folder is not None
    with monkeypatch.context() as patch:
        patch.setattr(module, "alone", lambda: False)
        assert start_cache([1]) == NOTHING_KEPT
    jax.config.update("jax_enable_compilation_cache", False)
    try:
        assert start_cache([1]) == NOTHING_KEPT
    finally:
        jax.config.update("jax_enable_compilation_cache", True)


def test_equal_configs_have_one_cache():
    one, other = default_config().to_dict(), dict(reversed(default_config().to_dict().items()))
    assert start_cache(one) == start_cache(other)
    other["batch_size"] += 1
    assert start_cache(one) != start_cache(other)


OVER_DEVICES = """
import pathlib, sys
import jax, numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtl.runtime.start_cache import StartCache

traced = []

def step(x):
    traced.append(1)
    return x.sum(0)

for devices in (jax.devices()[1:5], jax.devices()[4:8], jax.devices()[4:0:-1]):
    mesh = Mesh(np.array(devices), ("data",))
    split, everywhere = (NamedSharding(mesh, PartitionSpec(*axes)) for axes in (["data"], []))
    x = jax.device_put(np.arange(24.0, dtype=np.float32).reshape(8, 3), split)
    program = StartCache(pathlib.Path(sys.argv[1])).program("step", jax.jit(step, out_shardings=everywhere), x)
    print(*np.asarray(program(x)).tolist())
print(len(traced))
"""


def test_a_program_over_some_of_several_devices(tmp_path):
    environment = {**os.environ, "XLA_FLAGS": "--xla_force_host_platform_device_count=8"}
    command = [sys.executable, "-c", OVER_DEVICES, tmp_path]
    first, second = (subprocess.run(command, env=environment, capture_output=True, text=True) for _ in range(2))
    sums = "84.0 92.0 100.0\n" * 3
    assert (first.stdout, second.stdout) == (f"{sums}1\n", f"{sums}0\n"), first.stderr + second.stderr

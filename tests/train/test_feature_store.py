"""Features on disk: one pass of the backbone for all runs that share it, and never features of something else."""

import dataclasses
import errno
import math
import multiprocessing
import os
import signal
import threading
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from outcomes import Recorder, assert_same_bits

from jaxtl.data.augment import normalise
from jaxtl.data.dataset import Dataset, take
from jaxtl.models import build_model
from jaxtl.runtime.files import file_lock
from jaxtl.runtime.interrupts import Interrupted, StopFlag
from jaxtl.train.checkpoint import Checkpoints, digest
from jaxtl.train.extract import Extractor, Views
from jaxtl.train.feature_store import FeatureStore
from jaxtl.train.features import FeatureCache
from jaxtl.train.loop import fit
from jaxtl.train.task import Session, Task
from jaxtl.transfer import Phase
from jaxtl.transfer.augmentation import Augmentation

VIEWS = Views(2, 0, Augmentation(flip=True))


@pytest.fixture(scope="module")
def world(compiled_once, mesh, preprocess):
    model = build_model("cifar_resnet20", 3, depth=8, width=4)
    variables = jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, 8, 8, 1)))

    def cache(folder, *, model=model, preprocess=preprocess, batch_size=8, most_bytes=1e9, stop=None):
        recorder = Recorder()
        store, stop = FeatureStore(folder, most_bytes), StopFlag() if stop is None else stop
        cache = FeatureCache(Extractor(model, preprocess, batch_size, mesh, recorder, stop), store)
        return cache, recorder

    return types.SimpleNamespace(model=model, variables=variables, cache=cache)


def passes(world, folder, dataset, views=None, variables=None, **options):
    """How many passes of the backbone it takes to get the features."""
    cache, recorder = world.cache(folder, **options)
    kept = cache.of(variables or world.variables, "training", dataset, views)
    assert kept.passes == max((count for _, count, *_ in recorder.of("pass end")), default=0)
    return kept.passes


@pytest.mark.parametrize("views", [None, VIEWS], ids=["images as they are", "augmented views"])
def test_another_run_reads_what_the_first_one_computed(world, tmp_path, train_set, views):
    caches = [world.cache(tmp_path) for _ in range(2)]
    first, second = (cache.of(world.variables, "training", train_set, views) for cache, _ in caches)
    assert_same_bits(second.examples._asdict(), first.examples._asdict())
    assert (first.passes, second.passes) == (views.count if views else 1, 0)
    assert second.pass_s == first.pass_s
    assert caches[1][1].events == [("pass skipped", "training", 37)]


def test_a_run_on_kept_features_ends_in_the_same_bits(world, tmp_path, train_set, validation_set, preprocess, mesh):
    def run(name, seed):
        checkpoints, recorder = Checkpoints(tmp_path / name), Recorder()
        plan = [Phase(train=("head",), epochs=2)]
        task = Task(world.model, plan, train_set, validation_set, preprocess, 8, seed, mesh)
        session = Session(checkpoints, math.inf, recorder, StopFlag(), FeatureStore(tmp_path / "kept", 1e9))
        fitted = fit(task, world.variables, session)
        checkpoints.close()
        return fitted, [what for what, *_ in recorder.of("pass end")]

    first, computed = run("first", seed=0)
    second, computed_again = run("second", seed=0)
    assert (computed, computed_again) == (["training", "validation"], [])
    assert_same_bits(second.variables, first.variables)
    assert run("another seed of the head", seed=1)[1] == []


def test_features_of_something_else_are_never_taken(world, tmp_path, train_set):
    assert passes(world, tmp_path, train_set) == 1
    images = np.array(train_set.images)
    images[5, 2, 3] ^= 1  # one bit of one image
    statistics = jax.tree.map(lambda leaf: leaf + 1e-3, world.variables["batch_stats"])
    others = {
        "images": {"dataset": dataclasses.replace(train_set, images=images)},
        "order": {"dataset": take(train_set, np.arange(37)[::-1])},
        "statistics": {"variables": {**world.variables, "batch_stats": statistics}},
        "normalisation": {"preprocess": normalise([0.5], [0.51])},
        "structure": {"model": build_model("cifar_resnet20", 3, depth=8, width=4, dtype=jnp.bfloat16)},
        "views": {"views": VIEWS},
        "more views": {"views": dataclasses.replace(VIEWS, count=3)},
        "views of another seed": {"views": dataclasses.replace(VIEWS, seed=1)},
        "views of another batch size, which draws others": {"views": VIEWS, "batch_size": 4},
    }
    for what, options in others.items():
        for expected in (True, False):  # its own features are found the second time
            assert bool(passes(world, tmp_path, **{"dataset": train_set, **options})) is expected, what


def test_head_labels_and_batch_size_do_not_matter(world, tmp_path, train_set):
    assert passes(world, tmp_path, train_set) == 1
    another_head = build_model("cifar_resnet20", 7, depth=8, width=4, head={"hidden": (5,)})
    variables = jax.jit(another_head.init)(jax.random.key(0), jnp.zeros((1, 8, 8, 1)))
    relabelled = Dataset(train_set.images, np.zeros(37, np.int32), ("one",))
    assert passes(world, tmp_path, relabelled, model=another_head, variables=variables, batch_size=4) == 0


def test_a_run_that_was_stopped_goes_on_where_it_was(world, tmp_path, train_set, monkeypatch):
    """37 images in parts of 16: what is computed is kept part by part, and shared by runs on fewer images."""
    monkeypatch.setattr("jaxtl.train.features.PART", 16)
    assert passes(world, tmp_path, take(train_set, np.arange(32))) == 1
    cache, recorder = world.cache(tmp_path)
    kept = cache.of(world.variables, "training", train_set)
    assert [len_of_part for *_, len_of_part, _ in recorder.of("pass end")] == [5]
    assert recorder.of("pass skipped") == [["training", 32]]
    whole = world.cache(tmp_path / "whole")[0].of(world.variables, "training", train_set)
    np.testing.assert_array_equal(kept.examples.inputs, whole.examples.inputs)
    assert kept.pass_s > 0
    assert passes(world, tmp_path, take(train_set, np.arange(16))) == 0


@pytest.mark.parametrize("suffix", [".npy", ".json"])
@pytest.mark.parametrize("damage", ["flipped bit", "half", "empty", "gone"])
def test_a_damaged_file_costs_a_pass_and_nothing_else(world, tmp_path, train_set, suffix, damage):
    passes(world, tmp_path, train_set)
    (path,) = tmp_path.glob(f"*{suffix}")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    damaged = {"flipped bit": bytes(content), "half": bytes(content[: len(content) // 2]), "empty": b""}
    path.unlink()  # features may still be mapped
    if damage in damaged:
        path.write_bytes(damaged[damage])
    if suffix == ".json" and damage == "flipped bit":
        path.write_text('{"digest": "0"}')
    assert passes(world, tmp_path, train_set) == 1
    assert passes(world, tmp_path, train_set) == 0


def test_every_bit_of_a_header_may_flip(tmp_path):
    store, features = FeatureStore(tmp_path, 1e9), np.ones((2, 10), np.float32)
    store.save("a", features, 1.0)
    whole = (tmp_path / "a.npy").read_bytes()
    for bit in range(8 * (len(whole) - features.nbytes)):
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        (tmp_path / "a.npy").unlink()
        (tmp_path / "a.npy").write_bytes(damaged)
        loaded = store.load("a")  # a space that became another is no harm
        assert loaded is None or np.array_equal(loaded[0], features), bit


def test_a_store_that_can_only_be_read_serves(world, tmp_path, train_set, monkeypatch):
    """Root may write everywhere: so the system calls that change something are refused."""
    passes(world, tmp_path, train_set)

    def refuse(*_, **__):
        raise PermissionError(errno.EACCES, "Permission denied")

    for name in ("open", "utime", "mkdir", "unlink"):
        monkeypatch.setattr(os, name, refuse)
    assert passes(world, tmp_path, train_set) == 0


def test_features_that_another_process_removes_while_they_are_read_serve(tmp_path, monkeypatch):
    store, features = FeatureStore(tmp_path, 1e9), np.ones((2, 10), np.float32)
    store.save("a", features, 1.0)

    def digest_then_remove(content):
        (tmp_path / "a.npy").unlink()
        return digest(content)

    monkeypatch.setattr("jaxtl.train.feature_store.digest", digest_then_remove)
    loaded, _ = store.load("a")
    np.testing.assert_array_equal(loaded, features)
    assert not (tmp_path / "a.npy").exists(), "no empty file takes its place"


def test_processes_that_save_at_once_keep_the_bound(tmp_path, monkeypatch):
    """One is in the midst of writing: the other neither takes its draft for a leftover nor counts without it."""
    features = np.ones((100, 10), np.float32)
    stores = [FeatureStore(tmp_path, 1.9 * features.nbytes) for _ in range(2)]
    writes, go_on = threading.Event(), threading.Event()
    save = np.save

    def slow(file, array):
        if not writes.is_set():
            writes.set()
            assert go_on.wait(60)
        save(file, array)

    monkeypatch.setattr(np, "save", slow)
    threads = [threading.Thread(target=stores[i].save, args=("ab"[i], features, 1.0)) for i in range(2)]
    threads[0].start()
    assert writes.wait(60)
    threads[1].start()
    threads[1].join(0.5)
    go_on.set()
    for thread in threads:
        thread.join(60)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b.json", "b.npy"]


def test_leftovers_go_and_files_that_vanish_are_no_fault(tmp_path):
    store, features = FeatureStore(tmp_path, 1e9), np.ones((2, 10), np.float32)
    (tmp_path / "killed.partial").write_bytes(b"half of it")
    (tmp_path / "gone.npy").symlink_to(tmp_path / "nowhere")
    store.save("a", features, 1.0)
    np.testing.assert_array_equal(store.load("a")[0], features)
    assert not (tmp_path / "killed.partial").exists()


def test_the_folder_stays_within_its_bound(world, tmp_path, train_set):
    sets = [take(train_set, np.arange(i, i + 30)) for i in range(3)]
    passes(world, tmp_path / "size", sets[0])
    (size,) = (path.stat().st_size for path in (tmp_path / "size").glob("*.npy"))
    folder, most_bytes = tmp_path / "kept", 2.5 * size
    for i, dataset in enumerate(sets[:2]):
        passes(world, folder, dataset, most_bytes=most_bytes)
        for path in folder.glob("*.npy"):
            os.utime(path, (path.stat().st_atime, path.stat().st_mtime - 100 + i))
    assert passes(world, folder, sets[0], most_bytes=most_bytes) == 0  # used again: the other is the oldest now
    assert passes(world, folder, sets[2], most_bytes=most_bytes) == 1
    assert len(list(folder.glob("*.npy"))) == len(list(folder.glob("*.json"))) == 2
    assert [passes(world, folder, dataset, most_bytes=most_bytes) for dataset in (sets[0], sets[2])] == [0, 0]


@pytest.mark.parametrize("views", [None, VIEWS], ids=["images as they are", "augmented views"])
def test_a_bound_that_a_data_set_exceeds_is_told(world, tmp_path, train_set, monkeypatch, views):
    """Parts of 16 would fit: each would take the place of the one that the next run asks for first."""
    monkeypatch.setattr("jaxtl.train.features.PART", 16)
    nbytes = 37 * 16 * 4 * (2 if views else 1)
    for _ in range(2):
        cache, recorder = world.cache(tmp_path, most_bytes=nbytes)  # a file takes more than its features
        for _ in range(2):
            cache.of(world.variables, "training", train_set, views)
        assert recorder.of("unkept") == [["training", 37, nbytes, nbytes]]
        assert len(recorder.of("pass end")) == 1
    assert list(tmp_path.iterdir()) == []


def test_data_sets_that_exceed_the_bound_together_do_not_take_each_others_place(
    world, tmp_path, train_set, validation_set, monkeypatch
):
    monkeypatch.setattr("jaxtl.train.features.PART", 16)

    def run():
        cache, recorder = world.cache(tmp_path, most_bytes=37 * 16 * 4 + 3 * 1024)
        for what, dataset in (("training", train_set), ("validation", validation_set)):
            cache.of(world.variables, what, dataset)
        assert [what for what, *_ in recorder.of("unkept")] == ["validation"]
        return [what for what, *_ in recorder.of("pass end")]

    assert [run(), run()] == [["training", "validation"], ["validation"]]


def test_the_parts_of_a_data_set_are_one_pass_for_who_looks_on(world, tmp_path, train_set, monkeypatch):
    monkeypatch.setattr("jaxtl.train.features.PART", 16)
    cache, recorder = world.cache(tmp_path)
    cache.of(world.variables, "training", train_set)
    assert recorder.of("pass start") == [["Features of training images", 37]]
    done = [images for (images,) in recorder.of("images")]
    assert done == sorted(done) and {16, 32, 37} <= set(done)
    ((what, views, images, seconds),) = recorder.of("pass end")
    assert (what, views, images) == ("training", 1, 37) and seconds > 0


@pytest.mark.parametrize("views", [None, VIEWS], ids=["images as they are", "augmented views"])
def test_no_images_have_no_features(world, tmp_path, train_set, views):
    kept = world.cache(tmp_path)[0].of(world.variables, "training", take(train_set, slice(0)), views)
    assert kept.examples.total == 0


def test_a_folder_that_cannot_be_written_costs_nothing(world, tmp_path, train_set):
    (tmp_path / "file").touch()
    assert passes(world, tmp_path / "file" / "folder", train_set) == 1


def _hold(path, held, release):
    with file_lock(path):
        held.set()
        release.wait(60)


def test_only_one_process_computes(world, tmp_path, train_set):
    """While another process holds the lock, a run waits, and hears a signal; what that process kept is then read."""
    passes(world, tmp_path, train_set)
    (path,) = tmp_path.glob("*.npy")
    spawn = multiprocessing.get_context("spawn")
    held, release = spawn.Event(), spawn.Event()
    other = spawn.Process(target=_hold, args=(path.with_suffix(".lock"), held, release))
    other.start()
    try:
        assert held.wait(60)
        stop = StopFlag()
        stop.signal = signal.SIGTERM
        with pytest.raises(Interrupted, match="Stopped by SIGTERM while another process computed the same features"):
            passes(world, tmp_path, train_set, stop=stop)
        threading.Timer(1.2, release.set).start()  # so that it looks several times, and tells it once
        cache, recorder = world.cache(tmp_path)
        assert cache.of(world.variables, "training", train_set).passes == 0
        assert recorder.events == [("awaited",), ("pass skipped", "training", 37)]
    finally:
        release.set()
        other.join()

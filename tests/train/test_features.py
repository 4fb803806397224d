"""Kept features: the same training as without them, on one pass of the backbone."""

import contextlib
import dataclasses
import math
import signal
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from outcomes import Recorder, assert_same_outcome

from jaxtl.data.augment import compose, horizontal_flip, pad_and_crop
from jaxtl.models import build_model
from jaxtl.runtime.interrupts import Interrupted, StopFlag
from jaxtl.train import examples, extract
from jaxtl.train.checkpoint import Checkpoints, flatten
from jaxtl.train.extract import Extractor, Views
from jaxtl.train.features import FeatureCache
from jaxtl.train.loop import fit
from jaxtl.train.task import Session, Task
from jaxtl.transfer import Phase
from jaxtl.transfer.augmentation import Augmentation

# All that a head can draw: dropout on the features and on hidden units.
HEAD = {"hidden": (6,), "dropout": 0.3, "input_dropout": 0.2}
PROBE = Phase(train=("head",), epochs=4, learning_rate=0.02, schedule="cosine")


@pytest.fixture(scope="module")
def world(compiled_once, train_set, validation_set, preprocess, mesh):
    """A network whose head is worth training, and `fit` with few arguments."""
    model = build_model("cifar_resnet20", 3, depth=8, width=4, head=HEAD)
    variables = jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, 8, 8, 1)))
    # Statistics as after training, so that inference mode is not the identity.
    variables = {**variables, "batch_stats": jax.tree.map(lambda leaf: leaf + 0.1, variables["batch_stats"])}

    def cache(observer=None, stop=None, store=None, preprocess=preprocess, batch_size=8):
        observer, stop = observer or Recorder(), stop or StopFlag()
        return FeatureCache(Extractor(model, preprocess, batch_size, mesh, observer, stop), store)

    def run(folder, plan, observer=None, stop=None, store=None):
        observer = observer or Recorder()
        stop = StopFlag() if stop is None else stop  # a flag that nobody has raised is false
        with contextlib.closing(Checkpoints(folder)) as checkpoints:
            task = Task(model, plan, train_set, validation_set, preprocess, 8, 0, mesh)
            return fit(task, variables, Session(checkpoints, math.inf, observer, stop, store))

    return types.SimpleNamespace(model=model, variables=variables, cache=cache, run=run, mesh=mesh)


def of_backbone(world, images, preprocess, transform=None, key=None):
    batch = preprocess(None, transform(key, images) if transform else jnp.asarray(images))
    return np.asarray(world.model.apply(world.variables, batch, train=False, method="features"))


@pytest.mark.parametrize(
    "recipe",
    [{}, {"balanced_sampling": True, "ema": 0.8, "accumulate": 2, "class_weights": {"top": 2.0}}],
    ids=["plain", "balanced, averaged and accumulated"],
)
def test_the_cached_phase_gives_the_result_of_the_uncached_one(world, tmp_path, recipe):
    recorder, probe = Recorder(), dataclasses.replace(PROBE, **recipe)
    cached = world.run(tmp_path / "cached", [probe], observer=recorder)
    plain = world.run(tmp_path / "plain", [dataclasses.replace(probe, cache_features=False)])
    for line, other in zip(cached.history, plain.history, strict=True):
        for figure in ("train_accuracy", "val_accuracy", "learning_rate"):
            assert line[figure] == other[figure], figure
        assert line["train_loss"] == pytest.approx(other["train_loss"], rel=1e-5)
        assert line["val_loss"] == pytest.approx(other["val_loss"], rel=1e-5)
    found, expected = flatten(cached.variables), flatten(plain.variables)
    assert found.keys() == expected.keys()
    for path, leaf in found.items():
        np.testing.assert_allclose(leaf, expected[path], rtol=1e-4, atol=1e-6, err_msg=path)
    assert cached.features_s > 0
    assert plain.features_s == 0
    assert recorder.of("pass start") == [["Features of training images", 37], ["Features of validation images", 21]]


def test_the_backbone_is_untouched_bit_by_bit(world, tmp_path):
    after = flatten(world.run(tmp_path, [PROBE]).variables)
    for path, leaf in flatten(world.variables).items():
        moved = not np.array_equal(leaf, after[path])
        assert moved is path.startswith("params/head/"), path


def test_the_backbone_runs_once_per_image_whatever_the_epochs(world, tmp_path):
    """Two phases on the same backbone, ten epochs in all: one pass over each data set."""
    recorder = Recorder()
    world.run(tmp_path, [PROBE, dataclasses.replace(PROBE, epochs=6)], observer=recorder)
    assert [what for what, *_ in recorder.of("pass end")] == ["training", "validation"]
    (first, passes, saved), (second, passes_again, saved_again) = recorder.of("saved")
    assert (first, second, passes, passes_again) == (4, 6, 1, 0)
    (_, _, _, training_s), (_, _, _, validation_s) = recorder.of("pass end")
    assert saved == pytest.approx(3 * (training_s + validation_s))
    assert saved_again == pytest.approx(6 * (training_s + validation_s))


def test_a_phase_that_moves_the_backbone_forgets_its_features(world, tmp_path):
    recorder = Recorder()
    world.run(tmp_path, [PROBE, Phase(epochs=1), PROBE], observer=recorder)
    assert [what for what, *_ in recorder.of("pass end")] == ["training", "validation"] * 2


@pytest.mark.parametrize("device_memory", [math.inf, 0], ids=["on the device", "in host memory"])
def test_features_are_those_of_the_model(world, train_set, preprocess, monkeypatch, device_memory):
    monkeypatch.setattr(extract, "fits", lambda nbytes, mesh: nbytes < device_memory)
    kept = world.cache().of(world.variables, "training", train_set).examples
    assert isinstance(kept.inputs, np.ndarray) is (device_memory == 0)
    expected = of_backbone(world, train_set.images, preprocess)
    np.testing.assert_allclose(kept.inputs[:37], expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(kept.labels, train_set.labels)


def test_views_are_augmented_images_and_all_different(world, train_set, preprocess):
    kept = (
        world.cache().of(world.variables, "training", train_set, Views(3, 5, Augmentation(flip=True, crop=1))).examples
    )
    assert (kept.views, kept.total) == (3, 37)
    found = np.asarray(kept.inputs)
    key = jax.random.fold_in(jax.random.fold_in(jax.random.key(5), 2), 1)  # view 2, batch 1
    augment = compose(compose(horizontal_flip(), pad_and_crop(1)), preprocess)
    batch = augment(key, jnp.asarray(train_set.images[8:16]))
    expected = world.model.apply(world.variables, batch, train=False, method="features")
    np.testing.assert_allclose(found[2 * 37 + 8 : 2 * 37 + 16], expected, rtol=1e-5, atol=1e-6)
    by_view = found[: 3 * 37].reshape(3, 37, -1)
    assert (by_view[0] != by_view[1]).any(1).mean() > 0.8, "9 places and 2 sides: few images stay as they are"
    np.testing.assert_array_equal(kept.labels, np.tile(train_set.labels, 3))


def test_training_draws_among_the_views(world, tmp_path):
    augmented = dataclasses.replace(PROBE, flip=True, crop=1, cached_views=3)
    recorder = Recorder()
    fitted = world.run(tmp_path / "views", [augmented], observer=recorder)
    assert recorder.of("pass start")[0] == ["Features of training images", 3 * 37]
    assert recorder.of("saved")[0][:2] == [4, 3]
    losses = [[line["train_loss"] for line in run.history] for run in (fitted, world.run(tmp_path / "plain", [PROBE]))]
    assert losses[0] != losses[1]
    assert fitted.history[-1]["train_loss"] < fitted.history[0]["train_loss"]


@pytest.mark.parametrize("views", [0, 2])
def test_training_from_host_memory_gives_the_same_bits(world, tmp_path, monkeypatch, views):
    plan = [dataclasses.replace(PROBE, flip=views > 0, cached_views=views), Phase(epochs=1)]
    on_device = world.run(tmp_path / "device", plan)
    for module in (extract, examples):  # the images of the second phase stay there too
        monkeypatch.setattr(module, "fits", lambda nbytes, mesh: False)
    assert_same_outcome(world.run(tmp_path / "host", plan), on_device)


def test_a_stopped_probe_goes_on_to_the_same_bits(world, tmp_path):
    plan = [dataclasses.replace(PROBE, flip=True, cached_views=2)]
    whole = world.run(tmp_path / "whole", plan)
    stop = StopFlag()

    def stop_in_the_third_epoch(event, *details):
        if event == "start" and details[1] == 3:
            stop.signal = signal.SIGTERM

    with pytest.raises(Interrupted, match="Stopped by SIGTERM in epoch 3"):
        world.run(tmp_path / "stopped", plan, observer=Recorder(stop_in_the_third_epoch), stop=stop)
    assert_same_outcome(world.run(tmp_path / "stopped", plan), whole)


def test_a_stop_during_extraction_is_heard(world, train_set):
    stop = StopFlag()
    stop.signal = signal.SIGINT
    with pytest.raises(Interrupted, match="Stopped by SIGINT while features were computed, which will be done again"):
        world.cache(stop=stop).of(world.variables, "training", train_set)


def test_a_finished_probe_computes_no_features_again(world, tmp_path):
    whole = world.run(tmp_path, [PROBE])
    recorder = Recorder()
    assert_same_outcome(world.run(tmp_path, [PROBE], observer=recorder), whole)
    assert recorder.events == []


def test_the_backbone_is_compiled_once_for_data_sets_of_any_length(world, train_set, validation_set):
    recorder = Recorder()
    cache = world.cache(recorder)
    for what, dataset in (("training", train_set), ("validation", validation_set)):
        cache.of(world.variables, what, dataset)
    assert [what for what, _ in recorder.of("compile")] == ["feature extraction"]
    cache.of(
        world.variables, "training", train_set, Views(2, 0, Augmentation(flip=True))
    )  # other images, another program
    assert len(recorder.of("compile")) == 2

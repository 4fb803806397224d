import contextlib
import dataclasses
import math
import pathlib
import signal
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from outcomes import Recorder, assert_same_bits, assert_same_outcome
from sklearn.metrics import balanced_accuracy_score, f1_score

from jaxtl.errors import UserError
from jaxtl.models import build_model
from jaxtl.runtime.interrupts import Interrupted, StopFlag, stop_on_signals
from jaxtl.train.checkpoint import Checkpoints, flatten, read_best
from jaxtl.train.evaluate import make_evaluator
from jaxtl.train.examples import place
from jaxtl.train.loop import Fitted, fit
from jaxtl.train.task import Session, Task
from jaxtl.transfer import Phase

SGD = Phase(optimizer="sgd", momentum=0.0, learning_rate=0.05, epochs=2)
# The rate is multiplied by 100 every epoch. Logistic regression survives that, but its validation gets worse.
WORSE_AND_WORSE = dataclasses.replace(SGD, schedule="step", step_epochs=1, step_factor=100.0, epochs=9, patience=2)
# Everything that a resumed run must carry over: moments, statistics, dropout, augmentation, a schedule, a best epoch,
# averages, and gradients that wait for their update.
PLAN = (
    Phase(train=("head",), epochs=2, learning_rate=0.02, flip=True, balanced_sampling=True, ema=0.7),
    Phase(
        epochs=3,
        learning_rate=0.01,
        schedule="cosine",
        warmup_epochs=0.5,
        flip=True,
        crop=1,
        resized_crop=0.8,
        brightness=0.1,
        auto_augment="randaugment",
        randaugment_magnitude=2,
        erasing=0.1,
        mixup=0.2,
        cutmix=0.2,
        clip_norm=1.0,
        accumulate=2,
        ema=0.7,
        layer_decay=0.8,
        class_weights="balanced",
    ),
)


@pytest.fixture(scope="module")
def world(compiled_once, train_set, validation_set, preprocess, mesh):
    """What all fits share: two networks with their first variables, data, and `fit` with few arguments."""
    net = build_model("cnn", 3, blocks=((2,),), hidden=(4,), norm="after_conv", dropout=0.3)
    linear = build_model("logistic_regression", 3)
    start = {model: jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, 8, 8, 1))) for model in (net, linear)}

    def run(
        folder: pathlib.Path,
        plan,
        model=net,
        validation=validation_set,
        seed=0,
        batch_size=8,
        checkpoint_every_s=math.inf,
        observer=None,
        stop=None,
    ) -> Fitted:
        with contextlib.closing(Checkpoints(folder)) as checkpoints:
            session = Session(
                checkpoints, checkpoint_every_s, observer or Recorder(), StopFlag() if stop is None else stop
            )
            task = Task(model, plan, train_set, validation, preprocess, batch_size, seed, mesh)
            return fit(task, start[model], session)

    def evaluate(model, dataset, variables):
        return make_evaluator(model, place(dataset, mesh), preprocess, batch_size=8, mesh=mesh)(variables)

    return types.SimpleNamespace(
        net=net, linear=linear, start=start, run=run, evaluate=evaluate, train=train_set, validation=validation_set
    )


@pytest.fixture(scope="module")
def whole(world, tmp_path_factory):
    """``PLAN`` without interruption."""
    recorder = Recorder()
    folder = tmp_path_factory.mktemp("whole")
    return types.SimpleNamespace(fitted=world.run(folder, PLAN, observer=recorder), recorder=recorder, folder=folder)


# What is told of a run


def test_a_line_says_all_about_its_epoch(whole, world):
    history = whole.fitted.history
    assert [(line["phase"], line["phase_index"], line["epoch"]) for line in history] == [
        ("head", 0, 1),
        ("head", 0, 2),
        ("all", 1, 3),
        ("all", 1, 4),
        ("all", 1, 5),
    ]
    for line in history:
        assert set(line) == {
            *("phase", "phase_index", "epoch", "train_loss", "train_accuracy", "val_loss", "val_accuracy"),
            *("val_f1", "val_balanced_accuracy"),
            *("learning_rate", "images_per_s", "seconds"),
        }
        assert all(math.isfinite(value) for name, value in line.items() if name != "phase")
        assert line["images_per_s"] > 0
        assert line["seconds"] > 37 / line["images_per_s"]  # the seconds hold validation too


def test_the_learning_rate_of_a_line_is_that_of_its_last_step(whole):
    # 5 steps an epoch, 15 in the phase; the warm-up takes round(2.5) = 2 of them.
    cosine = [0.01 * (1 + math.cos(math.pi * (step - 2) / 13)) / 2 for step in (4, 9, 14)]
    assert [line["learning_rate"] for line in whole.fitted.history] == pytest.approx([0.02, 0.02, *cosine], rel=1e-4)


def test_the_observer_hears_of_every_epoch_in_order(whole):
    recorder, history = whole.recorder, whole.fitted.history
    assert recorder.of("start") == [[line["phase"], line["epoch"], 5, 37] for line in history]
    assert recorder.of("end") == [[line] for line in history]
    order = [kind for kind, *_ in recorder.events if kind in ("start", "end")]
    assert order == ["start", "end"] * 5


def test_each_phase_compiles_one_train_step_and_the_run_one_validation_step(whole):
    compiled = whole.recorder.of("compile")
    assert [what for what, _ in compiled] == ["train step", "validation step", "train step"]
    assert whole.fitted.compile_s == pytest.approx(sum(seconds for _, seconds in compiled))


def test_the_same_seed_gives_the_same_bits(world, whole, tmp_path):
    assert_same_outcome(world.run(tmp_path, PLAN), whole.fitted)


def test_another_seed_gives_other_bits(world, tmp_path):
    plan = [dataclasses.replace(SGD, epochs=1)]  # no dropout, no augmentation: the order alone
    first, other = (
        world.run(tmp_path / str(seed), plan, model=world.linear, seed=seed).variables["params"] for seed in (0, 1)
    )
    assert not np.array_equal(first["head"]["linear"]["kernel"], other["head"]["linear"]["kernel"])


def test_the_figures_of_an_epoch_are_those_of_all_images_and_of_no_other_epoch(world, tmp_path):
    # The rate falls to nothing after an epoch, so that a pass over the images must find what the second one measured.
    plan = [dataclasses.replace(SGD, schedule="step", step_epochs=1, step_factor=1e-30, keep="last")]
    fitted = world.run(tmp_path, plan, model=world.linear)
    first, second = fitted.history
    assert first["train_loss"] != pytest.approx(second["train_loss"], rel=1e-3)
    for figures, dataset in (("train", world.train), ("val", world.validation)):
        expected = world.evaluate(world.linear, dataset, fitted.variables)
        assert second[f"{figures}_loss"] == pytest.approx(expected.loss, rel=1e-6)
        assert second[f"{figures}_accuracy"] == pytest.approx(expected.accuracy)


def test_without_validation_the_last_epoch_is_kept(world, tmp_path):
    fitted = world.run(tmp_path, [dataclasses.replace(SGD, patience=1)], model=world.linear, validation=None)
    assert fitted.best_epoch == len(fitted.history) == 2
    measured = [value for line in fitted.history for name, value in line.items() if name.startswith("val_")]
    assert measured == [None] * 8
    assert_same_bits(read_best(tmp_path), {"params": fitted.variables["params"]})


# Early stopping and the weights that are kept


@pytest.mark.parametrize("keep", ["best", "last"])
def test_training_stops_when_it_gets_worse_and_keeps_what_it_shall(world, tmp_path, keep):
    plan = [dataclasses.replace(WORSE_AND_WORSE, keep=keep)]
    fitted = world.run(tmp_path, plan, model=world.linear)
    losses = [line["val_loss"] for line in fitted.history]
    best = int(np.argmin(losses)) + 1
    assert len(losses) == best + 2 < 9, "patience is 2"
    kept = best if keep == "best" else len(losses)
    assert fitted.best_epoch == kept
    found = world.evaluate(world.linear, world.validation, fitted.variables)
    assert found.loss == losses[kept - 1]
    assert found.loss == min(losses) or keep == "last"
    assert_same_bits(read_best(tmp_path), {"params": fitted.variables["params"]})


def test_accuracy_can_be_what_is_monitored(world, tmp_path):
    plan = [dataclasses.replace(WORSE_AND_WORSE, monitor="val_accuracy")]
    fitted = world.run(tmp_path, plan, model=world.linear)
    accuracies = [line["val_accuracy"] for line in fitted.history]
    assert fitted.best_epoch == int(np.argmax(accuracies)) + 1
    assert len(accuracies) == min(fitted.best_epoch + 2, 9)


@pytest.mark.parametrize("monitor", ["val_f1", "val_balanced_accuracy"])
def test_scores_that_weigh_classes_alike_can_be_what_is_monitored(world, tmp_path, monitor):
    fitted = world.run(tmp_path, [dataclasses.replace(WORSE_AND_WORSE, monitor=monitor)], model=world.linear)
    values = [line[monitor] for line in fitted.history]
    assert fitted.best_epoch == int(np.argmax(values)) + 1
    assert len(values) == min(fitted.best_epoch + 2, 9)
    found = world.evaluate(world.linear, world.validation, fitted.variables)
    expected = {
        "val_f1": f1_score(world.validation.labels, found.predicted, average="macro"),
        "val_balanced_accuracy": balanced_accuracy_score(world.validation.labels, found.predicted),
    }
    assert max(values) == pytest.approx(expected[monitor])


def test_the_average_is_what_is_validated_kept_and_handed_on(world, tmp_path):
    averaged = dataclasses.replace(SGD, ema=0.9, keep="last")
    fitted = world.run(tmp_path / "ema", [averaged], model=world.linear)
    plain = world.run(tmp_path / "plain", [dataclasses.replace(SGD, keep="last")], model=world.linear)
    assert [line["train_loss"] for line in fitted.history] == [line["train_loss"] for line in plain.history]
    assert fitted.history[-1]["val_loss"] != plain.history[-1]["val_loss"]
    found = world.evaluate(world.linear, world.validation, fitted.variables)
    assert found.loss == fitted.history[-1]["val_loss"]
    assert_same_bits(read_best(tmp_path / "ema"), {"params": fitted.variables["params"]})
    still = dataclasses.replace(SGD, learning_rate=1e-30, epochs=1)
    longer = world.run(tmp_path / "longer", [averaged, still], model=world.linear)
    assert longer.history[-1]["val_loss"] == pytest.approx(fitted.history[-1]["val_loss"], rel=1e-6)


def test_the_next_phase_starts_from_the_weights_that_were_kept(world, tmp_path):
    rest = dataclasses.replace(SGD, learning_rate=0.0, epochs=1)
    fitted = world.run(tmp_path, [WORSE_AND_WORSE, rest], model=world.linear)
    losses = [line["val_loss"] for line in fitted.history]
    assert losses[-1] == min(losses[:-1]) < losses[-2]


def test_a_phase_moves_the_stages_it_names_alone(world, tmp_path):
    before, after = world.start[world.net], world.run(tmp_path, PLAN[:1]).variables
    for kind in ("params", "batch_stats"):
        for stage, leaves in before[kind].items():
            if stage != "head":
                assert_same_bits(after[kind][stage], leaves)
    for path, leaf in flatten(before["params"]["head"]).items():
        assert not np.array_equal(leaf, flatten(after["params"]["head"])[path]), path


def test_the_second_phase_moves_everything(world, whole):
    before, after = flatten(world.start[world.net]), flatten(whole.fitted.variables)
    assert before.keys() == after.keys()
    assert not [path for path, leaf in before.items() if np.array_equal(leaf, after[path])]


def test_the_first_variables_survive_training(world, whole):
    # Their buffers must not be donated: a baseline may start from the same ones.
    assert not any(leaf.is_deleted() for leaf in jax.tree.leaves(world.start[world.net]))


# Breaking off and going on


def stop_at(*, event: str, epoch: int, stop: StopFlag) -> Recorder:
    """Ask for the end when an epoch starts (after its first step the loop saves within it) or when it is over."""

    def hook(kind, *details):
        number = {"start": lambda: details[1], "end": lambda: details[0]["epoch"]}.get(kind, lambda: None)()
        if (kind, number) == (event, epoch):
            stop.signal = signal.SIGTERM

    return Recorder(hook)


@pytest.mark.parametrize(
    "places",
    [
        pytest.param([("start", 2), ("start", 3), ("start", 5)], id="within epochs"),
        pytest.param([("end", 1), ("end", 2), ("end", 4), ("end", 5)], id="between epochs, phases and at the end"),
    ],
)
def test_a_stopped_run_goes_on_to_the_same_bits(world, whole, tmp_path, places):
    for event, epoch in places:
        stop = StopFlag()
        with pytest.raises(Interrupted, match=f"Stopped by SIGTERM in epoch {epoch}; all is saved") as raised:
            world.run(tmp_path, PLAN, observer=stop_at(event=event, epoch=epoch, stop=stop), stop=stop)
        assert raised.value.stop is stop
        with contextlib.closing(Checkpoints(tmp_path)) as checkpoints:
            progress = checkpoints.last_progress()
        # One step of the epoch if stopped at its start, all five at its end.
        assert progress.total_step == (5 * epoch if event == "end" else 5 * (epoch - 1) + 1)
        assert len(progress.history) == (epoch if event == "end" else epoch - 1)
    recorder = Recorder()
    assert_same_outcome(world.run(tmp_path, PLAN, observer=recorder), whole.fitted)
    assert [start[1] for start in recorder.of("start")] == ([5] if places[-1][0] == "start" else [])
    assert_same_bits(read_best(tmp_path), whole.fitted.variables)


class Killed(BaseException):
    """Nothing catches it, so nothing is saved on the way out: kill -9 as near as one process can come to it."""


def test_a_killed_run_goes_on_to_the_same_bits(world, whole, tmp_path):
    for epoch in (2, 4, 5):
        fatal = epoch

        def hook(kind, *details, fatal=fatal):
            if kind == "end" and details[0]["epoch"] == fatal:
                raise Killed

        with pytest.raises(Killed):
            # Every moment is due for a save, but the epoch that just ended is not saved yet.
            world.run(tmp_path, PLAN, observer=Recorder(hook), checkpoint_every_s=0.0)
    assert_same_outcome(world.run(tmp_path, PLAN), whole.fitted)


def test_a_run_killed_between_saving_the_best_and_the_state_goes_on(world, whole, tmp_path, monkeypatch):
    save_last = Checkpoints.save_last

    def die(self, step, tree, progress):
        if len(progress.history) == 4:
            raise Killed
        save_last(self, step, tree, progress)

    monkeypatch.setattr(Checkpoints, "save_last", die)
    with pytest.raises(Killed):
        world.run(tmp_path, PLAN, checkpoint_every_s=0.0)
    monkeypatch.undo()
    assert_same_outcome(world.run(tmp_path, PLAN, checkpoint_every_s=0.0), whole.fitted)


def test_no_best_epoch_is_saved_twice(world, tmp_path, monkeypatch):
    # To save again is to delete first: killed in between, the run would have lost the best that its state refers to.
    saved = []
    save_best = Checkpoints.save_best

    def remember(self, epoch, variables):
        saved.append(epoch)
        save_best(self, epoch, variables)

    monkeypatch.setattr(Checkpoints, "save_best", remember)
    for _ in range(2):  # the second time, it has finished
        best = world.run(tmp_path, [WORSE_AND_WORSE], model=world.linear, checkpoint_every_s=0.0).best_epoch
    assert best == saved[-1]
    assert len(saved) == len(set(saved))


def test_a_finished_run_trains_no_further(world, whole):
    recorder = Recorder()
    assert_same_outcome(world.run(whole.folder, PLAN, observer=recorder), whole.fitted)
    assert recorder.events == []


def test_a_signal_stops_the_loop(world, tmp_path):
    def hook(kind, *details):
        if kind == "start":
            signal.raise_signal(signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    with stop_on_signals(signal.SIGTERM, signal.SIGINT) as stop, pytest.raises(Interrupted, match="SIGTERM in epoch 1"):
        world.run(tmp_path, [SGD], model=world.linear, observer=Recorder(hook), stop=stop)
    assert signal.getsignal(signal.SIGTERM) == before
    assert len(world.run(tmp_path, [SGD], model=world.linear).history) == 2


# When training diverges


def test_a_loss_that_is_not_a_number_stops_and_keeps_the_good_checkpoint(world, tmp_path):
    good = dataclasses.replace(SGD, epochs=1)
    wild = dataclasses.replace(SGD, learning_rate=1e38)
    with pytest.raises(UserError, match=r"not a number any more in epoch 2 \(phase 'all', learning rate 1e\+38\)"):
        world.run(tmp_path, [good, wild], checkpoint_every_s=0.0)
    with contextlib.closing(Checkpoints(tmp_path)) as checkpoints:
        progress = checkpoints.last_progress()
    assert [line["epoch"] for line in progress.history] == [1]
    kept = read_best(tmp_path)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(kept))
    # The phase before is all there: with a sensible second phase the run goes on from it.
    assert len(world.run(tmp_path, [good, good]).history) == 2


@pytest.mark.parametrize("validated", [True, False])
def test_a_last_update_to_infinity_is_not_saved(world, tmp_path, validated):
    # One step an epoch: its loss is still finite, only the weights show what the update did, and validation if any.
    wild = dataclasses.replace(SGD, learning_rate=1e38, epochs=1, weight_decay=100.0)
    recorder, validation = Recorder(), world.validation if validated else None
    with pytest.raises(UserError, match=r"not a number any more in epoch 1 .* nothing had been saved yet"):
        world.run(tmp_path, [wild], world.linear, validation, batch_size=64, observer=recorder)
    with contextlib.closing(Checkpoints(tmp_path)) as checkpoints:
        assert checkpoints.last_progress() is None
    assert not validated or not recorder.of("end"), "no line may hold what is not a number"

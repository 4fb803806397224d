"""``python -m jaxtl.search``: what it finds, what it leaves behind, and that it goes on wherever it was ended."""

import csv
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time

import jax
import numpy as np
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

import jaxtl.experiment
import jaxtl.search.study
import jaxtl.search.trials
from jaxtl.__main__ import main as jaxtl_command
from jaxtl.config.tree import differences
from jaxtl.data.dataset import take
from jaxtl.report import plots
from jaxtl.report import search as report
from jaxtl.report.search import COMPLETE, PRUNED, Outcome, TrialLine
from jaxtl.search import Space
from jaxtl.search.__main__ import main
from jaxtl.search.study import Study

pytestmark = pytest.mark.usefixtures("compiled_once", "no_pictures")


CONFIG = """
from jaxtl.config import default_config, phase
from jaxtl.search import Space
from optuna.distributions import FloatDistribution

def get_config():
    config = default_config()
    config.name = "tiny search"
    config.data.name = "digits"
    config.data.subset = 200
    config.data.test_subset = 100
    config.model.name = "custom_cnn"
    config.batch_size = 40
    config.phases = (phase(epochs=2, optimizer="sgd"),)
    layers(config, {"blocks": 0})
    return config

def layers(config, params):
    config.model.options = {"blocks": ((2,),) * params["blocks"], "hidden": ()}

def get_space():
    parameters = {"phases.0.learning_rate": FloatDistribution(1e-3, 1e-1, log=True), "blocks": "0,5"}
    return Space(parameters, apply=layers, final={"batch_size": 50})
"""
RATES = """
from jaxtl.config import default_config, phase

def get_config():
    config = default_config()
    config.data.name = "digits"
    config.data.subset = 200
    config.data.test_subset = 100
    config.model.name = "logistic_regression"
    config.batch_size = 40
    config.phases = (phase(epochs=2, optimizer="sgd"),)
    return config
"""
SPACE = ("--space", "phases.0.learning_rate=log:1e-3..1e-1")


@pytest.fixture(scope="module")
def configs(tmp_path_factory):
    """(a config with a space, one without)."""
    folder = tmp_path_factory.mktemp("configs")
    for name, text in (("space", CONFIG), ("rates", RATES)):
        (folder / f"{name}.py").write_text(text)
    return folder / "space.py", folder / "rates.py"


@pytest.fixture
def call(capsys, monkeypatch):
    """``call(*arguments)`` gives (status, printed, complained)."""
    monkeypatch.setattr(sys, "unraisablehook", sys.unraisablehook)
    monkeypatch.setattr("threading.excepthook", lambda error: None)
    monkeypatch.setattr(report, "draw", lambda outcome: {})
    monkeypatch.setattr(jaxtl.search.trials, "POLL_S", 0.1)
    monkeypatch.setattr(jaxtl.search.study, "HEARTBEAT_S", 1)
    monkeypatch.setattr(jaxtl.search.study, "GRACE_S", 3)

    def run(*arguments):
        capsys.readouterr()
        status = main([str(argument) for argument in arguments])
        return status, *capsys.readouterr()

    return run


def table(folder):
    """Every trial as ``trials.json`` has it, without its seconds."""
    trials = json.loads((folder / "trials.json").read_text())["trials"]
    return [{field: value for field, value in trial.items() if field != "seconds"} for trial in trials]


def test_from_the_space_to_the_tested_best(call, configs, tmp_path, monkeypatch):
    tests = []
    test = jaxtl.experiment.test
    monkeypatch.setattr(jaxtl.experiment, "test", lambda *args: tests.append(args) or test(*args))
    arguments = ("--config", configs[0], "--workdir", tmp_path / "s", "--trials", 4)
    status, _, complained = call(*arguments)
    assert (status, complained) == (0, "")
    assert len(tests) == 1, "the best trial is tested, once, and no other"
    trials, values = table(tmp_path / "s"), {}
    assert [trial["number"] for trial in trials] == [0, 1, 2, 3]
    for trial in trials:
        if trial["params"]["blocks"] == 5:  # five pools for images of 8 x 8
            assert (trial["state"], trial["value"], trial["epochs"]) == ("pruned", None, 0)
            assert "needs 32 x 32 or more" in trial["reason"]
        else:
            lines = (tmp_path / "s/trials" / f"{trial['number']:04d}/metrics.jsonl").read_text().splitlines()
            losses = [json.loads(line)["val_loss"] for line in lines]
            assert (trial["state"], trial["value"], len(losses)) == ("complete", min(losses), 2)
            values[trial["number"]] = trial["value"]
    assert 1 < len(values) < 4, "the seed draws both"
    best = min(values, key=values.get)
    assert json.loads((tmp_path / "s/trials.json").read_text())["best"] == best
    config = json.loads((tmp_path / "s/best/config.json").read_text())["config"]
    assert config["phases"][0]["learning_rate"] == trials[best]["params"]["phases.0.learning_rate"]
    assert (config["model"]["options"]["blocks"], config["batch_size"]) == ([], 50)
    rows = list(csv.DictReader((tmp_path / "s/trials.csv").open()))
    assert [row["val_loss"] for row in rows] == ["" if t["value"] is None else str(t["value"]) for t in trials]
    page, summary = (tmp_path / "s/search.html").read_text(), json.loads((tmp_path / "s/best/summary.json").read_text())
    assert f"{100 * summary['test']['accuracy']:.2f} %" in page and "batch_size 50" in page
    assert not list((tmp_path / "s/trials").glob("*/checkpoints")) and not list(
        (tmp_path / "s").glob("trials/*/report")
    )

    monkeypatch.setattr(jaxtl.experiment, "train", None)
    assert call(*arguments)[0] == 0, "the same command again trains nothing"
    status, _, complained = call(*arguments[:-1], 5)
    assert status == 2 and "would choose again after the test" in complained
    status, _, complained = call(*arguments, "--seed", 1, "--config.batch_size=20", "--space", "blocks=0,1")
    assert status == 2 and complained.count("\n") == 1
    assert all(field in complained for field in ("config.batch_size: 40 -> 20", "seed: 0 -> 1", "space.blocks"))


def test_no_trial_looks_at_the_test_images(call, configs, tmp_path, monkeypatch):
    """With test images that are noise, and a test that fails, trials come out the same."""
    arguments = ("--config", configs[1], *SPACE, "--trials", 2, "--no-final", "--workdir")
    assert call(*arguments, tmp_path / "honest")[0] == 0
    load, seen = jaxtl.search.trials.load_splits, []

    def with_noise(data):
        splits = load(data)
        test = take(splits.test, np.arange(10))
        test.images[:] = np.random.default_rng(0).integers(0, 256, test.images.shape)
        return splits._replace(test=test)

    def watched(config, *args):
        seen.append(args[-1](config["data"]))
        return train(config, *args)

    train = jaxtl.experiment.train
    monkeypatch.setattr(jaxtl.search.trials, "load_splits", with_noise)
    monkeypatch.setattr(jaxtl.experiment, "load_splits", None)
    monkeypatch.setattr(jaxtl.experiment, "test", None)
    monkeypatch.setattr(jaxtl.experiment, "train", watched)
    assert call(*arguments, tmp_path / "noise")[0] == 0
    assert table(tmp_path / "noise") == table(tmp_path / "honest")
    assert len(seen) == 2 and all(len(splits.test) == 0 < len(splits.validation) for splits in seen)
    assert not (tmp_path / "noise/best").exists()


def test_a_trial_whose_loss_is_no_number_is_pruned(call, configs, tmp_path):
    status, printed, complained = call(
        *("--config", configs[1], "--space", "phases.0.learning_rate=1e-2,1e38", "--trials", 4, "--no-final"),
        *("--workdir", tmp_path, "--seed", 1),
    )
    assert (status, complained) == (0, "")
    assert {(t["params"]["phases.0.learning_rate"], t["state"]) for t in table(tmp_path)} == {
        *((1e-2, "complete"), (1e38, "pruned"))
    }
    assert "The loss became NaN or infinite" in printed


def test_a_search_in_which_no_trial_comes_to_its_end(call, configs, tmp_path):
    status, printed, complained = call(
        *("--config", configs[1], "--space", "phases.0.learning_rate=1e37,1e38", "--trials", 2, "--workdir", tmp_path),
    )
    assert status == 2 and "No trial of the search" in complained and complained.count("\n") == 1
    assert printed.count("pruned. The loss became NaN or infinite.") == 2, "as it happens"
    assert (tmp_path / "search.html").read_text().count("The loss became NaN or infinite.") == 2
    assert [trial["state"] for trial in table(tmp_path)] == ["pruned", "pruned"]
    assert "The space" not in (tmp_path / "search.html").read_text() and not (tmp_path / "best").exists()


def test_a_device_whose_memory_other_processes_may_have_taken(call, configs, tmp_path, monkeypatch):
    """Beside another process a trial is not to blame, and its turn comes again; alone it is."""
    begun, ended = threading.Event(), threading.Event()

    def run_another(*args):
        begun.set()
        ended.wait(20)
        return 0.5

    other = threading.Thread(
        target=lambda: open_study(tmp_path, space=Space(dict([SPACE[1].split("=")]))).run_next(run_another)
    )

    def train(*args):
        if not begun.is_set():
            other.start()
            begun.wait()
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory while trying to allocate 8 bytes.")

    arguments = ("--config", configs[1], *SPACE, "--trials", 2, "--no-final", "--workdir", tmp_path)
    monkeypatch.setattr(jaxtl.experiment, "train", train)
    try:
        status, _, complained = call(*arguments)
    finally:
        ended.set()
        other.join()
    assert status == 2 and "run one process a device" in complained and complained.count("\n") == 1
    assert call(*arguments)[0] == 0
    assert [(trial["state"], trial["reason"]) for trial in table(tmp_path)] == [
        *(("pruned", "The network needs more memory than the device has."), ("complete", ""))
    ]


@pytest.mark.parametrize(("measure", "title"), [("val_loss", "Validation loss"), ("val_f1", "Validation macro F1")])
def test_charts(measure, title):
    params = KINDS.draw(0, 7)
    lines = [
        TrialLine(
            number=number,
            state=PRUNED if number in (1, 2) else COMPLETE,
            value=None if number == 2 else [0.5, 0.4, 0.0, 0.3, 0.6, 0.45, 99.0][number],
            params=params[number],
            epochs=1,
            seconds=1.0,
        )
        for number in range(7)
    ]
    method = {"sampler": "random", "pruner": "none", "seed": 0}
    outcome = Outcome("n", measure, lines, KINDS.parameters, method, {}, None, "", {})
    assert (outcome.best.number, outcome.title) == (3 if measure == "val_loss" else 6, title)
    charts = report.draw(outcome)
    (history,), panels = charts["history"].axes, charts["parameters"].axes
    (line,) = (line for line in history.lines if line.get_label() == "best so far")
    # The pruned trials are never the best, whatever their value.
    expected = [0.5, 0.3, 0.3, 0.3, 0.3, 0.3] if measure == "val_loss" else [0.5, 0.5, 0.6, 0.6, 99.0, 99.0]
    assert list(line.get_ydata()) == expected
    assert (history.get_ylim()[1] < 10) == (measure == "val_loss"), "one that went astray does not squeeze the others"
    assert [axes.get_title(loc="left") for axes in panels] == [*KINDS.parameters]
    assert [axes.get_xscale() for axes in panels] == ["log", "linear", "linear", "log", "linear"]
    assert panels[0].xaxis.get_major_formatter()(1e-3, 0) == "0.001", "not a formula"
    assert [label.get_text() for label in panels[4].get_xticklabels()][:4] == ["()", "(8,)", "(8, 8)", "None"]
    assert all(figure.get_size_inches()[0] == 10 and plots.png(figure) for figure in charts.values())
    assert report.draw(outcome._replace(lines=lines[2:3])) == {}


# --- processes that die, and processes side by side -------------------------------------------------------------------

# Saves after every step and takes its time, so that it can be met in the middle of a trial.
SLOWLY = """
import sys, time
import jaxtl.train.sync
import jaxtl.search.study
import jaxtl.search.trials
from jaxtl.__main__ import main as jaxtl_command
from jaxtl.search.__main__ import main
jaxtl.search.study.HEARTBEAT_S, jaxtl.search.study.GRACE_S = 1, 3
from jaxtl.search.trials import TrialConsole
jaxtl.train.sync.SYNC_S = 0.0
on_line = TrialConsole.on_epoch_end
TrialConsole.on_epoch_end = lambda self, line: (on_line(self, line), time.sleep(2))
main(sys.argv[1:])
"""


def start(*arguments):
    cache = {"JAX_COMPILATION_CACHE_DIR": jax.config.jax_compilation_cache_dir}
    cache |= {
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }
    return subprocess.Popen(
        [sys.executable, "-c", SLOWLY, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | cache,
    )


@pytest.mark.processes
def test_two_processes_one_killed_give_the_table_of_an_unbroken_search(call, configs, tmp_path):
    arguments = ("--config", configs[1], *SPACE, "--trials", 3, "--no-final", "--config.phases.0.epochs=3", "--workdir")
    assert call(*arguments, tmp_path / "straight")[0] == 0
    trials = tmp_path / "broken/trials"
    killed = start(*arguments, tmp_path / "broken", "--config.checkpoint_every_s=0")

    def has(path):
        while not list(trials.glob(path)):
            assert killed.poll() is None, killed.communicate()[0]
            time.sleep(0.005)

    def kill():
        has("0000/checkpoints/last/[0-9]*")
        has("0001/config.json")
        killed.kill()

    has("0000")
    killer = threading.Thread(target=kill)
    killer.start()
    status, printed, _ = call(*arguments, tmp_path / "broken")
    killer.join()
    assert killed.wait() == -signal.SIGKILL and "val_loss" not in killed.communicate()[0]
    begun = re.findall(r"^Trial (\d): learning_rate", printed, re.MULTILINE)
    assert status == 0 and begun[0] == "1", "trial 0 was running elsewhere"
    assert sorted(begun) == ["0", "1", "2"], "its process died, and this one went on with it"
    assert table(tmp_path / "broken") == table(tmp_path / "straight")


def test_a_signal_in_the_middle_of_a_trial(call, configs, tmp_path, monkeypatch):
    arguments = ("--config", configs[1], *SPACE, "--trials", 2, "--no-final", "--workdir")
    assert call(*arguments, tmp_path / "straight")[0] == 0
    on_line = jaxtl.search.trials.TrialConsole.on_epoch_end

    def then_signal(self, line):
        on_line(self, line)
        os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(jaxtl.search.trials.TrialConsole, "on_epoch_end", then_signal)
        status, _, complained = call(*arguments, tmp_path / "broken")
    assert status == 128 + signal.SIGTERM and "all is saved" in complained
    assert len((tmp_path / "broken/trials/0000/metrics.jsonl").read_text().splitlines()) == 1
    assert call(*arguments, tmp_path / "broken")[0] == 0
    assert table(tmp_path / "broken") == table(tmp_path / "straight")


# --- the study, without training --------------------------------------------------------------------------------------

KINDS = Space(
    {
        "rate": FloatDistribution(1e-4, 1e-1, log=True),
        "share": "0.0..0.5",
        "size": "16..70:16",
        "width": IntDistribution(1, 100, log=True),
        "shape": CategoricalDistribution(("()", "(8,)", "(8, 8)", None, 1, "name")),
    }
)


def open_study(folder, *, sampler="random", pruner="none", seed=0, space=KINDS):
    url = f"sqlite:///{folder / 'search.db'}"
    return Study(url, folder, space, maximise=False, sampler=sampler, pruner=pruner, seed=seed)


def test_parameters_depend_on_seed_and_place_alone(tmp_path):
    processes, given = [open_study(tmp_path) for _ in range(2)], {}

    def note(trial, place, params):
        given[place] = params
        return 0.5

    processes[0].queue(4)
    processes[1].queue(6)
    for number in range(6):
        assert processes[number % 2].run_next(note)
    assert not processes[0].run_next(note) and not processes[1].run_next(note)
    assert [given[place] for place in range(6)] == KINDS.draw(0, 6)
    assert KINDS.draw(0, 1) != KINDS.draw(1, 1)
    assert [(line.number, line.value) for line in open_study(tmp_path).lines()] == [(place, 0.5) for place in range(6)]


def test_an_attempt_that_fails_is_made_again_with_the_same_parameters(tmp_path):
    found, seen = open_study(tmp_path, sampler="tpe"), []
    found.queue(2)

    def fail(trial, place, params):
        seen.append(params)
        trial.report(0.25, 1)
        raise RuntimeError("the disk is full")

    def succeed(trial, place, params):
        seen.append(params)
        return 0.5

    with pytest.raises(RuntimeError, match="the disk is full"):
        found.run_next(fail)
    again = open_study(tmp_path, sampler="tpe")
    again.queue(2)
    while again.run_next(succeed):
        pass
    assert len(seen) == 3 and seen.count(seen[0]) == 2
    assert [(line.number, line.state, line.value) for line in again.lines()] == [
        *((0, "complete", 0.5), (1, "complete", 0.5))
    ]


def test_an_import_that_fails_in_training_is_not_blamed_on_the_database(tmp_path):
    found = open_study(tmp_path)
    found.queue(1)

    def fail(trial, place, params):
        raise ImportError("no library for the images")

    with pytest.raises(ImportError, match="no library for the images"):
        found.run_next(fail)


def test_processes_that_queue_and_take_at_the_same_moment(tmp_path):
    """Every place is queued and run once."""
    ran, meet = [], threading.Barrier(4)

    def work():
        study = open_study(tmp_path)
        meet.wait()
        study.queue(6)
        while study.run_next(lambda trial, place, params: ran.append(place) or 0.5):
            pass

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert sorted(ran) == [*range(6)] and [line.number for line in open_study(tmp_path).lines()] == [*range(6)]


def test_draws_stay_within_their_distributions():
    drawn = KINDS.draw(7, 300)
    assert {line["size"] for line in drawn} == {16, 32, 48, 64}
    assert {repr(line["shape"]) for line in drawn} == {"'()'", "'(8,)'", "'(8, 8)'", "None", "1", "'name'"}
    assert all(1e-4 <= line["rate"] <= 1e-1 and 0 <= line["share"] <= 0.5 for line in drawn)


def test_texts_become_what_the_field_takes():
    space = Space(
        {"data.mean": "(0.5,),(0.4,0.4,0.4)", "phases.0.optimizer": "adam,sgd", "model.options.hidden": "(8,),()"}
    )
    params = {"data.mean": "(0.4, 0.4, 0.4)", "phases.0.optimizer": "sgd", "model.options.hidden": "()"}
    tree = space.configure({"model": {"name": "cnn"}, "phases": ({},)}, params)
    assert tree["data"]["mean"] == (0.4, 0.4, 0.4) and tree["phases"] == ({"optimizer": "sgd"},)
    assert tree["model"]["options"]["hidden"] == ()


def test_tpe_learns_from_what_was_found(tmp_path):
    found = open_study(tmp_path, sampler="tpe", space=Space({"x": "0.0..1.0"}))
    found.queue(30)
    while found.run_next(lambda trial, place, params: (params["x"] - 0.8) ** 2):
        pass
    drawn = [line.params["x"] for line in found.lines()]
    assert np.abs(np.array(drawn[20:]) - 0.8).mean() < 0.5 * np.abs(np.array(drawn[:10]) - 0.8).mean()


@pytest.mark.parametrize("pruner", ["median", "halving"])
def test_a_bad_trial_is_to_be_pruned_and_a_good_one_is_not(tmp_path, pruner):
    found, pruned = open_study(tmp_path, pruner=pruner), []
    found.queue(8)

    def train(trial, number, params):
        for epoch in range(1, 5):
            trial.report(9.0 if number == 7 else 0.1 * (8 - number), epoch)
        pruned.extend([number] * bool(trial.should_prune()))
        return 0.1

    while found.run_next(train):
        pass
    assert pruned == [7]


def test_pruning_ends_a_trial_in_the_middle(call, configs, tmp_path, monkeypatch):
    monkeypatch.setattr("optuna.pruners.MedianPruner.prune", lambda self, study, trial: trial.number == 1)
    status, printed, _ = call(
        *("--config", configs[1], *SPACE, "--trials", 2, "--pruner", "median", "--no-final", "--workdir", tmp_path),
    )
    assert status == 0 and "Trial 1: pruned. It was behind other trials after epoch 1." in printed
    complete, pruned = table(tmp_path)
    line = json.loads((tmp_path / "trials/0001/metrics.jsonl").read_text())
    assert (pruned["state"], pruned["epochs"], pruned["value"]) == ("pruned", 1, line["val_loss"])
    assert (complete["state"], complete["epochs"]) == ("complete", 2)


# --- mistakes ---------------------------------------------------------------------------------------------------------


def test_a_search_of_an_older_version_goes_on_where_newer_fields_have_their_defaults():
    asked = {"config": {"seed": 1, "phases": [{"epochs": 2}]}, "apply": {"0": {"seed": 1}}, "seed": 3}
    config = {"seed": 1, "data": {"folds": 0}, "phases": ({"epochs": 2, "mixup": 0.0},)}
    now = {"config": config, "apply": {"0": {"seed": 1, "batch_size": 128}}, "seed": 3}
    comparable = jaxtl.search.trials._comparable
    assert differences(comparable(asked), comparable(now)) == []
    config["data"]["folds"] = 5
    assert differences(comparable(asked), comparable(now)) == ["config.data.folds: 0 -> 5"]


def test_all_mistakes_of_a_space_at_once(call, configs, tmp_path):
    status, _, complained = call(
        *("--config", configs[1], "--workdir", tmp_path / "s"),
        *("--space", "phases.0.learning_rte=0..1", "--space", "phases.0.epochs=0.5..2.5", "--space", "batch_size=9..3"),
        *("--space", "phases.0.momentum=0.5..2.0", "--space", "phases.1.momentum=0..0.5", "--space", "seed=log:0..3"),
        *("--space", "phases.0.monitor=val_loss,val_accuracy", "--space", "model.options.depth=1..3"),
        *("--space", "phases.0.optimizer=adm,sgd", "--space=layers=1..3", "--final", "phases.0.epochs=0"),
    )
    assert status == 2 and not (tmp_path / "s").exists()
    lines = complained.splitlines()
    for line, expected in zip(
        lines,
        (
            "has 11 problems",
            "phases.0.learning_rte does not exist; did you mean phases.0.learning_rate?",
            "batch_size=9..3 cannot be drawn from",
            "seed=log:0..3 cannot be drawn from",
            "layers does not exist",
            "phases.0.epochs is 0.5 (float), but must be a whole number",
            "phases.0.momentum is 2.0, but must lie in [0, 1)",
            "phases.1.momentum does not exist: the config has 1 phase(s)",
            "phases.0.monitor decides what a trial is judged by",
            "model.options.depth does not exist",
            "'adm', which does not exist; did you mean 'adam'?",
            "final: phases.0.epochs is 0, but must lie in [1, 1000000]",
        ),
        strict=True,
    ):
        assert expected in line


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (("--space", "blocks=0,1", "--space", "layers=1..3"), "layers does not exist"),
        (("--space", "blocks=a,b"), "The function apply of the space fails for"),
        (("--space", "blocks=5,6"), "None of 64 configs drawn from the space is valid"),
        (("--space", "blocks=1.."), "is neither a range nor a choice"),
        (("--config.data.validation=0", "--config.phases.0.keep=last"), "judged by validation images"),
        (("--config.batch_size=0",), "batch_size is 0"),
        (("--final", "phases.x.epochs=3"), "final: phases.x.epochs does not exist"),
        (("--final", "data.mean.x=3"), "final: data.mean.x does not exist"),
        (("--seed", "²"), "'²' is not a whole number"),
    ],
)
def test_one_mistake_is_one_sentence(call, configs, tmp_path, change, expected):
    status, _, complained = call("--config", configs[0], "--workdir", tmp_path / "s", *change)
    assert status == 2 and expected in complained
    assert complained.count("\n") == 1 and not (tmp_path / "s").exists()


def test_folders_that_hold_something_else(call, configs, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run/config.json").write_text("{}")
    (tmp_path / "file").touch()
    (tmp_path / "torn/trials").mkdir(parents=True)
    arguments = ("--config", configs[1], *SPACE, "--no-final", "--trials", 1, "--workdir")
    assert "holds a run" in call(*arguments, tmp_path / "run")[2]
    assert "cannot be created" in call(*arguments, tmp_path / "file")[2]
    assert call(*arguments, tmp_path / "torn")[0] == 0
    content = (tmp_path / "torn/search.db").read_bytes()
    for damage in (content[: len(content) // 2 + 13], b"{" * 5000):
        (tmp_path / "torn/search.db").write_bytes(damage)
        status, _, complained = call(*arguments, tmp_path / "torn")
        assert status == 2 and "search.db cannot be used" in complained and complained.count("\n") == 1
    status, _, complained = call(*arguments, tmp_path / "new", "--storage", "nosuch://host/name")
    assert status == 2 and "nosuch" in complained and complained.count("\n") == 1


def test_a_folder_with_any_name(call, configs, tmp_path):
    folder = tmp_path / "a%20b?c#d{e}"
    assert call("--config", configs[1], *SPACE, "--no-final", "--trials", 1, "--workdir", folder)[0] == 0
    assert (folder / "search.db").is_file() and list(tmp_path.iterdir()) == [folder]


@pytest.mark.parametrize(
    ("storage", "expected"),
    [
        ("postgresql+psycopg2://me:secret@host/name", "psycopg2://me:***@host/name cannot be used (import of psycopg2"),
        ("postgresql+psycopg2://host/name?user=me&password=secret", "psycopg2://host/name cannot be used"),
        ("postgresql://me:sec@ret@host/name", "cannot be read; write it as postgresql://"),
        ("postgresql://me:secret@host:secret/name", "cannot be read; write it as"),
        ("secret", "cannot be read; write it as"),
    ],
)
def test_a_password_is_not_shown(call, configs, tmp_path, monkeypatch, storage, expected):
    monkeypatch.setitem(sys.modules, "psycopg2", None)
    status, _, complained = call("--config", configs[1], *SPACE, "--workdir", tmp_path, "--storage", storage)
    assert status == 2 and expected in complained and complained.count("\n") == 1
    assert "secret" not in complained and "ret@" not in complained


def test_without_optuna(configs, tmp_path, monkeypatch, capsys):
    """The command is imported afresh, and Optuna cannot be."""
    monkeypatch.delattr(jaxtl, "search")
    for name in [name for name in sys.modules if name.partition(".")[0] == "optuna" or name.startswith("jaxtl.search")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "optuna", None)
    for arguments in (("--config", str(configs[1]), *SPACE, "--workdir", str(tmp_path / "s")), ("--help",)):
        status, complained = jaxtl_command(["search", *arguments]), capsys.readouterr().err
        assert status == 2 and "pip install 'jaxtl[search]'" in complained and complained.count("\n") == 1

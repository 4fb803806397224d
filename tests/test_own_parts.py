"""Images, a network and callbacks of one's own in ``jaxtl.run``."""

import json
import sys
import types
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

import jaxtl
from jaxtl.config import check, default_config, phase
from jaxtl.data.dataset import from_arrays
from jaxtl.models import Classifier, build_model, registry
from jaxtl.models.heads import Head
from jaxtl.models.layers import BatchNorm, global_avg_pool
from jaxtl.report.trackers import TRACKERS, MLflow, WeightsAndBiases
from jaxtl.weights.convert import skeleton
from jaxtl.weights.names import torch_names

pytestmark = pytest.mark.usefixtures("no_pictures", "compiled_once")


class Blur(nn.Module):
    """A stage of one's own."""

    width: int

    @nn.compact
    def __call__(self, x, train):
        x = BatchNorm(use_running_average=not train, name="norm")(nn.Conv(self.width, (3, 3), name="conv")(x))
        return nn.max_pool(nn.relu(x), (2, 2), (2, 2))


def build_blurs(num_classes, dtype, *, width: int = 4):
    head = partial(Head, num_classes) if num_classes else None
    stages = (("first", partial(Blur, width)), ("second", partial(Blur, 2 * width)))
    return Classifier(stages, global_avg_pool, head)


@pytest.fixture
def blurs():
    jaxtl.register_model("blurs", build_blurs)
    yield
    for name in set(registry.MODELS) - registry.OWN:
        del registry.MODELS[name]


def arrays(n, seed):
    """``n`` images whose class is their brightness."""
    labels = np.array(["dark", "bright"])[np.arange(n) % 2]
    noise = np.random.default_rng(seed).integers(0, 128, (n, 8, 8), np.uint8)
    return noise + 127 * (labels == "bright").astype(np.uint8)[:, None, None], labels


@pytest.fixture
def small():
    config = default_config()
    config.model.options = {"blocks": ((4,),), "hidden": (8,)}
    config.batch_size = 8
    config.phases = (phase(epochs=2, learning_rate=0.01),)
    return config


class Diary(jaxtl.Observer):
    """A callback that knows two of the moments, and one that each run has once."""

    def __init__(self):
        self.told = []

    def on_run_start(self, config, folder):
        self.told.append((config["name"], folder.name))

    def on_epoch_end(self, line):
        self.told.append(line["epoch"])

    def on_run_end(self, summary):
        self.told.append(summary["test"]["accuracy"])


@pytest.mark.parametrize("callback", [jaxtl.Observer, print])
def test_a_callback_that_is_not_an_observer_is_refused_at_once(small, tmp_path, callback):
    with pytest.raises(jaxtl.UserError, match=r"^callbacks has <.*, which is not an object of a subclass"):
        jaxtl.run(small, tmp_path / "w", callbacks=[callback])
    assert not (tmp_path / "w").exists()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"callbacks": Diary()}, "callbacks is .* must be a list of callbacks"),
        ({"callbacks": None}, "callbacks is None"),
        ({"console": sys.stdout}, "console is .* must be a jaxtl.report.console.RunConsole"),
        ({"workdir": ""}, "The path is empty"),
        ({"workdir": None}, "The path is None"),
        ({"config": "cnn"}, "The config is 'cnn' .* jaxtl.config.flags.load_config"),
        ({"config": None, "test": None, "train": None}, "The config is None"),
        ({"train": (arrays(40, 0)[0][:, None].repeat(3, 1), arrays(40, 0)[1])}, "images.transpose"),
        ({"train": (["a.png", "b.png"], [0, 1])}, "give image files as a data frame"),
        ({"test": (arrays(40, 0)[0][:0], arrays(40, 0)[1][:0])}, "has no image"),
    ],
)
def test_wrong_arguments_are_sentences(small, tmp_path, given, words):
    arguments = {"config": small, "workdir": tmp_path / "w", "train": arrays(40, 0), "test": arrays(20, 1), **given}
    with pytest.raises(jaxtl.UserError, match=words):
        jaxtl.run(**arguments)
    assert not (tmp_path / "w" / "config.json").exists()


def test_labels_may_be_a_column():
    images, labels = arrays(4, 0)
    assert from_arrays({"train": (images, labels[:, None])})["train"].labels.tolist() == [1, 0, 1, 0]


def test_arrays_and_callbacks(small, tmp_path):
    diary, folder = Diary(), tmp_path / "run"
    small.baselines.longer = {"phases": (phase(epochs=1),)}
    summary = jaxtl.run(small, folder, train=arrays(40, 0), test=arrays(20, 1), callbacks=[diary])
    assert summary["test"]["n"] == 20
    assert diary.told[0] == ("run: longer", "longer") and diary.told[1] == 1
    assert diary.told[3:6] == [("run", "run"), 1, 2] and diary.told[6] == summary["test"]["accuracy"]
    assert jaxtl.load_run(folder).class_names == ("bright", "dark")
    jaxtl.run(small, folder, train=arrays(40, 0), test=arrays(20, 1), callbacks=[diary])
    assert len(diary.told) == 7, "a finished run tells nothing"


def test_what_a_callback_raises_ends_the_run_which_continues(small, tmp_path):
    class Doubt(Diary):
        def on_epoch_end(self, line):
            super().on_epoch_end(line)
            raise RuntimeError("That is enough.")

    images = {"train": arrays(40, 0), "test": arrays(20, 1)}
    with pytest.raises(RuntimeError, match="enough"):
        jaxtl.run(small, tmp_path, **images, callbacks=[Doubt()])
    diary = Diary()
    assert jaxtl.run(small, tmp_path, **images, callbacks=[diary])["epochs_run"] == 2
    assert len(diary.told) >= 3


def test_a_table_on_the_command_line(command, tmp_path):
    lines = ["path;label"]
    for i, (image, label) in enumerate(zip(*arrays(40, 0), strict=True)):
        Image.fromarray(image).save(tmp_path / f"{i}.png")
        lines.append(f"{i}.png;{label}")
    (tmp_path / "labels.csv").write_text("\n".join(lines))
    flags = ("--data.name=folder", f"--data.labels={tmp_path / 'labels.csv'}", "--data.size=8", "--batch_size=8")
    short = ("--data.subset=0", "--data.test_subset=0", "--data.classes=", "--phases.0.epochs=1")
    network = ("--model.name=logistic_regression", "--data.mean=0.5", "--data.std=0.5")
    outcome = command("--config", "cnn", "--workdir", tmp_path / "run", *flags, *short, *network)
    assert outcome.status == 0, outcome.err
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["test"]["n"] == 8 and summary["name"].startswith("logistic_regression on labels.csv, data.size=8")

    from jaxtl.evaluate import main as evaluate

    assert evaluate(["--run", str(tmp_path / "run"), "--out", str(tmp_path / "figures.json")]) == 0
    assert f'"accuracy": {summary["test"]["accuracy"]}' in (tmp_path / "figures.json").read_text()


class Frame(dict):
    """As much of a data frame as is asked for."""

    columns = property(list)
    __len__ = lambda frame: len(frame["path"])  # noqa: E731


def test_a_data_frame(small, tmp_path):
    images, labels = arrays(40, 0)
    for i, image in enumerate(images):
        Image.fromarray(image).save(tmp_path / f"{i}.png")
    small.data.dir, small.data.size = str(tmp_path), 8
    small.phases = (phase(epochs=1),)
    frame = Frame(path=[f"{i}.png" for i in range(40)], label=labels, split=["train"] * 30 + ["test"] * 10)
    summary = jaxtl.run(small, tmp_path / "run", train=frame)
    counts = {part: sum(of_class) for part, of_class in summary["data"]["parts"].items()}
    assert counts["test"] == 10 and counts["training"] + counts["validation"] == 30
    for bad, words in (
        ({"train": frame, "test": (images, labels)}, "test is not a data frame, but others are"),
        ({"train": (images, labels), "test": frame}, "test is a Frame, but all splits are given as jaxtl.Dataset"),
        ({"train": frame, "validation": frame}, "Images were given for train and val only"),
        ({"train": frame, "test": frame}, "Row 0 of the data frame of test names 0.png again, after row 0 of"),
    ):
        with pytest.raises(jaxtl.UserError, match=words):
            jaxtl.run(small, tmp_path / "other", **bad)


@pytest.mark.usefixtures("blurs")
def test_a_network_of_ones_own(small, tmp_path):
    assert "blurs" in jaxtl.list_models()
    model, variables = jaxtl.create_model("blurs", 3, key=jax.random.key(0), width=2)
    assert model.stage_names == ("first", "second", "head")
    assert model.apply(variables, jnp.zeros((2, 8, 8, 3)), train=False).shape == (2, 3)
    small.model = {"name": "blurs", "options": {"width": 3}}
    assert check(small) == []
    small.phases = (phase(epochs=1, train=("head", "second")),)
    images = {"train": arrays(40, 0), "test": arrays(20, 1)}
    jaxtl.run(small, tmp_path / "first", **images)
    small.model.weights, small.model.new_head = str(tmp_path / "first"), False
    jaxtl.run(small, tmp_path / "second", **images)
    first, second = (jaxtl.load_run(tmp_path / name) for name in ("first", "second"))
    jax.tree.map(np.testing.assert_array_equal, first.variables["params"]["first"], second.variables["params"]["first"])
    assert len(second.predict(images["test"][0])) == 20
    small.model.options.width = 2.5
    assert "width is 2.5, but must be a whole number" in check(small)[0]
    del registry.MODELS["blurs"]
    with pytest.raises(jaxtl.UserError, match="has the network 'blurs', which is not registered in this process; in"):
        jaxtl.load_run(tmp_path / "first")


@pytest.mark.usefixtures("blurs")
def test_a_network_registered_again_is_the_new_one():
    before = skeleton("blurs", 3)
    jaxtl.register_model("blurs", lambda num_classes, dtype: build_blurs(num_classes, dtype, width=5))
    assert skeleton("blurs", 3).keys() == before.keys() and skeleton("blurs", 3) != before
    jaxtl.register_model("resnet_mine", build_blurs)
    with pytest.raises(jaxtl.UserError, match="resnet_mine has no counterpart in PyTorch"):
        torch_names("resnet_mine")


@pytest.mark.usefixtures("blurs")
def test_options_of_a_network_may_be_of_any_type():
    def build(
        num_classes,
        dtype,
        *,
        scale: tuple[float, float] = (0.5, 0.5),
        kinds=("a", "b"),
        rates: tuple[float, ...] = (),
    ):
        return build_blurs(num_classes, dtype, width=len(kinds))

    jaxtl.register_model("typed", build)
    build_model("typed", 10, scale=(0.25, 0.5), kinds=("a", "b", "c"), rates=(0.1,))
    with pytest.raises(jaxtl.UserError, match="rates of typed is 1, but must be a tuple, each element a finite number"):
        build_model("typed", 10, rates=1)


@pytest.mark.usefixtures("blurs")
def test_registrations_that_cannot_be():
    for name, build, words in (
        ("cnn", build_blurs, "The name 'cnn' is taken by a network of jaxtl; choose another."),
        ("my net", build_blurs, "A network cannot be called 'my net'; take letters"),
        ("other", lambda: None, "The network 'other' needs a function build"),
        ("other", 3, "The network 'other' needs a function build"),
    ):
        with pytest.raises(jaxtl.UserError, match=words):
            jaxtl.register_model(name, build)
    jaxtl.register_model("blurs", lambda num_classes, dtype: nn.Dense(num_classes))
    with pytest.raises(
        jaxtl.UserError, match=r"The function of 'blurs' returns a Dense, but must return a jaxtl.models"
    ):
        build_model("blurs", 10)


# --- Weights & Biases, MLflow ----------------------------------------------------------------------------------------


class Recorder(types.ModuleType):
    """Stands in for a library: it keeps every call, and what a call returns keeps its own in the same list."""

    def __init__(self, name, calls=None):
        super().__init__(name)
        self.calls = [] if calls is None else calls

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return Recorder(name, self.calls)

    def __call__(self, *arguments, **options):
        self.calls.append((self.__name__, arguments, options))
        return [] if self.__name__ == "search_runs" else self


@pytest.mark.parametrize("name", TRACKERS)
def test_trackers_are_told_of_config_epochs_and_figures(name, small, tmp_path, monkeypatch):
    library = Recorder(name)
    monkeypatch.setitem(sys.modules, name, library)
    jaxtl.run(small, tmp_path, train=arrays(40, 0), test=arrays(20, 1), callbacks=[TRACKERS[name]()])
    calls = {}
    for called, arguments, options in library.calls:
        calls.setdefault(called, []).append((arguments, options))
    epochs = calls["log" if name == "wandb" else "log_metrics"]
    assert [line["epoch"] for (line,), _ in epochs[:2]] == [1, 2] and "val_accuracy" in epochs[0][0][0]
    figures = calls["update"][0][0][0] if name == "wandb" else epochs[2][0][0]
    assert 0 <= figures["test_accuracy"] <= 1 and "train_s" in figures
    assert ("init" in calls and "finish" in calls) if name == "wandb" else len(calls["end_run"]) == 2


def test_a_tracker_that_is_not_installed(command, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    outcome = command("--config", "quickstart", "--workdir", tmp_path / "run", "--log", "wandb")
    assert outcome.status == 2 and "wandb is not installed" in outcome.err and "'jaxtl[wandb]'" in outcome.err


@pytest.mark.filterwarnings("default")  # those of the library
def test_mlflow_itself(small, tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow", reason="mlflow is not installed; the test above has a stand-in")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    mlflow.set_tracking_uri((tmp_path / "mlruns").as_uri())
    images = {"train": arrays(40, 0), "test": arrays(20, 1)}

    class Stop(jaxtl.Observer):
        def on_epoch_end(self, line):
            raise KeyError("stop")

    with pytest.raises(KeyError):
        jaxtl.run(small, tmp_path / "run", **images, callbacks=[MLflow(), Stop()])
    summary = jaxtl.run(small, tmp_path / "run", **images, callbacks=[MLflow()])
    (found,) = mlflow.search_runs(output_format="list")  # one: the run went on in its entry
    assert found.data.metrics["test_accuracy"] == summary["test"]["accuracy"]
    assert found.data.params["phases.0.epochs"] == "2" and found.info.status == "FINISHED"


@pytest.mark.filterwarnings("default")  # those of the library
def test_wandb_itself(small, tmp_path, monkeypatch):
    pytest.importorskip("wandb", reason="wandb is not installed; the test above has a stand-in")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    jaxtl.run(small, tmp_path, train=arrays(40, 0), test=arrays(20, 1), callbacks=[WeightsAndBiases()])
    assert list(tmp_path.glob("wandb/offline-run-*/*.wandb"))

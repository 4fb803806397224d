"""Mistaken calls: arguments of the Python functions, flags, and state dicts as other programs write them."""

import argparse
import functools
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jaxtl
from jaxtl import weights
from jaxtl.config import default_config
from jaxtl.config.flags import parse_config
from jaxtl.models import build_model
from jaxtl.weights import from_torch, to_torch
from tests.conftest import TINY
from tests.faults.case import Case, Expected, gives, refuses

NET = "cifar_resnet20"


def cases() -> Iterator[Case]:
    """By what is called."""
    for what, options, must in _models():
        quick = "1e12" not in what  # JAX compiles before it knows how much memory there is
        yield Case(f"create_model({what})", functools.partial(_created, options), must, quick)
    for what, images, must in _images():
        yield Case(f"a network is given {what}", functools.partial(_applied, images), must)
    for what, call, must in _others():
        yield Case(what, lambda folder, call=call: call(), must)
    for what, must in _flags():
        yield Case(f"the flag --config.{what}", functools.partial(_parsed, what), must)
    same = gives(True, "read them as the network's")
    for what, change in _renamed().items():
        yield Case(f"a state dict {what}", functools.partial(_read_renamed, change), same)
    for what, change in _mixed().items():
        yield Case(f"a state dict {what}", functools.partial(_read_renamed, change), refuses("does not fit"))


def _models() -> Iterator[tuple[str, dict[str, Any], Expected]]:
    yield "key=0", {"key": 0}, refuses("pass key=jax.random.key(0)")
    yield "key of eight numbers", {"key": jnp.zeros(8, jnp.uint32)}, refuses("pass key=jax.random.key(0)")
    yield "weights=True", {"weights": True}, refuses("weights is True")
    yield "weights='imagenet'", {"weights": "imagenet"}, refuses("imagenet")
    yield "pretrained=True", {"pretrained": True}, refuses("pass weights=TAG")
    yield "num_classes=-1", {"num_classes": -1}, refuses("-1")
    yield "num_classes='10'", {"num_classes": "10"}, refuses("'10'")
    yield "num_classes=2.5", {"num_classes": 2.5}, refuses("2.5")
    yield "num_classes=10**30", {"num_classes": 10**30}, refuses("1 to 10,000,000 classes")
    yield "an array for num_classes", {"num_classes": np.arange(3)}, refuses("num_classes is array([0, 1, 2])")
    yield "new_head='no'", {"new_head": "no"}, refuses("True, False or None")
    yield "a list for the name", {"name": ["cnn"]}, refuses("There is no model ['cnn']")
    yield "image_shape=(1000000, 1000000, 3)", {"image_shape": (10**6, 10**6, 3)}, refuses("each 1 to 10,000")
    yield "a name of 5,000 letters for weights", {"weights": 5000 * "a"}, refuses("it is too long")
    yield "a network that does not exist", {"name": "resnet19"}, refuses("resnet18")
    yield "image_shape=(32, 32)", {"image_shape": (32, 32)}, refuses("(height, width, channels)")
    yield "an option that the network lacks", {"drop_out": 0.5}, refuses("dropout")
    yield "a layer of 1e12 units", {"hidden": (10**12,)}, refuses("no layer has more than 65536 units")
    yield "20 layers of 65,536 units", {"hidden": (65_536,) * 20}, refuses("GB for its variables alone")


def _created(options: dict[str, Any], folder: Path) -> Any:
    name = options.get("name", "cnn")
    return jaxtl.create_model(
        name,
        **{"num_classes": 10, "key": jax.random.key(0), **{k: v for k, v in options.items() if k != "name"}},
    )[0]


def _images() -> Iterator[tuple[str, Any, Expected]]:
    yield "channels before height and width", jnp.zeros((2, 3, 32, 32)), refuses("images.transpose(0, 2, 3, 1)")
    yield "an image without a batch", jnp.zeros((32, 32, 3)), refuses("images[None]")
    yield "grey images", jnp.zeros((2, 32, 32, 1)), refuses("3 channels in the last axis")
    yield "rows of pixels", jnp.zeros((2, 3072)), refuses("a batch [B, H, W, C]")


def _applied(images: Any, folder: Path) -> Any:
    model = build_model("cnn", 3, blocks=((4,),), hidden=())
    variables = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 32, 32, 3)))
    return jax.eval_shape(lambda variables: model.apply(variables, images, train=False), variables)


def _others() -> Iterator[tuple[str, Callable[[], Any], Expected]]:
    yield "load_dataset('cifar11')", lambda: jaxtl.load_dataset("cifar11", "train"), refuses("cifar10")
    yield "load_dataset('digits', 'tets')", lambda: jaxtl.load_dataset("digits", "tets"), refuses("test")
    yield "load_dataset of a folder without a folder", lambda: jaxtl.load_dataset("folder", "train"), refuses("folder")
    yield "load_run of a folder that is not there", lambda: jaxtl.load_run("nowhere"), refuses("does not exist")
    yield "load_run of an unknown user's folder", lambda: jaxtl.load_run("~nobody_here/x"), refuses("does not exist")
    yield "load_dataset('digits', None)", lambda: jaxtl.load_dataset("digits", None), refuses("no split of digits")
    yield "load_dataset(5)", lambda: jaxtl.load_dataset(5), refuses("must be a text")
    options: Any = {"size": 224}
    yield (
        "load_dataset with a dictionary of options",
        lambda: jaxtl.load_dataset("digits", options=options),
        refuses("jaxtl.ImageOptions(size=224)"),
    )
    yield "ImageOptions(fit='pad')", lambda: jaxtl.ImageOptions(fit="pad"), refuses("must be one of crop, stretch")
    yield "a Dataset of lists", lambda: jaxtl.Dataset([1], [0], ("a",)), refuses("not a list")
    yield "load_run(None)", lambda: jaxtl.load_run(None), refuses("a text or a pathlib.Path")
    yield "load_run of a name of 5,000 letters", lambda: jaxtl.load_run(5000 * "a"), refuses("it is too long")
    yield "register_model(5, …)", lambda: jaxtl.register_model(5, build_model), refuses("cannot be called 5")
    yield "list_models(5)", lambda: jaxtl.list_models(5), refuses("must be a text")
    for what, arguments, words in (
        ("without a config", {"config": None}, "The config is None"),
        ("with the name of a config", {"config": "cnn"}, "load_config"),
        ("with seeds=5", {"seeds": 5}, "range(5) or [5]"),
        ("with a callback outside a list", {"callbacks": jaxtl.Observer()}, "a list of callbacks"),
        ("in a work folder without a name", {"workdir": ""}, "The path is empty"),
    ):
        call = functools.partial(jaxtl.run, **{"config": default_config(), "workdir": "w", **arguments})
        yield f"run {what}", call, refuses(words)
    yield "weights.save of an object", lambda: weights.save({"params": {"a": object()}}, "x"), refuses("of numbers")
    for write in (weights.write_torch_file, weights.write_keras_file):
        yield f"weights.{write.__name__} of None", functools.partial(write, None, "x"), refuses("arrays by name")
    yield "run of an empty config", lambda: jaxtl.run({"nothing": 1}, "w"), refuses("nothing does not exist")
    yield "weights_for a network that does not exist", lambda: jaxtl.weights_for("resnet19"), refuses("resnet18")


def _flags() -> Iterator[tuple[str, Expected]]:
    for change, words in (
        ("phases.0.crop=1e9", "crop"),
        ("phases.0.crop=1000000000", "must lie in"),
        ("phases.0.lr=0.1", "phases.0.learning_rate"),
        ("phases.0.learning_rate=nan", "learning_rate"),
        ("phases.0.learning_rate=1e400", "learning_rate"),
        ("phases.0.learning_rate=-1", "must be more than 0"),
        ("phases.0.epochs=0", "must lie in"),
        ("phases.0.epochs=1e3", "epochs"),
        ("phases.7.epochs=1", "counted from 0"),
        ("phases=1", "group of fields"),
        ("batch_size=-8", "must be at least 1"),
        ("batch_size=1000000000000000000000000000000", "batch_size"),
        ("data.size=1000000000", "data.size"),
        ("data.validation=1", "data.validation"),
        ("data.subset=many", "must be a whole number"),
        ("data.classes=0,0", "data.classes"),
        ("model.name=resnet", "resnet"),
        ("model.options.hidden=(1000000000000,)", "hidden"),
        ("model.options.blocks=nothing", "blocks"),
        ("model.weights=nowhere.pth", "nowhere.pth"),
        ("seed=-1", "seed"),
        ("sead=1", "seed"),
        ("=1", "does not exist"),
    ):
        yield change, refuses(words)


def _parsed(change: str, folder: Path) -> Any:
    (folder / "tiny.py").write_text(TINY)
    return parse_config(argparse.ArgumentParser(), ["--config", str(folder / "tiny.py"), f"--config.{change}"])


# --- state dicts ---


@functools.cache
def _variables() -> Any:
    """Random ones, without a program that draws them."""
    shapes = jax.eval_shape(build_model(NET, 10).init, jax.random.key(0), jnp.zeros((1, 32, 32, 3)))
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda leaf: rng.normal(size=leaf.shape).astype(np.float32), shapes)


def _renamed() -> dict[str, Callable[[dict[str, Any]], dict[str, Any]]]:
    def under(prefix: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
        return lambda arrays: {prefix + key: array for key, array in arrays.items()}

    prefixes = ("model.", "module.", "_orig_mod.module.", "module._orig_mod.", "ema_model.module.", "net.backbone.")
    return {
        **{f"whose keys begin with {prefix}": under(prefix) for prefix in prefixes},
        "inside a checkpoint": lambda arrays: {"epoch": 3, "state_dict": arrays},
        "of Lightning inside its checkpoint": lambda arrays: {"state_dict": under("model.")(arrays), "epoch": 3},
        "beside averaged weights": lambda arrays: {
            **{f"model.{key}": 0 * array for key, array in arrays.items()},
            **{f"ema.module.{key}": array for key, array in arrays.items()},
        },
    }


def _mixed() -> dict[str, Callable[[dict[str, Any]], dict[str, Any]]]:
    return {
        "of which half the keys begin with model.": lambda arrays: {
            ("model." if i % 2 else "") + key: array for i, (key, array) in enumerate(arrays.items())
        },
        "that lacks a layer": lambda arrays: {key: array for key, array in arrays.items() if "layer2.0" not in key},
        "with a transposed kernel": lambda arrays: {**arrays, "conv1.weight": arrays["conv1.weight"].T},
    }


def _read_renamed(change: Callable[[dict[str, Any]], dict[str, Any]], folder: Path) -> bool:
    """Whether the variables come back from a state dict that was renamed."""
    variables = _variables()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it says what it took off
        found = from_torch(NET, change(to_torch(NET, variables)))
    return bool(jax.tree.all(jax.tree.map(np.array_equal, found, variables)))

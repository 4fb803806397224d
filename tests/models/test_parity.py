"""Every network against the answers of torchvision and Keras, on weights and images that numpy draws again here."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util
from golden_rule import draw_images, draw_keras_weight, draw_weight, outputs, sizes

from jaxtl.models import build_model, list_models, native_size
from jaxtl.weights.convert import from_keras, from_torch, skeleton, to_keras, to_torch
from jaxtl.weights.names import KERAS_MODELS

GOLDEN = Path(__file__).with_name("golden")
NAMES = sorted(path.stem for path in GOLDEN.glob("*.npz"))
# One of every kind in every run of the tests; the others take minutes to compile: `make test-parity`.
QUICK = {"resnet18", "vgg11_bn_cifar", "cifar_resnet20"}
QUICK |= {"resnet18_cifar", "vgg11_cifar", "cifar_resnet32"}
KERAS_NAMES = sorted(path.stem for path in (GOLDEN / "keras").glob("*.npz"))
QUICK_OF_KERAS = {"vgg16"}
BOUND = 1e-5


def relative_error(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.abs(found - expected).max() / np.abs(expected).max())


def blank_variables(name: str, classes: int):
    shapes = skeleton(name, classes)
    return traverse_util.unflatten_dict({leaf: np.zeros(of, np.float32) for leaf, of in shapes.items()}, sep="/")


def drawn_as_torch(name: str, classes: int):
    keys = {key: value.shape for key, value in to_torch(name, blank_variables(name, classes)).items()}
    drawn = {key: draw_weight(key, shape) for key, shape in keys.items() if not key.endswith("num_batches_tracked")}
    return from_torch(name, drawn)


def drawn_as_keras(name: str):
    blank = to_keras(name, blank_variables(name, 1000))
    return from_keras(name, {key: draw_keras_weight(key, value.shape) for key, value in blank.items()})


def test_every_network_of_the_zoo_has_answers():
    small = {"cnn", "bn_cnn", "custom_cnn", "logistic_regression"}
    assert set(NAMES) == set(list_models()) - small - set(list_models("*_v1"))


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in QUICK else pytest.mark.parity) for name in NAMES]
)
def test_logits_features_and_stages_are_torchvisions(name):
    classes = 1000 if native_size(name) == 224 else 10
    compare(name, classes, drawn_as_torch(name, classes), GOLDEN / f"{name}.npz")


def test_every_network_of_keras_has_answers():
    assert set(KERAS_NAMES) == set(KERAS_MODELS)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in QUICK_OF_KERAS else pytest.mark.parity) for name in KERAS_NAMES]
)
def test_logits_features_and_stages_are_those_of_keras(name):
    compare(name, 1000, drawn_as_keras(name), GOLDEN / "keras" / f"{name}.npz")


def compare(name: str, classes: int, variables, answers: Path) -> None:
    model = build_model(name, classes)

    def everything(variables, images):
        maps = model.apply(variables, images, train=False, method="stages")
        features = model.apply(variables, images, train=False, method="features")
        return model.apply(variables, images, train=False), features, maps

    errors = {}
    with np.load(answers) as golden:
        for height, width in sizes(name):
            found = outputs(*jax.jit(everything)(variables, jnp.asarray(draw_images(height, width))))
            found = {f"{height}x{width}/{what}": values for what, values in found.items()}
            # Keras's VGG has dense layers at 224 pixels alone.
            errors |= {what: relative_error(found[what], golden[what]) for what in golden.files if what in found}
        assert set(errors) == set(golden.files)
    assert {what: error for what, error in errors.items() if not error <= BOUND} == {}

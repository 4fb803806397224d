"""Every network against torchvision's answers, on weights and images that numpy draws again here."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util
from golden_rule import draw_images, draw_weight, outputs, sizes

from jaxtl.models import build_model, list_models, native_size
from jaxtl.weights.convert import from_torch, skeleton, to_torch

GOLDEN = Path(__file__).with_name("golden")
NAMES = sorted(path.stem for path in GOLDEN.glob("*.npz"))
# One of every kind in every run of the tests; the others take minutes to compile: `make test-parity`.
QUICK = {"resnet18", "vgg11_bn_cifar", "cifar_resnet20"}
QUICK |= {"resnet18_cifar", "vgg11_cifar", "cifar_resnet32"}
BOUND = 1e-5


def relative_error(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.abs(found - expected).max() / np.abs(expected).max())


def drawn_variables(name: str, classes: int):
    shapes = skeleton(name, classes)
    blank = traverse_util.unflatten_dict({path: np.zeros(shape, np.float32) for path, shape in shapes.items()})
    keys = {key: value.shape for key, value in to_torch(name, blank).items() if value.dtype == np.float32}
    return from_torch(name, {key: draw_weight(key, shape) for key, shape in keys.items()})


def test_every_network_of_the_zoo_has_answers():
    small = {"cnn", "bn_cnn", "custom_cnn", "logistic_regression", "whitened_cnn"}
    assert set(NAMES) == set(list_models()) - small


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in QUICK else pytest.mark.parity) for name in NAMES]
)
def test_logits_features_and_stages_are_torchvisions(name):
    classes = 1000 if native_size(name) == 224 else 10
    model = build_model(name, classes)
    variables = drawn_variables(name, classes)

    def everything(variables, images):
        maps = model.apply(variables, images, train=False, method="stages")
        features = model.apply(variables, images, train=False, method="features")
        return model.apply(variables, images, train=False), features, maps

    errors = {}
    with np.load(GOLDEN / f"{name}.npz") as golden:
        for height, width in sizes(name):
            found = outputs(*jax.jit(everything)(variables, jnp.asarray(draw_images(height, width))))
            errors |= {
                f"{height}x{width}/{what}": relative_error(values, golden[f"{height}x{width}/{what}"])
                for what, values in found.items()
            }
        assert set(errors) == set(golden.files)
    assert {what: error for what, error in errors.items() if not error <= BOUND} == {}

import jax
import jax.numpy as jnp
import pytest

from jaxtl.models import build_model
from jaxtl.transfer.partition import count_layers


@pytest.mark.parametrize(
    ("name", "size", "layers"),
    [
        # 53 convolutions with their norms, and the dense layer: torchvision's ResNet-50.
        ("resnet50", 224, {"stem": 2, "stage1": 20, "stage2": 26, "stage3": 38, "stage4": 20, "head": 1}),
        # 13 convolutions and 3 dense layers.
        ("vgg16", 32, {"stem": 2, "stage1": 2, "stage2": 3, "stage3": 3, "stage4": 3, "hidden": 2, "head": 1}),
    ],
)
def test_layers_of_published_networks(name, size, layers):
    model = build_model(name, 10)
    params = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, size, size, 3)))["params"]
    counted = count_layers(params, model.stage_names)
    assert counted == layers
    assert list(counted) == list(model.stage_names), "in the model's order, which jax's dictionaries lose"


def test_a_stage_without_parameters_has_no_layers():
    assert count_layers({"head": {"bias": 0}}, ("stem", "head")) == {"stem": 0, "head": 1}

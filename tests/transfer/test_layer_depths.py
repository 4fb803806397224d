"""How deep the layers of each family lie, counted from the logits."""

import jax
import jax.numpy as jnp
import pytest

from jaxtl.models import build_model
from jaxtl.transfer.partition import layer_depths


@pytest.mark.parametrize(
    ("name", "options", "layers"),
    [
        (
            "resnet18",
            {},
            {
                "head/linear": 0,
                "stage4/block2": 1,
                "stage4/block1": 2,
                "stage1/block1": 8,
                "stem/conv": 9,
                "stem/norm": 9,
            },
        ),
        (
            "densenet121",
            {"depths": (2, 11), "growth": 4, "width": 8},
            {
                "head/linear": 0,
                "stage2/norm": 1,  # torchvision's norm5
                "stage2/layer11": 2,
                "stage2/layer10": 3,  # by number, where letters would put it beside layer1
                "stage2/layer1": 12,
                "stage1/transition": 13,
                "stage1/layer2": 14,
                "stem/conv": 16,
            },
        ),
        (
            "vgg11_bn_cifar",
            {"width": 4, "hidden": (8, 8)},
            {
                "head/linear": 0,
                "hidden/linear2": 1,
                "hidden/linear1": 2,
                "stage4/conv2": 3,
                "stage4/norm2": 3,
                "stage4/conv1": 4,
                "stem/conv1": 10,
            },
        ),
        (
            "cnn",
            {"blocks": ((4, 4), (4,)), "head": {"hidden": (3,)}},
            {"head/linear": 0, "head/hidden1": 1, "hidden/linear1": 2, "stage1/conv1": 3, "stem/conv2": 4},
        ),
    ],
)
def test_named_layers_of_each_family(name, options, layers):
    model = build_model(name, 10, **options)
    params = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 32, 32, 3)))["params"]
    depths = layer_depths(params, model.stage_names)
    assert {stage: set(of) for stage, of in depths.items()} == {stage: set(of) for stage, of in params.items()}
    found = {f"{stage}/{layer}": depth for stage, of in depths.items() for layer, depth in of.items()}
    assert {layer: found[layer] for layer in layers} == layers
    assert max(found.values()) == max(found[f"stem/{layer}"] for layer in params["stem"])

"""The peers compute the same networks as jaxtl, and say what they have not."""

import importlib.util
import math

import jax
import jax.numpy as jnp
import pytest

from benchmarks.contender import NoSuchNetError, Task
from benchmarks.measure import warm_up
from benchmarks.peers import contender
from benchmarks.peers.flax_nets import NETS
from jaxtl.models import build_model


def sizes(model, size, **how):
    images = jnp.zeros((1, size, size, 3))
    variables = jax.eval_shape(lambda: model.init(jax.random.key(0), images, **how))
    shapes = sorted(leaf.shape for leaf in jax.tree.leaves(variables["params"]))
    return sorted(map(math.prod, shapes))  # a kernel of 1x1 or 3x3 is told apart by its size


@pytest.mark.parametrize("name", ["cnn", "resnet18", "resnet50", "vgg16", "densenet121"])
def test_plain_flax_has_the_same_parameters(name):
    size = 224 if name.startswith("vgg") else 32
    assert sizes(NETS[name](10), size, train=False) == sizes(build_model(name, 10), size)


@pytest.mark.parametrize(
    ("peer", "model", "size", "why"),
    [
        ("flax", "bn_cnn", 32, "no bn_cnn in plain Flax"),
        ("flax", "vgg16", 32, "another network than ours at 32 pixels"),
        ("keras", "resnet18", 224, "keras.applications has no resnet18"),
        ("keras", "vgg16", 32, "another network than ours at 32 pixels"),
    ],
)
def test_a_network_that_a_peer_has_not_is_a_sentence(peer, model, size, why):
    with pytest.raises(NoSuchNetError, match=why):
        contender(peer, Task("train", model, size, 2))


def needs(package):
    return pytest.mark.skipif(not importlib.util.find_spec(package), reason=f"{package} is not installed")


@needs("torchvision")
@pytest.mark.parametrize("what", ["inference", "train"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_pytorch_steps(what, dtype):
    warm_up(contender("torchvision", Task(what, "cnn", 32, 4, dtype, classes=10)))


@needs("torchvision")
def test_pytorch_has_the_same_parameters():
    from benchmarks.peers.torchvision_ import net

    theirs = sorted(p.numel() for p in net(Task("train", "cnn", 32, 4, classes=10)).parameters())
    assert theirs == sizes(build_model("cnn", 10), 32)
    with pytest.raises(NoSuchNetError, match="torchvision has no bn_cnn"):
        net(Task("train", "bn_cnn", 32, 4))


@needs("keras")
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("what", "dtype"), [("inference", "bfloat16"), ("train", "bfloat16")])
def test_keras_steps(what, dtype):
    warm_up(contender("keras", Task(what, "resnet50", 32, 2, dtype, classes=10)))

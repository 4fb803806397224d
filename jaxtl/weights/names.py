"""What other libraries call the layers of our networks: a table for each network, read in both directions."""

import dataclasses
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from jaxtl.errors import UserError
from jaxtl.models import model_options
from jaxtl.models.classifier import HEAD
from jaxtl.models.registry import OWN, known


@dataclasses.dataclass(frozen=True)
class Names:
    """The names of a network in another library.

    Attributes:
      library: its name.
      layers: its name of each of our layers, ``stage3/block2/conv1``, in the library's order. A layer that only some
        variants of the network have may be among them.
      head: its name of the last layer.
      leaves: its names of kernel and bias.
      norm_leaves: its names of a norm's scale, bias, mean and var.
      separator: between layer and leaf.
      old_names: pairs (pattern, replacement) from the keys of old files, or of a library with others, to these.
      bgr: its images have blue first, so that the first kernel is turned round.
    """

    library: str
    layers: Mapping[str, str]
    head: str
    leaves: Mapping[str, str]
    norm_leaves: Mapping[str, str]
    separator: str
    old_names: tuple[tuple[str, str], ...] = ()
    bgr: bool = False

    def key(self, leaf: str) -> str | None:
        """The library's key of one of our leaves, ``params/stem/conv/kernel``; ``None`` if it has none."""
        layer, _, own = leaf.partition("/")[2].rpartition("/")
        theirs = self.head if layer == f"{HEAD}/linear" else self.layers.get(layer)
        return theirs and f"{theirs}{self.separator}{self._leaves(layer)[own]}"

    def in_order(self, leaves: Iterable[str]) -> list[str]:
        """Those of our leaves that the library has, in its order."""
        layers = (*self.layers, f"{HEAD}/linear")
        order = [f"{layer}/{own}" for layer in layers for own in self._leaves(layer)]
        places = {leaf: place for place, leaf in enumerate(order)}
        return sorted((leaf for leaf in leaves if self.key(leaf)), key=lambda leaf: places[leaf.partition("/")[2]])

    def _leaves(self, layer: str) -> Mapping[str, str]:
        return self.norm_leaves if "norm" in layer.rpartition("/")[2] else self.leaves

    def current(self, key: str) -> str:
        """A key by the names of this table."""
        for pattern, replacement in self.old_names:
            key = re.sub(f"^{pattern}$", replacement, key)
        return key


_TORCH: dict[str, Any] = {
    "library": "PyTorch",
    "leaves": {"kernel": "weight", "bias": "bias"},
    "norm_leaves": {"scale": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var"},
    "separator": ".",
}


def torch_names(name: str, **options: Any) -> Names:
    """The names of a network of ``build_model`` in torchvision, or in the repository that its card names.

    Raises:
      UserError: for a model that PyTorch's libraries do not have, such as the small networks of the studies.
    """
    options = {**model_options(known(name)), **options}
    families = ("resnet", "cifar_resnet", "densenet", "vgg")
    if not name.startswith(families) or options.get("v1") or name not in OWN:
        raise UserError(f"{name} has no counterpart in PyTorch: ResNets (not V1), VGGs and DenseNets are converted.")
    if name.startswith("vgg"):
        layers = dict(_torch_vgg(options["depths"], options["batch_norm"]))
        of_timm = tuple((rf"{re.escape(theirs)}\.(.*)", rf"{ours}.\1") for ours, theirs in TIMM_VGG.items())
        return Names(layers=layers, head="classifier.6", old_names=of_timm, **_TORCH)
    if name.startswith("densenet"):
        # Files from before PyTorch 0.4 have a dot that later versions do not allow: "denselayer1.norm.1".
        old_names = ((r"(.*\.denselayer\d+\.(?:norm|conv))\.(\d\..*)", r"\1\2"),)
        return Names(layers=dict(_torch_densenet(options["depths"])), head="classifier", old_names=old_names, **_TORCH)
    if name.startswith("cifar"):
        return Names(layers=dict(_torch_resnet(((options["depth"] - 2) // 6,) * 3)), head="linear", **_TORCH)
    return Names(layers=dict(_torch_resnet(options["depths"])), head="fc", **_TORCH)


# torchvision's names of VGG's dense layers, and timm's, where the first two are convolutions.
TIMM_VGG = {"classifier.0": "pre_logits.fc1", "classifier.3": "pre_logits.fc2", "classifier.6": "head.fc"}


def timm_key(key: str) -> str:
    """timm's name of an array that torchvision calls ``key``."""
    layer, _, leaf = key.rpartition(".")
    return f"{TIMM_VGG.get(layer, layer)}.{leaf}"


def _torch_resnet(depths: tuple[int, ...]) -> Iterator[tuple[str, str]]:
    yield from (("stem/conv", "conv1"), ("stem/norm", "bn1"))
    for stage, depth in enumerate(depths, start=1):
        for block in range(1, depth + 1):
            ours, theirs = f"stage{stage}/block{block}", f"layer{stage}.{block - 1}"
            for i in (1, 2, 3):
                yield from ((f"{ours}/conv{i}", f"{theirs}.conv{i}"), (f"{ours}/norm{i}", f"{theirs}.bn{i}"))
            yield f"{ours}/shortcut_conv", f"{theirs}.downsample.0"
            yield f"{ours}/shortcut_norm", f"{theirs}.downsample.1"


def _torch_densenet(depths: tuple[int, ...]) -> Iterator[tuple[str, str]]:
    yield from (("stem/conv", "features.conv0"), ("stem/norm", "features.norm0"))
    for stage, depth in enumerate(depths, start=1):
        for layer in range(1, depth + 1):
            for part in ("norm1", "conv1", "norm2", "conv2"):
                yield f"stage{stage}/layer{layer}/{part}", f"features.denseblock{stage}.denselayer{layer}.{part}"
        for part in ("norm", "conv"):
            yield f"stage{stage}/transition/{part}", f"features.transition{stage}.{part}"
    yield f"stage{len(depths)}/norm", f"features.norm{len(depths) + 1}"


def _torch_vgg(depths: tuple[int, ...], batch_norm: bool) -> Iterator[tuple[str, str]]:
    """VGG's names count every convolution, norm, ReLU and pool of ``features``, so they depend on the variant."""
    index = 0
    for i, depth in enumerate(depths):
        stage = f"stage{i}" if i else "stem"
        for j in range(1, depth + 1):
            yield f"{stage}/conv{j}", f"features.{index}"
            yield f"{stage}/norm{j}", f"features.{index + 1}"
            index += 3 if batch_norm else 2  # convolution, perhaps norm, ReLU
        index += 1  # pool
    yield from (("hidden/linear1", "classifier.0"), ("hidden/linear2", "classifier.3"))


# --- Keras applications ---

_KERAS: dict[str, Any] = {
    "library": "Keras",
    "head": "predictions",
    "leaves": {"kernel": "kernel", "bias": "bias"},
    "norm_leaves": {"scale": "gamma", "bias": "beta", "mean": "moving_mean", "var": "moving_variance"},
    "separator": "/",
    "old_names": (("fc1000/(.*)", r"predictions/\1"),),
}
KERAS_MODELS = (
    "vgg16", "vgg19", "resnet50_v1", "resnet101_v1", "resnet152_v1", "densenet121", "densenet169", "densenet201",
)  # fmt: skip


def keras_names(name: str, **options: Any) -> Names:
    """The names of a network of ``build_model`` in Keras's applications.

    Raises:
      UserError: for a model that Keras does not have.
    """
    if name not in KERAS_MODELS:
        raise UserError(f"{name} has no counterpart in Keras's applications, which have {', '.join(KERAS_MODELS)}.")
    depths = {**model_options(known(name)), **options}["depths"]
    if name.startswith("densenet"):
        return Names(layers=dict(_keras_densenet(depths)), **_KERAS)
    layers = dict(_keras_vgg(depths) if name.startswith("vgg") else _keras_resnet(depths))
    return Names(layers=layers, bgr=True, **_KERAS)


def _keras_vgg(depths: tuple[int, ...]) -> Iterator[tuple[str, str]]:
    for i, depth in enumerate(depths):
        for j in range(1, depth + 1):
            yield f"stage{i}/conv{j}" if i else f"stem/conv{j}", f"block{i + 1}_conv{j}"
    yield from (("hidden/linear1", "fc1"), ("hidden/linear2", "fc2"))


def _keras_resnet(depths: tuple[int, ...]) -> Iterator[tuple[str, str]]:
    yield from (("stem/conv", "conv1_conv"), ("stem/norm", "conv1_bn"))
    parts = {  # in the order of Keras's layers, which counts from the end of a block
        "conv1": "1_conv", "norm1": "1_bn", "conv2": "2_conv", "norm2": "2_bn",
        "shortcut_conv": "0_conv", "conv3": "3_conv", "shortcut_norm": "0_bn", "norm3": "3_bn",
    }  # fmt: skip
    for stage, depth in enumerate(depths, start=1):
        for block in range(1, depth + 1):
            for ours, theirs in parts.items():
                yield f"stage{stage}/block{block}/{ours}", f"conv{stage + 1}_block{block}_{theirs}"


def _keras_densenet(depths: tuple[int, ...]) -> Iterator[tuple[str, str]]:
    yield from (("stem/conv", "conv1_conv"), ("stem/norm", "conv1_bn"))
    parts = {"norm1": "0_bn", "conv1": "1_conv", "norm2": "1_bn", "conv2": "2_conv"}
    for stage, depth in enumerate(depths, start=1):
        for layer in range(1, depth + 1):
            for ours, theirs in parts.items():
                yield f"stage{stage}/layer{layer}/{ours}", f"conv{stage + 1}_block{layer}_{theirs}"
        for ours, theirs in (("norm", "bn"), ("conv", "conv")):
            yield f"stage{stage}/transition/{ours}", f"pool{stage + 1}_{theirs}"
    yield f"stage{len(depths)}/norm", "bn"

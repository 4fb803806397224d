"""Write golden/NAME.npz: what torchvision answers for the weights and images of golden_rule.py.

Run with numpy, torch 2.13.0 (CPU) and torchvision 0.28.0, installed by `pip install --no-deps torchvision==0.28.0`:

    python tests/models/make_golden.py [NAME ...]

The `_cifar` networks are torchvision's with the changes that github.com/huyvnphan/PyTorch_CIFAR10 made: a 3x3 stem of
stride 1, and for VGG a mean over all pixels. The option-A ResNets are not in torchvision; they are written out here.
"""

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from golden_rule import draw_images, draw_weight, outputs, sizes
from torch import nn
from torch.nn import functional

# torchvision asks for these operators at import; without its compiled half they only need a name.
library = torch.library.Library("torchvision", "DEF")
for operator in ("nms", "qnms"):
    library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
from torchvision import models  # noqa: E402

Stages = dict[str, Callable[[torch.Tensor], torch.Tensor]]

RESNETS = [f"resnet{depth}" for depth in (18, 34, 50, 101, 152)]
DENSENETS = [f"densenet{depth}" for depth in (121, 161, 169, 201)]
VGGS = [f"vgg{depth}{norm}" for norm in ("", "_bn") for depth in (11, 13, 16, 19)]
TORCHVISION = [*RESNETS, *DENSENETS, *VGGS]
CIFAR_RESNETS = [f"cifar_resnet{depth}" for depth in (20, 32, 44, 56, 110)]
NAMES = [*TORCHVISION, *(f"{name}_cifar" for name in TORCHVISION), *CIFAR_RESNETS]


class OptionA(nn.Module):
    """Two 3x3 convolutions; where they stride, x is subsampled and gets as many channels of zeros again."""

    def __init__(self, before: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, width, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.stride = stride
        self.zeros = (width - before) // 2

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
        x = functional.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.zeros, self.zeros))
        return torch.relu(y + x)


class CifarResNet(nn.Module):
    """6n + 2 layers of 16, 32 and 64 channels, under the names of their published weights."""

    def __init__(self, depth: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        for i, (before, width, stride) in enumerate([(16, 16, 1), (16, 32, 2), (32, 64, 2)], start=1):
            rest = [OptionA(width, width, 1) for _ in range((depth - 2) // 6 - 1)]
            setattr(self, f"layer{i}", nn.Sequential(OptionA(before, width, stride), *rest))
        self.linear = nn.Linear(64, 10)


def build(name: str) -> nn.Module:
    if name.startswith("cifar_resnet"):
        return CifarResNet(int(name.removeprefix("cifar_resnet")))
    family = name.removesuffix("_cifar")
    if family == name:
        return models.get_model(name)
    net = models.get_model(family, num_classes=10)
    if family in RESNETS:
        net.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
    elif family in DENSENETS:
        net.features.conv0 = nn.Conv2d(3, net.features.conv0.out_channels, 3, padding=1, bias=False)
    else:
        net.avgpool = nn.AdaptiveAvgPool2d(1)
        net.classifier[0] = nn.Linear(512, 4096)
    return net


def stages_of(name: str, net: nn.Module) -> tuple[Stages, nn.Module]:
    """The stages under our names, and the last linear layer."""
    if name.startswith("cifar_resnet"):
        stem: Stages = {"stem": nn.Sequential(net.conv1, net.bn1, nn.ReLU())}
        return stem | {f"stage{i}": getattr(net, f"layer{i}") for i in (1, 2, 3)}, net.linear
    if "resnet" in name:
        stem = {"stem": nn.Sequential(net.conv1, net.bn1, net.relu, net.maxpool)}
        return stem | {f"stage{i}": getattr(net, f"layer{i}") for i in (1, 2, 3, 4)}, net.fc
    layers = list(net.features)
    if "densenet" in name:
        parts = {"stem": nn.Sequential(*layers[:4])}
        for i in (1, 2, 3):
            parts[f"stage{i}"] = nn.Sequential(*layers[2 * i + 2 : 2 * i + 4])
        return parts | {"stage4": nn.Sequential(*layers[10:], nn.ReLU())}, net.classifier
    ends = [i + 1 for i, layer in enumerate(layers) if isinstance(layer, nn.MaxPool2d)]
    groups = [nn.Sequential(*layers[start:end]) for start, end in zip([0, *ends], ends, strict=False)]
    parts = dict(zip(("stem", "stage1", "stage2", "stage3", "stage4"), groups, strict=True))
    parts["hidden"] = nn.Sequential(net.avgpool, nn.Flatten(), *net.classifier[:-1])
    return parts, net.classifier[-1]


def channels_last(x: torch.Tensor) -> np.ndarray:
    return (x.permute(0, 2, 3, 1) if x.ndim == 4 else x).numpy()


@torch.no_grad()
def golden(name: str) -> dict[str, np.ndarray]:
    net = build(name).eval()
    state = net.state_dict()
    drawn = {
        key: torch.from_numpy(draw_weight(key, tuple(value.shape)))
        for key, value in state.items()
        if not key.endswith("num_batches_tracked")
    }
    net.load_state_dict(state | drawn)
    stages, head = stages_of(name, net)
    found = {}
    for height, width in sizes(name):
        images = torch.from_numpy(draw_images(height, width).transpose(0, 3, 1, 2).copy())
        x, maps = images, {}
        for stage, module in stages.items():
            x = maps[stage] = module(x).clone()  # ReLUs in place would change it later
        features = x.mean((2, 3)) if x.ndim == 4 else x
        logits = head(features)
        if not isinstance(net, CifarResNet):
            torch.testing.assert_close(logits, net(images), rtol=1e-6, atol=1e-5)
        stored = outputs(logits.numpy(), features.numpy(), {s: channels_last(m) for s, m in maps.items()})
        found |= {f"{height}x{width}/{what}": values for what, values in stored.items()}
    return found


if __name__ == "__main__":
    torch.set_num_threads(1)
    folder = Path(__file__).with_name("golden")
    for name in sys.argv[1:] or NAMES:
        values = golden(name)
        np.savez_compressed(folder / f"{name}.npz", **values)
        scales = " ".join(f"{np.abs(v).max():.3g}" for v in values.values())
        print(f"{name}: {scales}", flush=True)

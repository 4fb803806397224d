"""Study B: the network of configs/resnet18_lightning.py from random weights, to show what pretraining is worth.

Reported: no figure; the study compares it with its pretrained 78 % in words only.
Ours: not measured yet; nothing has to be downloaded for it but CIFAR-10.

replica: resnet18_lightning.py with random weights, all else the same. Expected: below the 78 % of the pretrained
network; no figure is known.

    python -m jaxtl.main --config configs/resnet18_random.py --workdir runs/resnet18_random

best: the same network and number of epochs from random weights. Images are resized to 128 x 128, so that 4 x 4 pixels
reach the last stage; no head is trained first, for there is nothing to protect; SGD, Nesterov momentum 0.9, a larger
learning rate and weight decay than from pretrained weights, a warm-up of an epoch and cosine to zero. Expected: no
figure is known; the ResNet-18 for small images of the "PyTorch_CIFAR10" zoo reaches 93.07 %, in 100 epochs.

    python -m jaxtl.main --config configs/resnet18_random.py:best --workdir runs/resnet18_random_best
"""

import pathlib

from ml_collections import ConfigDict

from jaxtl.config import choose
from jaxtl.config.flags import load_config
from jaxtl.transfer.plans import from_scratch

LIGHTNING = pathlib.Path(__file__).with_name("resnet18_lightning.py")


def get_config(recipe: str = "replica") -> ConfigDict:
    """Study B's ResNet-18 from random weights: what differs from the pretrained one."""
    config = ConfigDict(load_config(f"{LIGHTNING}:{recipe}"))
    config.name = f"resnet18_random on CIFAR-10 (study B, {recipe})"
    config.reported = "no figure"
    config.model.weights = ""
    ours = from_scratch(
        10,
        optimizer="sgd",
        nesterov=True,
        learning_rate=0.05,
        schedule="cosine",
        warmup_epochs=1,
        weight_decay=5e-4,
        flip=True,
        crop=4,
    )
    config.phases = choose(recipe, {"replica": config.phases, "best": ours})
    return config

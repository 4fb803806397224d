"""Study A: an ImageNet DenseNet-121, fine-tuned on CIFAR-10; as configs/resnet18.py, but for ten epochs.

Reported: 83 % test accuracy after 10 epochs.
Ours: not measured: the ImageNet weights were not at hand.

replica: the study's recipe for its ResNet-18 to the letter, ten epochs of it. Expected: about 83 %, the study's figure.

    python -m jaxtl.main --config configs/densenet121.py --workdir runs/densenet121

best: our recipe for the ResNet-18 with one epoch of the head and nine of everything. Expected: between the study's 83 %
and the 97.5 % that is known for a fine-tuned ImageNet ResNet-50, whose weights are slightly better on ImageNet (76.1 %
against 74.4 %).

    python -m jaxtl.main --config configs/densenet121.py:best --workdir runs/densenet121_best
"""

import pathlib

from ml_collections import ConfigDict

from jaxtl.config import choose
from jaxtl.config.flags import load_config

RESNET18 = pathlib.Path(__file__).with_name("resnet18.py")


def get_config(recipe: str = "replica") -> ConfigDict:
    """Study A's DenseNet-121: what differs from its ResNet-18."""
    config = ConfigDict(load_config(f"{RESNET18}:{recipe}"))
    config.name = f"densenet121 on CIFAR-10 (study A, {recipe})"
    config.reported = "83 %"
    config.model.name = "densenet121"
    config.phases[-1].update(epochs=choose(recipe, {"replica": 10, "best": 9}))
    return config

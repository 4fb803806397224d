"""Study E: a frozen ImageNet VGG-19 with a two-layer head on CIFAR-10; as configs/vgg16.py.

Reported: 81.64 % test accuracy; 20 min 1 s of training, 1 min 39 s for the 10,000 test images, on a T4 GPU.
Ours: not measured: the ImageNet weights were not at hand.

replica: the recipe of vgg16.py to the letter. Expected: about 81.6 %, the study's figure.

    python -m jaxtl.main --config configs/vgg19.py --workdir runs/vgg19

best: our recipe of vgg16.py. Expected: above the study's 81.64 %, as for VGG-16.

    python -m jaxtl.main --config configs/vgg19.py:best --workdir runs/vgg19_best
"""

import pathlib

from ml_collections import ConfigDict

from jaxtl.config.flags import load_config

VGG16 = pathlib.Path(__file__).with_name("vgg16.py")


def get_config(recipe: str = "replica") -> ConfigDict:
    """Study E's VGG-19: what differs from its VGG-16."""
    config = ConfigDict(load_config(f"{VGG16}:{recipe}"))
    config.name = f"vgg19 on CIFAR-10 (study E, {recipe})"
    config.reported = "81.64 %; 20 min 1 s of training, 1 min 39 s for the test images"
    config.model.name = "vgg19"
    return config

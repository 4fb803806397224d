"""Study A's frozen experiment on weights that are at hand: ResNet-32 trained on CIFAR-10, frozen, one new linear.

Reported: about 93 % with a frozen DenseNet-161 of 94.07 %; ResNet-32 itself reaches 92.63 %.
Ours: 92.71 % (95 % interval 92.18 to 93.20) by both recipes; seed 0, AMD EPYC, 2 cores. 53 s to train, of which the
five epochs take 0.2 s and the fifteen 0.6 s: all the rest is one pass of the backbone. 11 s to test 10,000 images.
Training and test together are 1.003 times one forward pass over the training and the test images.

The recipe of `densenet161`: new 10-way linear on a frozen backbone, Adamax at 1e-3, cross-entropy, batches of 128, all
50,000 training images, 5 epochs; `:steplr` is `densenet161_steplr`, 15 epochs, the rate times 0.1 every 5. Two things
differ from the study's: the images are not augmented, so that the backbone runs once per image and the epochs after
that are nearly free, and they are normalised as the weights expect.

    python -m jaxtl.main --config configs/cifar_resnet_probe.py --workdir runs/cifar_resnet_probe
    python -m jaxtl.main --config configs/cifar_resnet_probe.py:steplr --workdir runs/cifar_resnet_probe_steplr
"""

from typing import Any

from ml_collections import ConfigDict

from jaxtl.config import choose, default_config
from jaxtl.transfer.plans import linear_probe


def get_config(recipe: str = "constant") -> ConfigDict:
    """Study A's frozen rows: five epochs at a constant rate, or fifteen with step decay."""
    recipes: dict[str, dict[str, Any]] = {
        "constant": {"epochs": 5},
        "steplr": {"epochs": 15, "schedule": "step", "step_epochs": 5, "step_factor": 0.1},
    }
    schedule = choose(recipe, recipes)
    config = default_config()
    config.name = f"cifar_resnet32, frozen, new linear ({recipe})"
    config.reported = "~93 %"
    config.model.name = "cifar_resnet32"
    config.model.weights = "cifar10"
    config.data.mean = (0.485, 0.456, 0.406)
    config.data.std = (0.229, 0.224, 0.225)
    config.data.validation = 0.0
    config.batch_size = 128
    config.phases = linear_probe(optimizer="adamax", learning_rate=1e-3, keep="last", **schedule)
    return config

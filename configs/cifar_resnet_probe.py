"""Study A's frozen experiment with available weights: a ResNet-32 trained on CIFAR-10, and a new linear layer.

| | |
|---|---|
| Reported | about 93 % with a frozen DenseNet-161 of 94.07 %; ResNet-32 itself reaches 92.63 % |
| Ours | 92.71 % (95 % interval 92.18 to 93.20) by both recipes |
| Measured with | seed 0, AMD EPYC, 2 cores, 53 s of training |
| Command | `python -m jaxtl.main --config configs/cifar_resnet_probe.py --workdir runs/cifar_resnet_probe` |
| `steplr` | `python -m jaxtl.main --config configs/cifar_resnet_probe.py:steplr --workdir runs/probe_steplr` |

| | `constant`, as `densenet161.py` | `steplr`, as `densenet161_steplr.py` |
|---|---|---|
| Optimizer | Adamax at 1e-3, batches of 128, 5 epochs | the same for 15 epochs, a tenth of the rate every 5 |
| Images | all 50,000, normalised as the weights expect | the same |
| Augmentation | none: the backbone runs once per image | the same |
| Epoch tested | the last | the same |

- Apart from the network, two things differ from the study: the normalisation, and no augmentation.
- Of the 53 s the five epochs take 0.2 s and the fifteen 0.6 s: the rest is one pass of the backbone. The test of
  10,000 images takes 11 s. Training and test together are 1.003 times one forward pass over all images.
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

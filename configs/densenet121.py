"""Study A: a DenseNet-121 trained on ImageNet, fine-tuned on CIFAR-10 for 10 epochs.

| | |
|---|---|
| Reported | 83 % test accuracy |
| Ours | not measured: the ImageNet weights were not at hand |
| Command | `python -m jaxtl.main --config configs/densenet121.py --workdir runs/densenet121` |
| `best` | `python -m jaxtl.main --config configs/densenet121.py:best --workdir runs/densenet121_best` |

| | `replica`, the study's recipe | `best`, ours |
|---|---|---|
| All but the epochs | as in `resnet18.py` | as in `resnet18.py:best` |
| What trains | everything for ten epochs | the head for an epoch, then everything for nine |
| Expected | about 83 %, the study's figure | 83 % to 97.5 %, which a fine-tuned ImageNet ResNet-50 reaches |

- On ImageNet that ResNet-50 is slightly better: 76.1 % against 74.4 %.
"""

from ml_collections import ConfigDict

from jaxtl.config import choose

from . import resnet18


def get_config(recipe: str = "replica") -> ConfigDict:
    """Study A's DenseNet-121: what differs from its ResNet-18."""
    config = resnet18.get_config(recipe)
    config.name = f"densenet121 on CIFAR-10 (study A, {recipe})"
    config.reported = "83 %"
    config.model.name = "densenet121"
    config.phases[-1].update(epochs=choose(recipe, {"replica": 10, "best": 9}))
    return config

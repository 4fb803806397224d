"""Study E: a ResNet-152 trained on ImageNet, frozen, with a two-layer head on CIFAR-10.

| | |
|---|---|
| Reported | 81.93 % test accuracy; on a T4 GPU 22 min 4 s of training, 1 min 45 s for the 10,000 test images |
| Ours | not measured: the ImageNet weights were not at hand |
| Command | `python -m jaxtl.main --config configs/resnet152.py --workdir runs/resnet152` |
| `best` | `python -m jaxtl.main --config configs/resnet152.py:best --workdir runs/resnet152_best` |

| | `replica`, the study's recipe | `best`, ours |
|---|---|---|
| All but the network | as in `resnet50.py`: batch norm drifts, sigmoid | as in `resnet50.py:best` |
| Expected | about 81.9 %, the study's figure | above 81.93 %, for there is no sigmoid |

- No figure is known for this network. A linear probe of an ImageNet ResNet-50 gives 93.6 %.
"""

from ml_collections import ConfigDict

from . import resnet50


def get_config(recipe: str = "replica") -> ConfigDict:
    """Study E's ResNet-152: what differs from its ResNet-50."""
    config = resnet50.get_config(recipe)
    config.name = f"resnet152 on CIFAR-10 (study E, {recipe})"
    config.reported = "81.93 %; 22 min 4 s of training, 1 min 45 s for the test images"
    config.model.name = "resnet152"
    return config

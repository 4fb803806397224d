"""Study A: a DenseNet-161 trained on CIFAR-10, frozen, with a new linear layer that trains for 5 epochs.

| | |
|---|---|
| Reported | about 93 % test accuracy |
| Ours | not measured: the weights were not at hand |
| Command | `python -m jaxtl.main --config configs/densenet161.py --workdir runs/densenet161` |
| `best` | `python -m jaxtl.main --config configs/densenet161.py:best --workdir runs/densenet161_best` |

| | `replica`, the study's recipe | `best`, ours |
|---|---|---|
| Network | new 10-way linear layer | the same |
| Images | the study's mean and standard deviation | those that the weights were trained with |
| Augmentation | random mirror, 4-pixel pad and crop | none: the backbone runs once per image |
| Optimizer | Adamax at 1e-3, batches of 128 | the same, cosine to zero |
| Epoch tested | the last; no image is held out | the same |
| Expected | about 93 %, the study's figure | 93 % to 94.07 %, the figure of the weights' own head |

- The weights are those of the "PyTorch_CIFAR10" zoo, trained from scratch at 32 pixels. If its archive cannot be
  downloaded, --config.model.weights=PATH takes its file densenet161.pt, or any other file of this network.
- The zoo's 94.07 % is its best epoch by test accuracy, over 9,984 of the 10,000 images.
- The weights were trained on every training image, so a validation split would tell nothing: the last epoch is tested.
- The study does not say what batch norm does while frozen. Here it stays in inference mode;
  --config.phases.0.frozen_batch_norm=train lets its statistics drift.
"""

from ml_collections import ConfigDict

from jaxtl.config import choose, default_config
from jaxtl.transfer.plans import linear_probe


def get_config(recipe: str = "replica") -> ConfigDict:
    """Study A's frozen DenseNet-161, by its own recipe or by ours."""
    config = default_config()
    config.name = f"densenet161 on CIFAR-10 (study A, {recipe})"
    config.reported = "~93 %"
    config.model.name = "densenet161_cifar"
    config.model.weights = "cifar10_zoo"
    config.data.mean = (0.4914, 0.4822, 0.4465)
    config.data.validation = 0.0
    config.batch_size = 128
    choose(recipe, {"replica": replica, "best": best})(config)
    return config


def replica(config: ConfigDict) -> None:
    """The study's recipe to the letter."""
    config.data.std = (0.2023, 0.1994, 0.2010)
    config.phases = linear_probe(5, optimizer="adamax", learning_rate=1e-3, flip=True, crop=4, keep="last")


def best(config: ConfigDict) -> None:
    """Kept features, the normalisation of the weights, a falling learning rate."""
    config.data.std = (0.2471, 0.2435, 0.2616)
    config.phases = linear_probe(5, optimizer="adamax", learning_rate=1e-3, schedule="cosine", keep="last")

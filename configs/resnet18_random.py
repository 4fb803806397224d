"""Study B: the network of `resnet18_lightning.py` from random weights, to show what pretraining is worth.

| | |
|---|---|
| Reported | no figure: the study compares it with its pretrained 78 % in words only |
| Ours | 72.21 % (95 % interval 71.32 to 73.08), precision 0.7348, recall 0.7221; `best` not measured |
| Measured with | seed 0, AMD EPYC, 2 cores busy with other work, 16 min 7 s of training |
| Command | `python -m jaxtl.main --config configs/resnet18_random.py --workdir runs/resnet18_random` |
| `best` | `python -m jaxtl.main --config configs/resnet18_random.py:best --workdir runs/resnet18_random_best` |

| | `replica`, the study's recipe | `best`, ours |
|---|---|---|
| Network, images | as in `resnet18_lightning.py` | as in `resnet18_lightning.py:best`, at 128 x 128 pixels |
| What trains | everything for 10 epochs | the same, without a probe: there are no pretrained features to protect |
| Optimizer | Adam at 1e-3 | SGD at 0.05, Nesterov momentum 0.9, weight decay 5e-4; an epoch of warm-up, cosine |
| Expected | below the 78 % of the pretrained network | no figure is known |

- A ResNet-18 for small images of the "PyTorch_CIFAR10" zoo reaches 93.07 % from scratch, in 100 epochs.
"""

from ml_collections import ConfigDict

from jaxtl.config import choose
from jaxtl.transfer.plans import from_scratch

from . import resnet18_lightning


def get_config(recipe: str = "replica") -> ConfigDict:
    """Study B's ResNet-18 from random weights: what differs from the pretrained one."""
    config = resnet18_lightning.get_config(recipe)
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

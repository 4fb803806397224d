"""Study D: a CNN for STL-10 with hyperparameters from a random search; the best trial's are then trained for 30 epochs.

| | |
|---|---|
| Reported | about 71 % test accuracy, loss about 1.18 |
| Ours | not measured: STL-10 was not at hand |
| Search | `python -m jaxtl.search --config configs/stl10_search.py --workdir runs/stl10_search --trials 30` |
| One config of the space | `python -m jaxtl.main --config configs/stl10_search.py --workdir runs/stl10_one` |

| | |
|---|---|
| Images | 96 x 96, as they are, without monkeys: 4,500 labelled ones for training, 7,200 for the test |
| Network | conv 3x3, ReLU, max-pool 2, batch norm, each with twice the filters of the last, up to 256; dropout 0.5 |
| Searched | learning rate, optimizer, number of filters, neurons, convolutions, hidden dense layers |
| Augmentation | random mirror and crop |
| Trials | 30 of 10 epochs, cosine to zero; judged by their lowest loss on a fifth of the training images, 900 |

- The study says what is searched. Ranges, number and length of trials, augmentation, dropout and schedule are ours.
- The nine classes are those that STL-10 shares with CIFAR-10, in one order.
"""

from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from jaxtl.config import default_config, phase
from jaxtl.data.shared_classes import SHARED_CLASSES

MOST_FILTERS = 256


def get_config() -> ConfigDict:
    """The middle of the space."""
    config = default_config()
    config.name = "Random search of a CNN for STL-10 (study D)"
    config.reported = "~71 %"
    config.data.name = "stl10"
    config.data.classes = SHARED_CLASSES["stl10"]
    config.data.mean = (0.4467, 0.4398, 0.4066)
    config.data.std = (0.2603, 0.2566, 0.2713)
    config.data.validation = 0.2
    config.model.name = "bn_cnn"
    config.batch_size = 64
    config.phases = (phase(epochs=10, optimizer="adam", learning_rate=1e-3, schedule="cosine", flip=True, crop=12),)
    write_layers(config, {"convolutions": 4, "filters": 32, "hidden_layers": 1, "neurons": 256})
    return config


def get_space() -> Any:
    """The study's six hyperparameters."""
    from jaxtl.search import Space  # needs Optuna, which training alone does not

    return Space(
        {
            "phases.0.learning_rate": "log:1e-4..3e-2",
            "phases.0.optimizer": "adam,adamax,adamw,sgd",
            "convolutions": "3..6",
            "filters": "16,32,48,64",
            "hidden_layers": "1..3",
            "neurons": "64,128,256,512",
        },
        apply=write_layers,
        final={"phases.0.epochs": 30},
    )


def write_layers(config: ConfigDict, params: Mapping[str, Any]) -> None:
    """Numbers of layers, filters and neurons as the blocks and dense layers of the network."""
    filters = [min(params["filters"] * 2**i, MOST_FILTERS) for i in range(params["convolutions"])]
    config.model.options = {
        "blocks": tuple((width,) for width in filters),
        "hidden": (params["neurons"],) * params["hidden_layers"],
        "dropout": 0.5,
    }

"""Study A: configs/densenet161.py for 15 epochs, with a learning rate that falls in steps.

Reported: about 93 % test accuracy after 15 epochs.
Ours: not measured: the weights were not at hand.

replica: Adamax at 1e-3, a tenth of it after every 5 epochs; all else as in densenet161.py, which also tells of the
weights, and of --config.model.weights=PATH. Expected: about 93 %, the study's figure.

    python -m jaxtl.main --config configs/densenet161_steplr.py --workdir runs/densenet161_steplr

best: our recipe of densenet161.py for 15 epochs: cosine in place of the steps. Expected: between the study's 93 % and
the zoo's 94.07 %.

    python -m jaxtl.main --config configs/densenet161_steplr.py:best --workdir runs/densenet161_steplr_best
"""

import pathlib

from ml_collections import ConfigDict

from jaxtl.config import choose
from jaxtl.config.flags import load_config

DENSENET161 = pathlib.Path(__file__).with_name("densenet161.py")


def get_config(recipe: str = "replica") -> ConfigDict:
    """Study A's frozen DenseNet-161 with step decay: what differs from the one without."""
    config = ConfigDict(load_config(f"{DENSENET161}:{recipe}"))
    config.name = f"densenet161_steplr on CIFAR-10 (study A, {recipe})"
    config.phases[0].update(epochs=15)
    if choose(recipe, {"replica": True, "best": False}):
        config.phases[0].update(schedule="step", step_epochs=5, step_factor=0.1)
    return config

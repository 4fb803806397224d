"""Study A: `densenet161.py` for 15 epochs, with a learning rate that falls in steps.

| | |
|---|---|
| Reported | about 93 % test accuracy |
| Ours | not measured: the weights were not at hand |
| Command | `python -m jaxtl.main --config configs/densenet161_steplr.py --workdir runs/densenet161_steplr` |
| `best` | `python -m jaxtl.main --config configs/densenet161_steplr.py:best --workdir runs/densenet161_steplr_best` |

| | `replica`, the study's recipe | `best`, ours |
|---|---|---|
| All but the schedule | as in `densenet161.py` | as in `densenet161.py:best` |
| Optimizer | Adamax at 1e-3, a tenth of it after every 5 epochs | Adamax at 1e-3, cosine to zero |
| Expected | about 93 %, the study's figure | 93 % to 94.07 %, the figure of the weights' own head |
"""

from ml_collections import ConfigDict

from jaxtl.config import choose

from . import densenet161


def get_config(recipe: str = "replica") -> ConfigDict:
    """Study A's frozen DenseNet-161 with step decay: what differs from the one without."""
    config = densenet161.get_config(recipe)
    config.name = f"densenet161_steplr on CIFAR-10 (study A, {recipe})"
    config.phases[0].update(epochs=15)
    if choose(recipe, {"replica": True, "best": False}):
        config.phases[0].update(schedule="step", step_epochs=5, step_factor=0.1)
    return config

"""Study A: a DenseNet-161 that was trained on CIFAR-10, frozen, with a new linear layer.

Reported: about 93 % test accuracy after 5 epochs.
Ours: not measured: the weights were not at hand.

The weights are those of the "PyTorch_CIFAR10" zoo, from scratch at 32 pixels. Where its archive cannot be downloaded,
--config.model.weights=PATH takes its file densenet161.pt, or any other file of this network. The zoo gives 94.07 % for
its own head, at the best epoch by test accuracy, and over 9,984 of the 10,000 images. It has trained on every image
that could be held out here, which are therefore no judge: in both recipes the last epoch counts, and no image is held
out.

replica: the study's recipe: a new linear layer in place of the old one alone trains, on all 50,000 training images in
batches of 128, normalised with the study's figures; random mirror, 4-pixel pad and crop; Adamax at 1e-3. Every view is
drawn anew, so that the backbone runs in each epoch. The study does not say what batch norm does while frozen; here it
stays in inference mode (--config.phases.0.frozen_batch_norm=train lets it drift). Expected: about 93 %, the study's
figure.

    python -m jaxtl.main --config configs/densenet161.py --workdir runs/densenet161

best: no augmentation, so that the backbone runs once per image; the normalisation that the weights were trained with,
which the study's is not; cosine to zero. Expected: between the study's 93 % and the zoo's 94.07 %.

    python -m jaxtl.main --config configs/densenet161.py:best --workdir runs/densenet161_best
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

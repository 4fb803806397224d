"""Study C: a ResNet-50 trained on ImageNet, at 224 pixels on CIFAR-10, unfrozen in two steps.

| | |
|---|---|
| Reported | 94 % test accuracy, 50 s of training |
| Ours | not measured: the ImageNet weights were not at hand |
| Command | `python -m jaxtl.main --config configs/resnet50_gradual.py --workdir runs/resnet50_gradual` |
| `best` | `python -m jaxtl.main --config configs/resnet50_gradual.py:best --workdir runs/resnet50_gradual_best` |

| | `replica`, the study's recipe | `best`, ours |
|---|---|---|
| Network | linear head behind dropout of 0.5 | linear head |
| Images | enlarged to 224 x 224 | the same |
| Augmentation | none | random mirror, 4-pixel pad and crop before the images are enlarged |
| What trains | the head for 2 epochs, then stages 3 and 4 too for 3 | the head for 1, then everything for 4 (LP-FT) |
| Optimizer | SGD at 0.01, batches of 32 | SGD at 0.01, Nesterov momentum 0.9; warm-up, cosine to zero |
| Epoch tested | lowest validation loss; a phase ends after one epoch without improvement | lowest validation loss |
| Expected | about 94 %, the study's figure | about 97.5 %, known for a fine-tuned ImageNet ResNet-50 in more epochs |

- The study gives 224 pixels, the head first, then the last 90 of Keras's 175 layers, five epochs in all, SGD,
  early stopping on the validation loss and the best weights restored. Those 90 layers begin in the middle of the first
  block of stage 3, so stages 3 and 4 train here.
- As in Keras, the batch norm of frozen layers stays in inference mode; that of the others is trained.
- Where the study gives no value, Keras's default is used: learning rate 0.01 without momentum, batches of 32, early
  stopping after the first epoch without improvement. Ours are the two and three epochs, the dropout, a tenth of the
  images to validate, and no augmentation.
- Network and weights are those of Keras Applications, with their mean and standard deviation.
"""

from ml_collections import ConfigDict

from jaxtl.config import choose, default_config
from jaxtl.transfer.plans import gradual
from jaxtl.weights import card_for

from .resnet18 import head_first


def get_config(recipe: str = "replica") -> ConfigDict:
    """Study C's ResNet-50, by its own recipe or by ours."""
    config = default_config()
    config.name = f"resnet50_gradual on CIFAR-10 (study C, {recipe})"
    config.reported = "94 %, 50 s of training"
    config.model.name = "resnet50_v1"
    config.model.weights = "imagenet1k_keras"
    config.data.size = 224
    card = card_for(config.model.name, config.model.weights)
    config.data.mean, config.data.std = card.mean, card.std
    config.data.validation = 0.1
    choose(recipe, {"replica": replica, "best": best})(config)
    return config


def replica(config: ConfigDict) -> None:
    """The study's recipe, with Keras's defaults where it is silent."""
    config.model.options = {"head": {"input_dropout": 0.5}}
    config.batch_size = 32
    config.phases = gradual(
        [("head",), ("stage3", "stage4")], (2, 3), optimizer="sgd", momentum=0.0, learning_rate=0.01, patience=1
    )


def best(config: ConfigDict) -> None:
    """The head first, then everything, with momentum, augmentation and a falling learning rate."""
    config.batch_size = 128
    config.phases = head_first(1, 4, warmup_epochs=0.5)

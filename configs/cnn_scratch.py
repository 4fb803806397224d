"""Study C: a small CNN from scratch on CIFAR-10, 18 epochs: the baseline of the study's transferred ResNet-50.

| | |
|---|---|
| Reported | 80.7 % test accuracy, 765 s of training |
| Ours | 86.77 % (95 % interval 86.09 to 87.42), loss 0.399 |
| Measured with | seed 0, AMD EPYC, 2 cores shared with other work, 28 min 8 s of training |
| Command | `python -m jaxtl.main --config configs/cnn_scratch.py --workdir runs/cnn_scratch` |

| | |
|---|---|
| Network | conv 3x3, batch norm, ReLU (32; 64, 64; 128, 128), max-pool by group; dense 128, dropout 0.3, 10 |
| Augmentation | random mirror, 4-pixel pad and crop |
| Optimizer | AdamW at 2e-3, weight decay 0.05, batches of 128; 2 epochs of warm-up, cosine to zero |
| Epoch tested | lowest validation loss, on a tenth of the training images |

- The study gives only the number of epochs: network and recipe are ours.
- The test of 10,000 images takes 7.9 s.
"""

from ml_collections import ConfigDict

from jaxtl.config import default_config

from .bn_cnn import adamw


def get_config() -> ConfigDict:
    """Study C's CNN from scratch."""
    config = default_config()
    config.name = "cnn_scratch on CIFAR-10 (study C)"
    config.reported = "80.7 %; 765 s of training"
    config.model.name = "bn_cnn"
    config.model.options = {
        "blocks": ((32,), (64, 64), (128, 128)),
        "hidden": (128,),
        "norm": "after_conv",
        "dropout": 0.3,
    }
    config.data.mean = (0.4914, 0.4822, 0.4465)
    config.data.std = (0.2470, 0.2435, 0.2616)
    config.data.validation = 0.1
    config.batch_size = 128
    config.phases = (adamw(18),)
    return config

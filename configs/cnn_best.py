"""Study A: the CNN of `cnn.py` with the same number of epochs, by our own recipe.

| | |
|---|---|
| Reported | about 75 % test accuracy, by the study's recipe |
| Ours | 79.95 % (95 % interval 79.15 to 80.72), loss 0.584 |
| Measured with | seed 0, AMD EPYC, 2 cores shared with other work, 6 min 21 s of training |
| Command | `python -m jaxtl.main --config configs/cnn_best.py --workdir runs/cnn_best` |

| What differs from `cnn.py` | |
|---|---|
| Images | normalised per channel; 2 % of the training images are held out to monitor training |
| Augmentation | crops from 2 pixels of padding: at 4 the network underfits |
| Optimizer | SGD at 0.05, Nesterov momentum 0.9, weight decay 5e-4, batches of 64; 2 warm-up epochs, cosine to zero |

- The test of 10,000 images takes 0.74 s.
"""

from ml_collections import ConfigDict

from jaxtl.config import default_config, phase


def get_config() -> ConfigDict:
    """Study A's network by our own recipe."""
    config = default_config()
    config.name = "cnn on CIFAR-10 (study A, best)"
    config.reported = "~75 %"
    config.model.name = "cnn"
    config.data.mean = (0.4914, 0.4822, 0.4465)
    config.data.std = (0.2470, 0.2435, 0.2616)
    config.data.validation = 0.02
    config.batch_size = 64
    config.phases = (
        phase(
            epochs=20,
            optimizer="sgd",
            nesterov=True,
            learning_rate=0.05,
            schedule="cosine",
            warmup_epochs=2,
            weight_decay=5e-4,
            flip=True,
            crop=2,
            keep="last",
        ),
    )
    return config

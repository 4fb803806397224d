"""Study A's CNN, same network and number of epochs, by our own recipe.

Reported by the study for its own recipe: about 75 % test accuracy.
Ours: 79.95 % (95 % interval 79.15 to 80.72), loss 0.584; seed 0, AMD EPYC, 2 cores shared with other work,
6 min 21 s of training, 0.74 s for the 10,000 test images.

What differs from configs/cnn.py: SGD with Nesterov momentum 0.9 at 0.05 with two epochs of warm-up, then cosine to
zero; weight decay 5e-4; batches of 64; crops from 2 pixels of padding, since the network underfits at 4 (train
accuracy stays below validation accuracy); per-channel normalisation. 2 % of the training images are held out to watch
the curves by.

    python -m jaxtl.main --config configs/cnn_best.py --workdir runs/cnn_best
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

from ml_collections import ConfigDict

from jaxtl.config import default_config, phase


def get_config() -> ConfigDict:
    config = default_config()
    config.name = "cnn on CIFAR-10 (study A, best)"
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

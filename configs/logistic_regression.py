from ml_collections import ConfigDict

from jaxtl.config import default_config, phase


def get_config() -> ConfigDict:
    config = default_config()
    config.name = "Logistic regression on CIFAR-10 (study B)"
    config.model.name = "logistic_regression"
    config.data.mean = (0.4914, 0.4822, 0.4465)
    config.data.std = (0.2470, 0.2435, 0.2616)
    config.data.validation = 0.1
    config.batch_size = 512
    config.phases = (
        phase(
            epochs=30,
            optimizer="sgd",
            learning_rate=0.01,
            schedule="cosine",
            weight_decay=0.01,
            flip=True,
            keep="last",
        ),
    )
    return config

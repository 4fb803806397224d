from ml_collections import ConfigDict

from jaxtl.config import default_config, phase


def get_config() -> ConfigDict:
    config = default_config()
    config.name = "cnn on CIFAR-10 (study A, replica)"
    config.model.name = "cnn"
    config.data.mean = (0.5, 0.5, 0.5)
    config.data.std = (0.5, 0.5, 0.5)
    config.data.validation = 0.0
    config.batch_size = 128
    config.phases = (phase(epochs=20, optimizer="adam", learning_rate=1e-3, flip=True, crop=4, keep="last"),)
    return config

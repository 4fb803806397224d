from ml_collections import ConfigDict

from jaxtl.config import default_config, phase


def get_config() -> ConfigDict:
    config = default_config()
    config.name = "custom_cnn on CIFAR-10 (study B)"
    config.model.name = "custom_cnn"
    config.data.mean = (0.4914, 0.4822, 0.4465)
    config.data.std = (0.2470, 0.2435, 0.2616)
    config.data.validation = 0.1
    config.batch_size = 128
    config.phases = (phase(epochs=10, optimizer="adam", learning_rate=1e-3, flip=True, keep="best"),)
    return config

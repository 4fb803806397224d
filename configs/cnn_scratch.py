from ml_collections import ConfigDict

from jaxtl.config import default_config, phase


def get_config() -> ConfigDict:
    config = default_config()
    config.name = "cnn_scratch on CIFAR-10 (study C)"
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
    config.phases = (
        phase(
            epochs=18,
            optimizer="adamw",
            learning_rate=2e-3,
            schedule="cosine",
            warmup_epochs=2,
            weight_decay=0.05,
            flip=True,
            crop=4,
            keep="best",
        ),
    )
    return config

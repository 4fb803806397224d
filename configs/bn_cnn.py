from ml_collections import ConfigDict

from jaxtl.config import default_config, phase

NINE_CLASSES = ("airplane", "bird", "car", "cat", "deer", "dog", "horse", "ship", "truck")


def get_config() -> ConfigDict:
    config = default_config()
    config.name = "bn_cnn on nine classes of CIFAR-10 (study D)"
    config.model.name = "bn_cnn"
    config.data.classes = ("airplane", "bird", "automobile", "cat", "deer", "dog", "horse", "ship", "truck")
    config.data.mean = (0.4914, 0.4822, 0.4465)
    config.data.std = (0.2470, 0.2435, 0.2616)
    config.data.validation = 0.1
    config.batch_size = 128
    config.phases = (
        phase(
            epochs=30,
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

"""x"""

from ml_collections import ConfigDict

from jaxtl.config import default_config, phase

DIGITS = tuple("0123456789")


def get_config() -> ConfigDict:
    """Transfer from 0-4 to 5-9, against the same net from scratch."""
    config = default_config()
    config.name = "Digits 5-9 from five labels a class"
    config.data.name = "digits"
    config.data.classes = DIGITS[5:]
    config.data.per_class = 5
    config.data.validation = 0.0
    config.model.name = "cnn"
    config.model.weights = "source"
    config.batch_size = 25
    common = {"optimizer": "adam", "learning_rate": 1e-3, "keep": "last"}
    config.phases = (
        phase(train=("head",), epochs=60, **common),
        phase(train=("all",), epochs=60, **common),
    )
    config.source.data = {"classes": DIGITS[:5], "per_class": 0, "validation": 0.2}
    config.source.batch_size = 64
    config.source.phases = (phase(epochs=20),)
    config.baselines.scratch = {"model": {"weights": ""}, "phases": (phase(epochs=120, **common),)}
    return config

"""Networks as pure functions of their variables.

This package imports neither data nor training, so that a layer can be lifted out of it.
"""

from jaxtl.models.classifier import Classifier
from jaxtl.models.fold import fold_batch_norm
from jaxtl.models.registry import build_model, list_models, model_options, native_size, option_types, register_model

__all__ = [
    "Classifier",
    "build_model",
    "fold_batch_norm",
    "list_models",
    "model_options",
    "native_size",
    "option_types",
    "register_model",
]

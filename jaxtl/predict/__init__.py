"""Finished runs asked about image files: ``python -m jaxtl.predict --run DIR IMAGE ...``."""

from jaxtl.predict.files import Predictions, predict

__all__ = ["Predictions", "predict"]

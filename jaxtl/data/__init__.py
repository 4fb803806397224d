"""Data sets as values: uint8 images, int32 labels and class names in memory."""

from jaxtl.data.catalogue import load_dataset
from jaxtl.data.dataset import Dataset

__all__ = ["Dataset", "load_dataset"]

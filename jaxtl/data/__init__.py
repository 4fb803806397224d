"""Data sets as values: uint8 images, int32 labels and class names."""

from jaxtl.data.catalogue import load_dataset
from jaxtl.data.dataset import Dataset
from jaxtl.data.reading import Reading

__all__ = ["Dataset", "Reading", "load_dataset"]

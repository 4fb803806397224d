"""Data sets as values: uint8 images, int32 labels and class names."""

from jaxtl.data.catalogue import load_dataset
from jaxtl.data.dataset import Dataset
from jaxtl.data.options import ImageOptions

__all__ = ["Dataset", "ImageOptions", "load_dataset"]

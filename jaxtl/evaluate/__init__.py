"""A finished run tested on another data set, split or image size: ``python -m jaxtl.evaluate --run DIR``."""

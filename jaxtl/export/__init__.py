"""A finished run taken elsewhere: ``python -m jaxtl.export --run DIR``."""

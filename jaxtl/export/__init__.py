"""Export of finished runs: ``python -m jaxtl.export --run DIR``."""

"""Search of hyperparameters over Optuna: ``python -m jaxtl.search --config configs/X.py [--space NAME=RANGE …]``."""

import importlib.util

if importlib.util.find_spec("optuna"):  # an extra: the command says so where it is missing
    from jaxtl.search.space import Space

__all__ = ["Space"]

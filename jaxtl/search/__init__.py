"""Search of hyperparameters over Optuna: ``python -m jaxtl.search --config configs/X.py [--space NAME=RANGE …]``."""

import importlib.util

HAS_OPTUNA = importlib.util.find_spec("optuna") is not None  # an extra: the command says so where it is missing
if HAS_OPTUNA:
    from jaxtl.search.space import Space

__all__ = ["Space"]

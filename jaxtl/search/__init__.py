"""Search of hyperparameters: ``python -m jaxtl.search --config configs/X.py``.

A config file describes what is searched in ``get_space()``; see `jaxtl.search.space`. Trials are judged on validation
images, never on test images; the best one is trained anew and tested once.
"""

from jaxtl.search.space import Choice, Integers, LogUniform, Space, Uniform

__all__ = ["Choice", "Integers", "LogUniform", "Space", "Uniform"]

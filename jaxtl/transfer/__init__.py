"""Transfer plans: which stages train, in which order, by which recipe."""

from jaxtl.transfer.partition import merge, split
from jaxtl.transfer.phases import Phase, trained_stages

__all__ = ["Phase", "merge", "split", "trained_stages"]

"""Transfer plans: which stages train, in which order, by which recipe."""

from jaxtl.transfer.phases import Phase
from jaxtl.transfer.plans import discriminative_rates, fine_tune, from_scratch, gradual, linear_probe, lp_ft

__all__ = ["Phase", "discriminative_rates", "fine_tune", "from_scratch", "gradual", "linear_probe", "lp_ft"]

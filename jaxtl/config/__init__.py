"""Configs: fields, files, flags, checks."""

from jaxtl.config.build import choose, default_config, phase, variants, with_defaults
from jaxtl.config.checks import check, raise_problems
from jaxtl.config.fields import BASELINES, SOURCE

__all__ = [
    "BASELINES",
    "SOURCE",
    "check",
    "choose",
    "default_config",
    "phase",
    "raise_problems",
    "variants",
    "with_defaults",
]

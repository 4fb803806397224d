"""Configs: fields, files, flags, checks."""

from jaxtl.config.build import choose, default_config, kept_config, phase, repeats, variants, with_defaults
from jaxtl.config.checks import check, raise_problems
from jaxtl.config.fields import BASELINES, SOURCE

__all__ = [
    "BASELINES",
    "SOURCE",
    "check",
    "choose",
    "default_config",
    "kept_config",
    "phase",
    "raise_problems",
    "repeats",
    "variants",
    "with_defaults",
]

"""Configs: fields, files, flags, checks."""

from jaxtl.config.checks import (
    SOURCE,
    check,
    choose,
    default_config,
    phase,
    raise_problems,
    variants,
    with_defaults,
)

__all__ = ["SOURCE", "check", "choose", "default_config", "phase", "raise_problems", "variants", "with_defaults"]

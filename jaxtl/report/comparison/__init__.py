"""Runs beside each other: a run and its baselines for the run's own report, or any finished runs for a page of theirs.

``paired`` tests two runs on the same images. ``baselines`` compares a run with its baselines.
"""

from jaxtl.report.comparison.baselines import Arm, by_labels, compare

__all__ = ["Arm", "by_labels", "compare"]

"""The report: what a run found, as numbers with their uncertainty, figures and one page to read.

``statistics`` counts, ``plots`` draws, ``html`` writes the page and ``tensorboard`` the event files. The package knows
neither models nor training: it takes NumPy arrays and plain mappings, so any classifier can use it.
"""

"""The report: what a run found, as numbers with their uncertainty, figures and one page to read.

``statistics`` counts, ``plots`` draws, ``html`` writes the report of a run, ``comparison_page`` that of several.
"""

"""Faults done to jaxtl on purpose, and what it makes of them: ``python -m tests.faults`` writes docs/reliability.md."""

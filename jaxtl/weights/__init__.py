"""Pretrained weights: where they come from, how they are read, and what they are called here."""

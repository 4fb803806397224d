"""Run folders: write them, read them, predict and evaluate with them."""

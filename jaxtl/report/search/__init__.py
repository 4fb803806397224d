"""A search of hyperparameters: its table on the screen and in files, its charts, its page."""

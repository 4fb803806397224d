"""Run folders: written, read, asked."""

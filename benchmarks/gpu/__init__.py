"""Everything that only a GPU can show, in one command: `benchmarks/README.md` tells how to run it."""

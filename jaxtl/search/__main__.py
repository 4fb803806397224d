"""``python -m jaxtl.search --config configs/X.py [--space NAME=DISTRIBUTION ...]``: search of hyperparameters."""

import sys
from collections.abc import Sequence

import jaxtl.search
from jaxtl.errors import UserError
from jaxtl.runtime.command import command


def search(argv: Sequence[str]) -> None:
    """Search as the arguments say; it needs Optuna."""
    if not jaxtl.search.HAS_OPTUNA:
        raise UserError("The search of hyperparameters needs Optuna; run pip install 'jaxtl[search]'.")
    from jaxtl.search.command import search as run_search

    run_search(argv)


main = command(search, resumes=True)

if __name__ == "__main__":
    sys.exit(main())

"""``python -m jaxtl.search --config configs/X.py [--space NAME=DISTRIBUTION ...]``: search of hyperparameters."""

import sys
from collections.abc import Sequence

import jaxtl.search
from jaxtl.errors import UserError
from jaxtl.runtime.command import exit_status
from jaxtl.runtime.cpu import use_fast_cpu_lowerings


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; 0 if all went well, 2 for a user error, 128 + N after signal N."""
    use_fast_cpu_lowerings()
    return exit_status(lambda: _search(sys.argv[1:] if argv is None else argv), resumes=True)


def _search(argv: Sequence[str]) -> int:
    if not jaxtl.search.HAS_OPTUNA:
        raise UserError("The search of hyperparameters needs Optuna; run pip install 'jaxtl[search]'.")
    from jaxtl.search.command import search

    return search(argv)


if __name__ == "__main__":
    sys.exit(main())

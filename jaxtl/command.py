"""What commands that train share: libraries that are kept quiet, and how errors and signals become an exit status."""

import logging
import sys
import threading
from collections.abc import Callable

from jaxtl.errors import UserError
from jaxtl.train.interrupt import Interrupted


def exit_status(work: Callable[[], object]) -> int:
    """Do the work; 0 if all went well, 2 for a mistake that a person can mend, 128 + N after signal N."""
    _quiet_threads()
    try:
        work()
    except Interrupted as stopped:
        print(stopped, file=sys.stderr)
        return 128 + (stopped.stop.signal or 0)
    except KeyboardInterrupt:
        print("Stopped at once; the same command goes on from the last checkpoint.", file=sys.stderr)
        return 130
    except UserError as error:
        print(f"jaxtl: {error}", file=sys.stderr)
        return 2
    return 0


def _quiet_threads() -> None:
    """Keep what libraries say of their own threads off the screen: what matters of it arrives as an exception too."""
    for name in ("absl", "orbax", "asyncio"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    sys.unraisablehook = lambda error: None
    threading.excepthook = lambda error: None

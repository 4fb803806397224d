"""The JSON files of a run, read back with care: what is wrong with one is told in a sentence."""

import contextlib
import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jaxtl.errors import UserError


def read_object(path: Path) -> dict[str, Any]:
    """The object in a JSON file.

    Raises:
      OSError: it cannot be read.
      ValueError: it holds no JSON object.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except RecursionError as error:
        raise ValueError("its JSON is nested too deeply") from error
    if not isinstance(content, dict):
        raise ValueError("it is no JSON object")
    return content


@contextlib.contextmanager
def damage_explained(path: Path) -> Iterator[None]:
    """Turn what goes wrong while a file of a run is read into a sentence.

    Raises:
      UserError: for a missing key, a file that cannot be read, and values of the wrong kind.
    """
    try:
        yield
    except UserError:
        raise
    except KeyError as error:
        raise damaged(path, f"it has no {error}") from error
    except OSError as error:
        raise damaged(path, error.strerror or str(error)) from error
    except (ValueError, TypeError, AttributeError, csv.Error) as error:
        raise damaged(path, str(error)) from error


def damaged(path: Path, what: str) -> UserError:
    """The error for a file that cannot be used, and the way out."""
    return UserError(
        f"{path} cannot be used ({what}): it is damaged or of another version; restore it, run the experiment again in "
        "a new folder, or leave this run out."
    )

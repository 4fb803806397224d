"""Fixtures that the tests of several rooms share."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def cifar10_dir() -> Path:
    """The folder that holds the real ``cifar-10-batches-py``: ``$JAXTL_DATA``, else ``data`` in the repository."""
    folder = Path(os.environ.get("JAXTL_DATA") or Path(__file__).parents[1] / "data")
    if not (folder / "cifar-10-batches-py").is_dir():
        pytest.skip(f"no cifar-10-batches-py in {folder}: set JAXTL_DATA to the folder that holds it")
    return folder

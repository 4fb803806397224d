"""Read numpy's own files of several arrays."""

import zipfile
from pathlib import Path

import numpy as np

from jaxtl.weights.formats import damaged


def read_npz(path: Path) -> dict[str, np.ndarray] | None:
    """The arrays of a file that ``numpy.savez`` wrote, by name; ``None`` if it is another file.

    Raises:
      UserError: if it is damaged, holds Python objects, or would swell far beyond its size.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError, OSError):
        return None
    if not entries or not all(entry.filename.endswith(".npy") for entry in entries):
        return None
    if (needed := sum(entry.file_size for entry in entries)) > 4 * path.stat().st_size + 2**20:
        raise damaged(str(path), f"its arrays would take {needed:,} bytes")
    try:
        with np.load(path, allow_pickle=False) as content:
            return {name: content[name] for name in content.files}
    except Exception as error:  # a damaged header raises all kinds
        raise damaged(str(path), str(error) or type(error).__name__) from error

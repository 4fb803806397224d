"""Which files of a streamed data set could be decoded before: a start need not decode them all again."""

import contextlib
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jaxtl.runtime.files import cache_dir, write_whole


class DecodeCache:
    """What was found about the files of a folder, kept in the cache folder; it counts while a file is unchanged.

    A lost or damaged cache costs a pass over the files and nothing else. Files that could not be decoded are not in it:
    the fault may be one of the disk, which passes.
    """

    def __init__(self, root: Path, how: str) -> None:
        """The cache for the folder ``root``, whose images are decoded as ``how`` says."""
        name = hashlib.sha256(f"{root.resolve()}\n{how}".encode(errors="surrogateescape")).hexdigest()[:32]
        self._root, self._path, self._changed = root, cache_dir() / "folders" / f"{name}.json", False
        found: Any = {}
        with contextlib.suppress(OSError, ValueError, RecursionError):
            found = json.loads(self._path.read_text())
        self._entries: dict[str, Any] = found if isinstance(found, dict) else {}

    def get(self, name: str, file: str) -> tuple[bytes, int, int] | None:
        """(digest, height, width) of the image ``name`` in ``file``, or ``None`` where it must be decoded."""
        try:
            stamp, digest, height, width = self._entries[name]
            found = bytes.fromhex(digest), int(height), int(width)
        except (KeyError, ValueError, TypeError):
            return None
        return found if stamp == self._stamp(file) else None

    def put(self, name: str, file: str, digest: bytes, size: Sequence[int]) -> None:
        """Remember an image, ``size`` of which is its (height, width) before it was resized."""
        self._entries[name] = [self._stamp(file), digest.hex(), *size]
        self._changed = True

    def save(self) -> None:
        """Write the cache; a full disk does not stop the run."""
        if self._changed:
            with contextlib.suppress(OSError):
                write_whole(self._path, json.dumps(self._entries))

    def _stamp(self, file: str) -> str:
        """What changes when a file does."""
        try:
            status = (self._root / file).stat()
        except OSError:
            return ""
        return f"{status.st_size} {status.st_mtime_ns}"

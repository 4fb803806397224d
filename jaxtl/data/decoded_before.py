"""Which files of a streamed folder were found decodable before: a start need not decode them all again."""

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path

from jaxtl.runtime.files import cache_dir


class DecodedBefore:
    """Verdicts on the files of a folder, kept in the cache folder; one counts as long as its file is unchanged.

    A lost or damaged record costs a pass over the files and nothing else.
    """

    def __init__(self, root: Path, how: str, file_of: Callable[[str], str] = str) -> None:
        """The record of the folder ``root``, whose images are decoded as ``how`` says.

        Args:
          root: the folder.
          how: what a verdict depends on beside the file.
          file_of: gives the file, relative to the root, in which the image of a name lies; the name itself by default.
        """
        name = hashlib.sha256(f"{root.resolve()}\n{how}".encode(errors="surrogateescape")).hexdigest()[:32]
        self._root, self._path = root, cache_dir() / "folders" / f"{name}.json"
        try:
            found = json.loads(self._path.read_text())
        except (OSError, ValueError):
            found = {}
        known = found.items() if isinstance(found, dict) else ()
        self._verdicts = {name: verdict for name, verdict in known if _is_verdict(verdict)}
        self._file_of, self._changed = file_of, False

    def get(self, path: str) -> tuple[bytes, str] | None:
        """(digest, fault) of a file, or ``None`` where it must be looked at."""
        verdict = self._verdicts.get(path)
        if verdict is None or verdict[0] != self._stamp(path):
            return None
        return bytes.fromhex(verdict[1]), verdict[2]

    def put(self, path: str, digest: bytes, fault: str) -> None:
        """Remember a file."""
        self._verdicts[path] = (self._stamp(path), digest.hex(), fault)
        self._changed = True

    def save(self) -> None:
        """Write the record, whole or not at all; a full disk is no reason to stop."""
        if not self._changed:
            return
        draft = self._path.with_suffix(f".{os.getpid()}")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            draft.write_text(json.dumps(self._verdicts))
            draft.replace(self._path)
        except OSError:
            draft.unlink(missing_ok=True)

    def _stamp(self, path: str) -> str:
        """What changes when a file does."""
        try:
            status = (self._root / self._file_of(path)).stat()
        except OSError:
            return ""
        return f"{status.st_size} {status.st_mtime_ns}"


def _is_verdict(value: object) -> bool:
    return isinstance(value, list) and len(value) == 3 and all(isinstance(part, str) for part in value)

"""Features kept on disk, for all runs that share backbone, images and preprocessing with the one that computed them."""

import contextlib
import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from jaxtl.runtime.files import file_lock, read_object, write_whole
from jaxtl.runtime.interrupts import Interrupted, StopFlag
from jaxtl.train.checkpoint import digest

_EXTRA = 1024  # bytes that a file takes at most beyond its features
_POLL_S = 0.5  # how often a process that waits for another looks whether that is done


class FeatureStore:
    """A folder of features that several processes may share; the least recently used go first.

    ``KEY.npy`` holds features, ``KEY.json`` their digest and the time they took. The key is a digest of all that the
    features depend on. A lost or damaged file costs a pass of the backbone and nothing else, and so does a full disk.

    Args:
      folder: it is made when something is saved.
      most_bytes: what all features together may take.
    """

    def __init__(self, folder: Path, most_bytes: float) -> None:
        self.most_bytes = most_bytes
        self._folder, self._claimed = folder, 0

    def claim(self, nbytes: int, files: int) -> bool:
        """Whether features fit beside all that were claimed before; only these may be saved.

        A run that saved more than that would remove in each run what the next one asks for.
        """
        needed = self._claimed + nbytes + files * _EXTRA
        if needed > self.most_bytes:
            return False
        self._claimed = needed
        return True

    @contextlib.contextmanager
    def lock(self, key: str, stop: StopFlag, on_wait: Callable[[], None]) -> Iterator[None]:
        """A context in which no other process computes these features; ``on_wait`` is called while one does.

        Raises:
          Interrupted: if a stop was asked for while another process computed them.
        """
        with contextlib.ExitStack() as stack:
            waits = True
            while waits:
                try:
                    stack.enter_context(file_lock(self._folder / f"{key}.lock", wait=False))
                    waits = False
                except BlockingIOError:
                    if stop:
                        raise Interrupted(stop, "while another process computed the same features") from None
                    on_wait()
                    time.sleep(_POLL_S)
                except OSError:  # a folder that can only be read, or a file system without locks: then without
                    waits = False
            yield

    def load(self, key: str) -> tuple[np.ndarray, float] | None:
        """Features float32 ``[N, F]``, read from disk as they are used, and the seconds of a pass; ``None`` if lost."""
        path = self._folder / f"{key}.npy"
        with contextlib.suppress(Exception):  # a damaged header raises all kinds, and the digest guards the rest
            note = read_object(path.with_suffix(".json"))
            features = np.load(path, mmap_mode="r")
            if digest({"features": features}) == note["digest"]:
                pass_s = float(note["pass_s"])
                with contextlib.suppress(OSError):  # a folder that can only be read, or the file is gone by now
                    os.utime(path)  # the oldest go first
                return features, pass_s
        return None

    def save(self, key: str, features: np.ndarray, pass_s: float) -> None:
        """Keep features that took ``pass_s`` seconds a pass; call it under their lock."""
        path, draft = self._folder / f"{key}.npy", self._folder / f"{key}.partial"
        note = {"digest": digest({"features": features}), "pass_s": pass_s}
        with contextlib.suppress(OSError), file_lock(self._folder / "store.lock"):
            self._make_room(features.nbytes + _EXTRA)
            with draft.open("wb") as file:
                np.save(file, features)
            draft.replace(path)
            write_whole(path.with_suffix(".json"), json.dumps(note))

    def _make_room(self, nbytes: int) -> None:
        """Remove what killed processes left, and the least recently used until so many bytes fit.

        It is called under the lock of the store, so that no other process writes.
        """
        found = []
        for path in self._folder.iterdir():
            with contextlib.suppress(OSError):  # others may remove files, too
                if path.suffix == ".partial":
                    path.unlink()
                elif path.suffix == ".npy":
                    status = path.stat()
                    found.append((status.st_mtime, status.st_size, path))
        taken = sum(size for _, size, _ in found)
        for _, size, path in sorted(found):
            if taken + nbytes <= self.most_bytes:
                return
            path.unlink(missing_ok=True)
            path.with_suffix(".json").unlink(missing_ok=True)
            taken -= size

"""Features kept on disk, for all runs that share backbone, images and preprocessing with the one that computed them."""

import contextlib
import json
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from jaxtl.runtime.files import file_lock, read_object, write_whole
from jaxtl.runtime.interrupts import Interrupted, StopFlag
from jaxtl.train.checkpoint import digest

_POLL_S = 0.5  # how often a process that waits for another looks whether that is done


class FeatureStore:
    """A folder of features that several processes may share; what was not used for longest goes first.

    ``KEY.npy`` holds features, ``KEY.json`` their digest and the time they took. The key is a digest of all that the
    features depend on. A lost or damaged file costs a pass of the backbone and nothing else, and so does a full disk.

    Args:
      folder: it is made when something is saved.
      most_bytes: what all features together may take.
    """

    def __init__(self, folder: Path, most_bytes: float) -> None:
        self._folder, self._most_bytes = folder, most_bytes

    @contextlib.contextmanager
    def lock(self, key: str, stop: StopFlag) -> Iterator[None]:
        """A context in which no other process computes these features.

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
                    time.sleep(_POLL_S)
                except OSError:  # a folder that can only be read, or a file system without locks: then without
                    waits = False
            yield

    def load(self, key: str) -> tuple[np.ndarray, float] | None:
        """Features float32 ``[N, F]``, read from disk as they are used, and the seconds of a pass; ``None`` if lost."""
        path = self._folder / f"{key}.npy"
        with contextlib.suppress(OSError, ValueError, EOFError, KeyError, TypeError):
            note = read_object(path.with_suffix(".json"))
            features = np.load(path, mmap_mode="r")
            if digest({"features": features}) == note["digest"]:
                pass_s = float(note["pass_s"])
                path.touch()  # the oldest go first
                return features, pass_s
        return None

    def save(self, key: str, features: np.ndarray, pass_s: float) -> None:
        """Keep features that took ``pass_s`` seconds a pass; call it under the lock."""
        if features.nbytes > self._most_bytes:
            return
        path, draft = self._folder / f"{key}.npy", self._folder / f"{key}.partial"
        with contextlib.suppress(OSError):
            self._make_room(features.nbytes)
            with draft.open("wb") as file:
                np.save(file, features)
            draft.replace(path)
            note = {"digest": digest({"features": features}), "pass_s": pass_s}
            write_whole(path.with_suffix(".json"), json.dumps(note).encode())

    def _make_room(self, nbytes: int) -> None:
        """Remove what was not used for longest, and what killed processes left, until so many bytes fit."""
        found = [(path, path.stat()) for path in self._folder.iterdir() if path.suffix in (".npy", ".partial")]
        taken = sum(status.st_size for _, status in found)
        for path, status in sorted(found, key=lambda each: each[1].st_mtime):
            if taken + nbytes <= self._most_bytes:
                return
            path.unlink(missing_ok=True)
            path.with_suffix(".json").unlink(missing_ok=True)
            taken -= status.st_size

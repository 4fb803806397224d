"""Compiled programs are kept: JAX's persistent compilation cache, in the cache folder.

The key holds the program, the versions of JAX and XLA, the device and the compiler's flags, so that a program is never
used where it does not belong. A second start of the same run still traces its programs, but compiles none of them.
"""

import contextlib
import os
import stat
from pathlib import Path

import jax
from jax.experimental.compilation_cache import compilation_cache

from jaxtl.errors import UserError
from jaxtl.runtime.command import tell
from jaxtl.runtime.files import cache_dir, file_lock

MOST_BYTES = 4 << 30  # the least recently used are removed first
_WORTH_KEEPING_S = 0.1


def keep_compiled() -> None:
    """Switch the cache on, in ``compiled`` of the cache folder, unless JAX has another one.

    ``JAX_COMPILATION_CACHE_DIR`` names another folder, ``JAX_ENABLE_COMPILATION_CACHE=0`` switches it off. What lies
    there will be run, so a folder that other users can write into is not used.
    """
    if jax.config.jax_compilation_cache_dir:  # type: ignore[attr-defined]  # set by name at run time
        return
    try:
        folder = cache_dir() / "compiled"
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
        others = _written_by_others(folder)
        if others is None:
            _remove_unfinished(folder)
    except (OSError, UserError):  # a read-only home, or none: then without
        return
    if others:
        tell(
            f"Compiled programs are neither kept nor used: other users can write to {others}; delete {folder}, or set "
            "JAXTL_CACHE to a folder of your own."
        )
        return
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_compilation_cache_max_size", MOST_BYTES)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", _WORTH_KEEPING_S)
    compilation_cache.reset_cache()  # it looks at its options once, and something may have been compiled already


def _remove_unfinished(folder: Path) -> None:
    """Remove programs whose writing was cut short, by a kill or a full disk.

    JAX writes a program, then a file with the time of its last use. It keeps a program without that file for ever, and
    warns at every compilation that it cannot write others beside it.
    """
    with contextlib.suppress(BlockingIOError), file_lock(folder / ".lockfile", wait=False):  # the one JAX writes under
        for program in folder.glob("*-cache"):
            if not program.with_name(program.name.removesuffix("-cache") + "-atime").exists():
                program.unlink()


def _written_by_others(folder: Path) -> Path | None:
    """The first of the folder above, the folder and its files that others own or can write; looked at when opened."""
    if not hasattr(os, "geteuid"):
        return None
    if _open_to_others(folder.parent, stat.S_IWOTH):  # a group may share it, but cannot make a folder of this user's
        return folder.parent
    if _open_to_others(folder, stat.S_IWOTH | stat.S_IWGRP):
        return folder
    # Nobody else reaches the files by now; but who made them?
    return next((file for file in folder.iterdir() if _open_to_others(file, stat.S_IWOTH)), None)


def _open_to_others(path: Path, writable: int) -> bool:
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        found = os.fstat(descriptor)
    finally:
        os.close(descriptor)
    sticky = found.st_mode & stat.S_ISVTX  # in which nobody can replace what belongs to another
    return found.st_uid not in (os.geteuid(), 0) or bool(found.st_mode & writable and not sticky)

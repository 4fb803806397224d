"""Compiled programs are kept: JAX's persistent compilation cache, in the cache folder.

The key holds the program, the versions of JAX and XLA, the device and the compiler's flags, so that a program is never
used where it does not belong. A second start of the same run still traces its programs, but compiles none of them.
"""

import jax
from jax.experimental.compilation_cache import compilation_cache

from jaxtl.runtime.cache import cache_dir

MOST_BYTES = 4 << 30  # what was not used for longest goes first
_WORTH_KEEPING_S = 0.1


def keep_compiled() -> None:
    """Switch the cache on, in ``compiled`` of the cache folder, unless JAX was told of another one.

    ``JAX_COMPILATION_CACHE_DIR`` names another folder, ``JAX_ENABLE_COMPILATION_CACHE=0`` switches it off.
    """
    folder = cache_dir() / "compiled"
    if jax.config.jax_compilation_cache_dir:  # type: ignore[attr-defined]  # set by name at run time
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:  # a read-only home: then without
        return
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_compilation_cache_max_size", MOST_BYTES)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", _WORTH_KEEPING_S)
    compilation_cache.reset_cache()  # it looks at its options once, and something may have been compiled already

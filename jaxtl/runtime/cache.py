"""Where jaxtl keeps what it can fetch again."""

import os
from pathlib import Path


def cache_dir() -> Path:
    """The folder of downloaded files: ``$JAXTL_CACHE``, else ``$XDG_CACHE_HOME/jaxtl``, else ``~/.cache/jaxtl``.

    An empty variable counts as unset. The folder is not created: whoever writes into it does that.
    """
    if chosen := os.environ.get("JAXTL_CACHE"):
        return Path(chosen).expanduser()
    if shared := os.environ.get("XDG_CACHE_HOME"):
        return Path(shared).expanduser() / "jaxtl"
    return Path.home() / ".cache" / "jaxtl"

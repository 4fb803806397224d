"""What a figure was measured with: versions, hardware, commit."""

import datetime
import importlib.metadata
import os
import pathlib
import platform
import shlex
import subprocess
import sys

import jax

PACKAGES = ("jaxtl", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "clu", "numpy", "scikit-learn")


def describe() -> dict[str, str]:
    """Versions of Python and of the packages that compute, the device, and the commit of the source if it has one."""
    return {
        **{name: _version(name) for name in PACKAGES},
        "python": platform.python_version(),
        "device": device(),
        "commit": commit(),
    }


def invocation() -> dict[str, str]:
    """When this process was asked for something, and by which command."""
    return {
        "date": datetime.datetime.now().astimezone().isoformat(" ", "seconds"),
        "command": shlex.join([pathlib.Path(sys.executable).name, *sys.orig_argv[1:]]),
    }


def device() -> str:
    """The devices that jax computes on, as a person names them."""
    kind = jax.devices()[0].device_kind
    if jax.default_backend() == "cpu":
        kind = f"{_processor()}, {os.cpu_count()} cores"
    count = jax.device_count()
    return kind if count == 1 else f"{count} x {kind}"


def commit() -> str:
    """The commit that this source is checked out at, with ``+changes`` if it was edited since; else ``unknown``."""
    folder = pathlib.Path(__file__).resolve().parent
    try:
        _git(folder, "ls-files", "--error-unmatch", "environment.py")  # else the commit is that of some other project
        sha = _git(folder, "rev-parse", "--short=12", "HEAD")
        return f"{sha}+changes" if _git(folder, "status", "--porcelain", "--", ".") else sha
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:  # a clone on PYTHONPATH, say
        return "not installed"


def _git(folder: pathlib.Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def _processor() -> str:
    """The processor's own name, where the system tells it."""
    cpuinfo = pathlib.Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()

"""What this process runs on: versions, commit, devices, and how much of the machine it may use."""

import datetime
import importlib.metadata
import os
import pathlib
import platform
import shlex
import subprocess
import sys

import jax

_MEMORY_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
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
    """The devices that JAX computes on, for people: "2 x NVIDIA H100" or the name of the processor."""
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


def cores() -> int:
    """Processors that this process may run on, at least 1."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not every system has it
        return os.cpu_count() or 1


def memory() -> float:
    """Bytes of main memory that this process may use."""
    try:
        known = [float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))]
    except (ValueError, OSError, AttributeError):
        known = [8e9]
    for path in _MEMORY_LIMITS:
        try:
            known.append(float(pathlib.Path(path).read_text()))
        except (OSError, ValueError):  # no such group, or "max"
            continue
    return min(known)


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:  # for example a clone on PYTHONPATH
        return "not installed"


def _git(folder: pathlib.Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def _processor() -> str:
    """The processor's own name, where the system gives it."""
    cpuinfo = pathlib.Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()

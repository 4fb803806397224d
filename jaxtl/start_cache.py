"""What the start of a run makes is kept, so that a second start of the same run neither compiles nor traces.

JAX's own cache (`jaxtl.compile_cache`) knows a program by its text, and to have the text a program must be traced and
lowered anew, which for deep networks takes longer than to load it. Here a program is known by what it is made from: the
source of this package, what the caller names, versions, flags and the device, and the shapes of the arguments. If that
is new, it is known by its text too, so that an edit that leaves a program as it was does not compile it anew. First
variables, a pure function of the same things and a key, are kept with the programs.
"""

import contextlib
import dataclasses
import functools
import hashlib
import importlib.metadata
import os
import pathlib
import pickle
import platform
import secrets
import sys
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import jax
import numpy as np
from jax.experimental import serialize_executable

from jaxtl.cache import cache_dir
from jaxtl.compile_cache import compiling_anew
from jaxtl.compiler_options import compiler_options
from jaxtl.processes import alone

Tree = TypeVar("Tree")
# From a jitted function and its arguments, or their shapes, to the program; they may find it made already.
CompileStep = Callable[..., jax.stages.Compiled]

MOST_BYTES = 4 << 30  # of all files together; what was not used for longest goes first
_LARGEST = 256 << 20  # bytes of arrays in one file: VGG's half a gigabyte would drive the programs out
_PACKAGES = ("jax", "jaxlib", "flax", "optax", "clu", "numpy")


@dataclasses.dataclass(frozen=True)
class StartCache:
    """Programs and values of one run, found again by name; ``StartCache()`` keeps nothing.

    Attributes:
      folder: where files lie, or ``None``.
      made_from: what all that is kept here depends on, besides this package's source, its libraries and the machine.
    """

    folder: pathlib.Path | None = None
    made_from: str = ""

    def program(self, name: str, step: jax.stages.Wrapped, *arguments: Any) -> jax.stages.Compiled:
        """The compiled ``step``, which is traced only if it is not here.

        Args:
          name: says what else the step depends on, besides ``made_from``: all that it closes over.
          step: a jitted function.
          arguments: arrays, or their shapes with shardings, as of ``jax.jit(…).lower``.
        """
        if self.folder is None:
            return compile_now(step, *arguments)
        leaves, structure = jax.tree.flatten((arguments, {}))
        start = ("text", _source(), self.made_from, name, str(structure), *map(_described, leaves))
        text = self._read(*start)
        if text is not None and (found := self._loaded(text, structure)):
            return found
        lowered = step.lower(*arguments)
        text = hashlib.sha256(lowered.as_text().encode()).hexdigest()
        found = self._loaded(text, structure)
        if found is None:
            with compiling_anew():
                found = lowered.compile()
            with contextlib.suppress(ValueError, NotImplementedError):  # a program that cannot be serialised
                serialized, _, results = serialize_executable.serialize(found)
                executable: Any = found.runtime_executable()
                devices = [device.id for device in executable.local_devices()]
                self._write((serialized, results, devices), "program", text)
        self._write(text, *start)
        return found

    def _loaded(self, text: str, structure: Any) -> jax.stages.Compiled | None:
        """The program that a text became, with arguments of this structure."""
        kept = self._read("program", text)
        if kept is None:
            return None
        serialized, results, numbers = kept
        there = {device.id: device for device in jax.devices()}
        try:
            return serialize_executable.deserialize_and_load(
                serialized, structure, results, execution_devices=[there[number] for number in numbers]
            )
        except jax.errors.JaxRuntimeError:  # whatever is the matter with it: it can be made again
            return None

    def arrays(self, name: str, make: Callable[[], Tree]) -> Tree:
        """What ``make`` returns, a tree of arrays and shapes; it is called only if that is not here.

        Args:
          name: says what else the arrays depend on, besides ``made_from``.
          make: a pure function.
        """
        if self.folder is None:
            return make()
        found: Tree | None = self._read("arrays", _source(), self.made_from, name)
        if found is not None:
            return _on_device(found)
        made = make()
        if sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(made)) <= _LARGEST:
            self._write(jax.device_get(made), "arrays", _source(), self.made_from, name)
        return made

    def _path(self, *parts: Any) -> pathlib.Path:
        assert self.folder is not None
        text = repr((_of_this_machine(), parts))
        return self.folder / hashlib.sha256(text.encode()).hexdigest()

    def _read(self, *parts: Any) -> Any:
        path = self._path(*parts)
        try:
            content = path.read_bytes()
            os.utime(path)  # it was of use
        except OSError:
            return None
        if hashlib.sha256(content[32:]).digest() != content[:32]:
            return None
        try:
            return pickle.loads(content[32:])
        except Exception:  # its classes may be gone, though the versions are the same
            return None

    def _write(self, value: Any, *parts: Any) -> None:
        content = pickle.dumps(value, protocol=5)
        path = self._path(*parts)
        draft = path.with_suffix(f".{secrets.token_hex(4)}.partial")
        with contextlib.suppress(OSError):  # a full disk, a read-only home: then without
            path.parent.mkdir(parents=True, exist_ok=True)
            draft.write_bytes(hashlib.sha256(content).digest() + content)
            draft.replace(path)
            _make_room(path.parent)
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)


NOTHING_KEPT = StartCache()


def compile_now(step: jax.stages.Wrapped, *arguments: Any) -> jax.stages.Compiled:
    """The program of a jitted function, traced, lowered and compiled."""
    return step.lower(*arguments).compile()


def start_cache(made_from: Any) -> StartCache:
    """The cache of a run, in ``starts`` of the cache folder; one that keeps nothing where there are several processes.

    Args:
      made_from: numbers, strings, mappings and sequences that say all that the run's programs depend on.

    ``JAX_ENABLE_COMPILATION_CACHE=0`` switches it off with that of JAX.
    """
    if not alone() or not jax.config.jax_enable_compilation_cache:  # type: ignore[attr-defined]  # set at run time
        return NOTHING_KEPT
    return StartCache(cache_dir() / "starts", repr(_ordered(made_from)))


def _ordered(value: Any) -> Any:
    """Mappings by their keys, so that equal ones have one text."""
    if isinstance(value, Mapping):
        return tuple((key, _ordered(value[key])) for key in sorted(value))
    if isinstance(value, list | tuple):
        return tuple(map(_ordered, value))
    return value


def _described(leaf: Any) -> tuple[str, ...]:
    """All of an argument that a program may depend on."""
    return str(jax.typeof(leaf)), str(getattr(leaf, "sharding", None)), str(getattr(leaf, "committed", None))


def _on_device(tree: Tree) -> Tree:
    """The arrays of a tree on the device, put there all at once; shapes as they are."""
    leaves, structure = jax.tree.flatten(tree)
    there = iter(jax.device_put([leaf for leaf in leaves if isinstance(leaf, np.ndarray)]))
    return jax.tree.unflatten(structure, [next(there) if isinstance(leaf, np.ndarray) else leaf for leaf in leaves])


def _of_this_machine() -> tuple[Any, ...]:
    """Versions, flags and device: what every program depends on."""
    client = jax.devices()[0].client
    flags = {name: getattr(jax.config, name, value) for name, value in jax.config.values.items()}
    return (
        sys.version,
        tuple(map(importlib.metadata.version, _PACKAGES)),
        os.environ.get("XLA_FLAGS"),
        tuple(sorted((name, str(value)) for name, value in flags.items() if name != "jax_compilation_cache_dir")),
        compiler_options(),
        client.platform_version,
        tuple((device.id, device.device_kind) for device in jax.devices()),
        _processor(),
    )


@functools.cache
def _source() -> str:
    """SHA-256 of every module of this package."""
    package, sha = pathlib.Path(__file__).parent, hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        sha.update(f"{path.relative_to(package)}\n".encode() + path.read_bytes())
    return sha.hexdigest()


@functools.cache
def _processor() -> str:
    """What code for this processor may use: the home of a cluster is shared by unlike ones."""
    with contextlib.suppress(OSError):
        lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
        return "\n".join(sorted({line for line in lines if line.startswith(("model name", "flags", "Features"))}))
    return platform.processor() or platform.machine()


def _make_room(folder: pathlib.Path) -> None:
    files = [(file, file.stat()) for file in folder.iterdir()]
    total = sum(stat.st_size for _, stat in files)
    for file, stat in sorted(files, key=lambda entry: entry[1].st_mtime):
        if total <= MOST_BYTES:
            return
        file.unlink(missing_ok=True)
        total -= stat.st_size

"""What the start of a run makes is kept, so that a second start of the same run neither compiles nor traces its steps.

JAX's own cache (`compile_cache`) knows a program by its text, and to have the text a program must be traced and
lowered anew, which for deep networks takes longer than to load it. Here a program is known by what it is made from:
the source of this package as it was imported, what the caller names, versions, flags and devices, and the arguments.
If that is new, it is known by its text, arguments and results, so that an edit that leaves a program as it was does
not compile it anew. First variables, a pure function of the same things and a key, are kept too.

Not so where devices tell their memory: there passes without training are still traced, to guess how large a batch fits
(`jaxtl.runtime.memory`). And several processes, and networks that others put into the registry, keep nothing.

A function of this package that is replaced in memory is not seen: do that with ``JAX_ENABLE_COMPILATION_CACHE=0``.
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
from jax.sharding import NamedSharding

from jaxtl.errors import UserError
from jaxtl.runtime.cache import cache_dir
from jaxtl.runtime.compile_cache import compiling_anew
from jaxtl.runtime.compiler_options import compiler_options
from jaxtl.runtime.files import write_whole
from jaxtl.runtime.machine import cores
from jaxtl.runtime.processes import alone

Tree = TypeVar("Tree")
# From a jitted function and its arguments, or their shapes, to the program; they may find it made already.
CompileStep = Callable[..., jax.stages.Compiled]

# Bytes of all files of a kind; those that were not used for longest go first.
MOST_BYTES = {"programs": 4 << 30, "arrays": 1 << 30}
_LARGEST = 256 << 20  # of one file of arrays: VGG's half a gigabyte would drive the others out
_FORMAT = 1
_UNKEEPABLE = "cannot be serialised"
_PACKAGES = ("jax", "jaxlib", "flax", "optax", "clu", "numpy")


def _source_now() -> str:
    """SHA-256 of every module of this package; "" where it has no files, as in an archive."""
    package, sha = pathlib.Path(__file__).parent, hashlib.sha256()
    paths = sorted(package.rglob("*.py"))
    for path in paths:
        sha.update(f"{path.relative_to(package)}\n".encode() + path.read_bytes())
    return sha.hexdigest() if paths else ""


_SOURCE = _source_now()  # as it is imported: what is edited later does not run in this process


@dataclasses.dataclass(frozen=True)
class StartCache:
    """Programs and arrays of a run, found again by name; ``StartCache()`` keeps nothing.

    Attributes:
      folder: where files lie, or ``None``.
      made_from: what all programs that are kept here depend on, besides this package's source, its libraries and the
        machine.
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
        given = (str(structure), *map(_described, leaves))
        start = ("start", _SOURCE, self.made_from, name, given)
        content = self._read("programs", *start)
        if content == _UNKEEPABLE:
            return compile_now(step, *arguments)
        if content is not None and (found := self._loaded(content, structure)):
            return found
        lowered = step.lower(*arguments)
        content = _content(lowered, given)
        found = self._loaded(content, structure)
        if found is None:
            with compiling_anew():
                found = lowered.compile()
            content = content if self._kept(content, found) else _UNKEEPABLE
        self._write("programs", content, *start)
        return found

    def arrays(self, name: Any, make: Callable[[], Tree]) -> Tree:
        """What ``make`` returns, a tree of arrays and shapes; it is called only if that is not here.

        Args:
          name: says all that the arrays depend on: numbers, strings, sequences and mappings of them, PRNG keys.
          make: a pure function.
        """
        if self.folder is None:
            return make()
        name = repr(_ordered(name))
        found: Tree | None = self._read("arrays", _SOURCE, name)
        if found is not None:
            return _on_device(found)
        made = make()
        if sum(leaf.nbytes for leaf in jax.tree.leaves(made) if isinstance(leaf, jax.Array)) <= _LARGEST:
            self._write("arrays", jax.device_get(made), _SOURCE, name)
        return made

    def _kept(self, content: str, compiled: jax.stages.Compiled) -> bool:
        """Whether the program can be serialised; then it is written, if there is room."""
        try:
            serialized, _, results = serialize_executable.serialize(compiled)
            executable: Any = compiled.runtime_executable()
            devices = [device.id for device in executable.local_devices()]
            pickle.dumps(results)
        except MemoryError:
            return True  # another time perhaps
        except Exception:  # of many kinds: no program may fail because it cannot be kept
            return False
        self._write("programs", (serialized, results, devices), "program", content)
        return True

    def _loaded(self, content: str, structure: Any) -> jax.stages.Compiled | None:
        """The program of this content, called with arguments of this structure."""
        kept = self._read("programs", "program", content)
        if kept is None:
            return None
        there = {device.id: device for device in jax.devices()}
        try:
            serialized, results, numbers = kept
            return serialize_executable.deserialize_and_load(
                serialized, structure, results, execution_devices=[there[number] for number in numbers]
            )
        except Exception:  # whatever is the matter with it: it can be made again
            return None

    def _path(self, kind: str, *parts: Any) -> pathlib.Path:
        assert self.folder is not None
        return self.folder / kind / hashlib.sha256(repr((_FORMAT, _of_this_machine(), parts)).encode()).hexdigest()

    def _read(self, kind: str, *parts: Any) -> Any:
        path = self._path(kind, *parts)
        try:
            if not _trusted(path):
                return None
            content = path.read_bytes()
        except OSError:
            return None
        with contextlib.suppress(OSError):  # a folder that can be read alone
            os.utime(path)  # it was of use
        digest, pickled = memoryview(content)[:32], memoryview(content)[32:]
        if hashlib.sha256(pickled).digest() != digest:
            return None
        try:
            return pickle.loads(pickled)
        except Exception:  # its classes may be gone, though the versions are the same
            return None

    def _write(self, kind: str, value: Any, *parts: Any) -> None:
        content = pickle.dumps(value, protocol=5)
        path = self._path(kind, *parts)
        with contextlib.suppress(OSError, UserError):  # a full disk, a read-only home: then without
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            write_whole(path, hashlib.sha256(content).digest() + content)
            _make_room(path.parent, MOST_BYTES[kind])


NOTHING_KEPT = StartCache()


def compile_now(step: jax.stages.Wrapped, *arguments: Any) -> jax.stages.Compiled:
    """The program of a jitted function, traced, lowered and compiled."""
    return step.lower(*arguments).compile()


def start_cache(made_from: Any) -> StartCache:
    """The cache of a run, in ``starts`` of the cache folder; one that keeps nothing where there are several processes.

    Args:
      made_from: numbers, strings, mappings and sequences that say all that the run's programs have in common.

    ``JAX_ENABLE_COMPILATION_CACHE=0`` switches it off with that of JAX.
    """
    wanted = jax.config.jax_enable_compilation_cache  # type: ignore[attr-defined]  # set by name at run time
    if not (_SOURCE and wanted and alone()):
        return NOTHING_KEPT
    return StartCache(cache_dir() / "starts", repr(_ordered(made_from)))


def _ordered(value: Any) -> Any:
    """Mappings by their keys, so that equal ones have one text; PRNG keys as numbers."""
    if isinstance(value, Mapping):
        return tuple((key, _ordered(value[key])) for key in sorted(value))
    if isinstance(value, list | tuple):
        return tuple(map(_ordered, value))
    if isinstance(value, jax.Array):
        return str(value.dtype), jax.random.key_data(value).tolist()
    return value


def _content(lowered: jax.stages.Lowered, given: tuple[Any, ...]) -> str:
    """What tells a program from all others: its text says neither how results are nested nor what was left out.

    Arguments that a function does not look at are no arguments of its text; which ones those are, JAX keeps to itself.
    Where a version of JAX keeps it elsewhere, the content is one that no other program has.
    """
    compiled_with = getattr(getattr(lowered, "_lowering", None), "compile_args", {})
    looked_at = sorted(compiled_with["kept_var_idx"]) if "kept_var_idx" in compiled_with else secrets.token_hex()
    parts = (lowered.as_text(), str(lowered.out_tree), given, looked_at)
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def _on_device(tree: Tree) -> Tree:
    """The arrays of a tree on the device, put there all at once; shapes as they are."""
    leaves, structure = jax.tree.flatten(tree)
    there = iter(jax.device_put([leaf for leaf in leaves if isinstance(leaf, np.ndarray)]))
    return jax.tree.unflatten(structure, [next(there) if isinstance(leaf, np.ndarray) else leaf for leaf in leaves])


def _described(leaf: Any) -> tuple[Any, ...]:
    """All of an argument that a program may depend on: type, layout over which devices in which order."""
    sharding = getattr(leaf, "sharding", None)
    devices: Any = None
    if isinstance(sharding, NamedSharding):
        devices = [device.id for device in sharding.mesh.devices.flat]
    elif sharding is not None:
        devices = sorted(device.id for device in sharding.device_set)
    return str(jax.typeof(leaf)), str(sharding), devices, getattr(leaf, "committed", None)


def _of_this_machine() -> tuple[Any, ...]:
    """Versions, flags and devices: what every program depends on."""
    client = jax.devices()[0].client
    flags = {name: getattr(jax.config, name, value) for name, value in jax.config.values.items()}
    return (
        sys.version,
        tuple(map(importlib.metadata.version, _PACKAGES)),
        [os.environ.get(name) for name in ("XLA_FLAGS", "LIBTPU_INIT_ARGS")],
        cores(),  # among which XLA shares the work of a program on a CPU
        tuple(sorted((name, str(value)) for name, value in flags.items() if name != "jax_compilation_cache_dir")),
        sorted(compiler_options().items()),
        client.platform_version,
        tuple((device.id, device.device_kind) for device in jax.devices()),
        _processor(),
    )


@functools.cache
def _processor() -> str:
    """What code for this processor may use: the home of a cluster is shared by unlike ones."""
    with contextlib.suppress(OSError):
        lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
        return "\n".join(sorted({line for line in lines if line.startswith(("model name", "flags", "Features"))}))
    return platform.processor() or platform.machine()


def _trusted(path: pathlib.Path) -> bool:
    """Whether nobody but this person, or the system's own administrator, wrote a file: what it holds will be run."""
    return not hasattr(os, "geteuid") or path.stat().st_uid in (os.geteuid(), 0)


def _make_room(folder: pathlib.Path, most_bytes: int) -> None:
    files = []
    for file in folder.iterdir():
        with contextlib.suppress(OSError):  # another process made room too
            files.append((file, file.stat()))
    total = sum(stat.st_size for _, stat in files)
    for file, stat in sorted(files, key=lambda entry: entry[1].st_mtime):
        if total <= most_bytes:
            return
        file.unlink(missing_ok=True)
        total -= stat.st_size

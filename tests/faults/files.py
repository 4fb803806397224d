"""Hostile files that are no images: weights, pickled batches, lists of paths, config files, downloads."""

import contextlib
import io
import json
import pickle
import struct
import tarfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import safetensors.numpy

from jaxtl.config import check, raise_problems
from jaxtl.config.flags import load_config
from jaxtl.data import load_dataset
from jaxtl.data.cifar import STAND_INS
from jaxtl.data.image_files import paths_in
from jaxtl.runtime import fetch as fetch_module
from jaxtl.runtime.unpickle import UnpickleError, unpickle
from jaxtl.weights import read_keras_file, read_torch_file
from tests.data.test_image_files import NAMES
from tests.faults.case import Case, Expected, gives, refuses
from tests.runtime.test_fetch import BODY, SHA256, WRONG_MD5, Behaviour, Handler, Server
from tests.runtime.test_unpickle import NESTED, PYTHON_2_PICKLE
from tests.weights import conftest as writer
from tests.weights.formats.test_torch_file import ARRAYS, Bomb, attacks, safetensors_file

DAMAGED = refuses("is altered or damaged")
# Of the attacks on torch files that tests/weights knows: those that public reports name.
ATTACKS = (
    *("tuples in tuples as a key", "tuples in tuples as a type", "one list as many dictionaries"),
    *("a tensor larger than memory", "a text as large as memory", "a large number in the memo"),
    *("an offset behind the end", "a negative stride", "dictionaries in dictionaries", "a dictionary in itself"),
)


def cases() -> Iterator[Case]:
    """By what reads them."""
    for what, content, must in _weights():
        yield Case(f"weights: {what}", _file("weights.pth", content, read_torch_file), must)
    yield Case("weights: garbage named .h5", _file("a.h5", b"garbage" * 99, read_keras_file), DAMAGED)
    yield Case("weights: a torch file that asks for os.mkdir", _bomb, gives((True, False), "refuse, and run nothing"))
    yield Case(
        "a batch of CIFAR: a web page", _file("test_batch", b"<html>404</html>", _load_cifar), refuses("its MD5 is")
    )
    for what, (content, outcome) in _pickles().items():
        yield Case(f"a pickle: {what}", lambda folder, content=content: _unpickle(content), outcome)
    for what, content in _lists().items():
        yield Case(f"a list of files: {what}", lambda folder, content=content: paths_in(content), _NAMES)
    for what, content, must in _configs():
        yield Case(f"a config file that {what}", _file("mine.py", content, _load_and_check), must)
    for what, behaviour, options, must in _downloads():
        yield Case(f"a download: {what}", _download(behaviour, options), must, quick=False)


def _file(name: str, content: bytes, read: Callable[[Path], Any]) -> Callable[[Path], Any]:
    def act(folder: Path) -> Any:
        (folder / name).write_bytes(content)
        return read(folder / name)

    return act


def _weights() -> Iterator[tuple[str, bytes, Expected]]:
    windows, storages = writer.windows_of(ARRAYS)
    whole = writer.zip_file(writer.described(windows, storages), storages)
    yield "an empty file", b"", refuses("it is empty")
    yield "a web page", b"<!DOCTYPE html><html>", refuses("it is a web page")
    yield "a Git LFS pointer", b"version https://git-lfs.github.com/spec/v1\n", refuses("run git lfs pull")
    yield "the first half of a torch file", whole[: len(whole) // 2], refuses("truncated")
    tensor = whole.index(ARRAYS["conv.weight"].tobytes())
    yield "one flipped bit in a torch file", _flipped(whole, tensor + 5), refuses("damaged")
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w", format=tarfile.USTAR_FORMAT) as file:
        file.addfile(tarfile.TarInfo("sys_info"))
    yield "the tar format of before 2018", archive.getvalue(), refuses("it is a tar file")
    yield "a NumPy archive of Python objects", _npz(), refuses("")
    known = attacks(writer)
    for name in ATTACKS:
        yield f"a torch file with {name}", writer.zip_file(known[name], {"0": np.zeros(2, np.float32)}), refuses("")
    for shape in ([0, 2**62, 2**62], [1] * 70, [-1, -4]):
        text = "70 dimensions" if len(shape) == 70 else f"the shape {shape}"
        content = safetensors_file("F32", shape, bytes(0 if 0 in shape else 16))
        yield f"safetensors with {text}", content, DAMAGED
    deep = b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    yield "safetensors with JSON 100,000 deep", struct.pack("<Q", len(deep)) + deep, DAMAGED
    cut = safetensors.numpy.save({"a": np.zeros(100, np.float32)})[:-10]
    yield "safetensors that lack ten bytes", cut, refuses("truncated")
    overlap = json.dumps({n: {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]} for n in "ab"}).encode()
    yield "safetensors with two tensors in one place", struct.pack("<Q", len(overlap)) + overlap + bytes(16), DAMAGED


def _bomb(folder: Path) -> tuple[bool, bool]:
    """(whether the file was refused, whether it could run something)"""
    mark, path = folder / "mark", folder / "weights.pth"
    path.write_bytes(writer.zip_file(writer.dict_of({"x": Bomb("os", "mkdir", str(mark)).body}), {}))
    try:
        read_torch_file(path)
    except ValueError as error:  # what UserError is
        return "asks for os.mkdir" in str(error), mark.exists()
    return False, mark.exists()


def _load_cifar(path: Path) -> Any:
    return load_dataset("cifar10", "test", path.parent, download=False)


def _unpickle(content: bytes) -> str:
    """The type of what the reader of CIFAR's batches makes of a pickle, or that it is refused."""
    try:
        return type(unpickle(io.BytesIO(content), STAND_INS)).__name__
    except (UnpickleError, EOFError):
        return "refused"


def _pickles() -> dict[str, tuple[bytes, Expected]]:
    refused = gives("refused", "refuse it")
    return {
        "calls os.system": (b"\x80\x02cos\nsystem\nX\x04\0\0\0true\x85R.", refused),
        "cut in the middle": (PYTHON_2_PICKLE[: len(PYTHON_2_PICKLE) // 2], refused),
        "tuples in tuples as a key": (b"\x80\x02}" + NESTED + b"K\x01s.", refused),
        "tuples in tuples in a frozen set": (b"\x80\x04}K\x01(" + NESTED + b"\x91s.", refused),
        "tuples in tuples as the type of an array": (
            b"\x80\x02cnumpy\ndtype\n" + NESTED + b"K\x00K\x01\x87R.",
            gives("_Dtype", "give at once what stands for it"),
        ),
        "a large number in the memo": (b"\x80\x02}r\0\0\0\x10.", gives("dict", "give what it holds")),
        "a million lists in lists": (b"\x80\x02" + b"]" * 1_000_000 + b"a" * 999_999 + b".", refused),
        "an array of Python objects": (pickle.dumps({"data": np.array([{}], object)}, protocol=4), refused),
    }


_NAMES = gives(NAMES, "the names in it")


def _lists() -> dict[str, bytes]:
    return {
        "separated by zero bytes (find -print0)": "\0".join([*NAMES, ""]).encode(),
        "in UTF-16 with a mark (PowerShell)": "\n".join(NAMES).encode("utf-16"),
        "in UTF-8 with a mark and lines of Windows": b"\xef\xbb\xbf" + "\r\n".join(NAMES).encode(),
    }


def _configs() -> Iterator[tuple[str, bytes, Expected]]:
    yield (
        "ends the program",
        b"import sys\ndef get_config():\n    sys.exit(3)\n",
        refuses("line 3, fails with SystemExit: 3"),
    )
    yield "divides by zero", b"def get_config():\n    return 1 / 0\n", refuses("line 2, fails with ZeroDivisionError")
    yield "calls itself without end", b"def get_config():\n    return get_config()\n", refuses("RecursionError")
    yield "has a mistake of syntax", b"def get_config(:\n", refuses("line 1, fails with SyntaxError")
    yield "is in UTF-16", "def get_config():\n    return {}\n".encode("utf-16"), refuses("mine.py")
    yield "has zero bytes", b"def get_config():\0\n", refuses("mine.py")
    yield "returns nothing", b"def get_config():\n    pass\n", refuses("returns None, which is not a config")
    yield "has no get_config", b"x = 1\n", refuses("get_config")
    yield (
        "imports what is not there",
        b"import nothing_of_the_kind\n",
        refuses("line 1, fails with ModuleNotFoundError"),
    )
    yield (
        "misspells an argument",
        b"from jaxtl.config import default_config, phase\n"
        b"def get_config():\n"
        b"    config = default_config()\n"
        b"    config.phases = (phase(fliip=True),)\n"
        b"    return config\n",
        refuses("flip"),
    )


def _load_and_check(path: Path) -> None:
    raise_problems(check(load_config(path)), str(path))


def _downloads() -> Iterator[tuple[str, Behaviour, dict[str, Any], Expected]]:
    whole = gives(BODY, "the whole file")
    hashed = {"sha256": SHA256}
    yield (
        "the server asks twice to come again later (429)",
        (Behaviour(status=429, failures=2, retry_after="0")),
        hashed,
        whole,
    )
    yield "the connection breaks twice", Behaviour(break_after=100_000, failures=2), hashed, whole
    yield "the server sends a part that nobody asked for (206)", Behaviour(always_part=True, failures=1), hashed, whole
    yield (
        "the server continues at another byte",
        (Behaviour(break_after=100_000, failures=1, wrong_start=True)),
        hashed,
        whole,
    )
    yield "a file with another hash", Behaviour(), {"md5": WRONG_MD5}, refuses("instead of")
    yield "a body beyond all limits", Behaviour(body=bytes(200_000)), {}, refuses("it is longer than 150,000 bytes")
    yield "404", Behaviour(status=404, failures=9), hashed, refuses("the server answered 404")


def _download(behaviour: Behaviour, options: dict[str, Any]) -> Callable[[Path], bytes]:
    def act(folder: Path) -> bytes:
        limit = 150_000 if not options else 1 << 30
        with (
            _served(behaviour) as url,
            contextlib.redirect_stderr(io.StringIO()),  # the progress bar
            mock.patch.object(fetch_module, "RETRY_PAUSES_S", (0.01, 0.01)),
            mock.patch.object(fetch_module, "MOST_BYTES", limit),
            mock.patch.object(fetch_module, "TIMEOUT_S", 5),
            mock.patch.dict("os.environ", {"no_proxy": "127.0.0.1"}),
        ):
            return fetch_module.fetch(url, folder / "file", **options).read_bytes()

    return act


@contextlib.contextmanager
def _served(behaviour: Behaviour) -> Iterator[str]:
    with Server(("127.0.0.1", 0), Handler) as server:
        server.behaviour, server.released = behaviour, threading.Event()
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/file"
        finally:
            server.shutdown()
            thread.join()


def _npz() -> bytes:
    content = io.BytesIO()
    np.savez(content, a=np.array([{}], object))
    return content.getvalue()


def _flipped(content: bytes, place: int) -> bytes:
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]

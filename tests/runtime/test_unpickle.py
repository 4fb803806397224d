import io
import os
import pickle

import numpy as np
import pytest

from jaxtl.data.cifar import STAND_INS
from jaxtl.runtime.unpickle import ForbiddenError, UnpickleError, unpickle

# What Python 2 wrote for {'data': np.array([[1, 2], [3, 4]], np.uint8), 'labels': [6, 9]}, with the instructions of the
# official CIFAR-10 files: strings without an encoding, and NumPy under its old address.
PYTHON_2_PICKLE = (
    b"\x80\x02}(U\x04datacnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
    b"(K\x01K\x02K\x02\x86cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    b"\x89U\x04\x01\x02\x03\x04tbU\x06labels](K\x06K\x09eu."
)


def read(raw: bytes) -> dict:
    return unpickle(io.BytesIO(raw), STAND_INS)


@pytest.mark.parametrize("protocol", [3, 4])
@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_and_plain_values_come_back(protocol, order):
    array = np.asarray(np.arange(12, dtype=np.uint8).reshape(3, 4), order=order)
    found = read(pickle.dumps({"data": array, "labels": [1, 2]}, protocol=protocol))
    assert np.array_equal(found["data"].array, array)
    assert found["data"].array.dtype == np.uint8
    assert found["labels"] == [1, 2]


def test_a_file_of_python_2_is_read():
    found = read(PYTHON_2_PICKLE)
    assert found["data"].array.tolist() == [[1, 2], [3, 4]]
    assert found["labels"] == [6, 9]


class _Call:
    """Pickles as the instruction to call ``function(*arguments)``."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize(
    ("function", "argument", "name"),
    [
        (os.system, "mkdir {}", "system"),
        (os.mkdir, "{}", "mkdir"),
        (eval, "__import__('os').mkdir('{}')", "eval"),
    ],
)
def test_a_pickle_that_calls_something_is_refused_and_nothing_happens(tmp_path, protocol, function, argument, name):
    target = tmp_path / "made"
    raw = pickle.dumps({"data": _Call(function, argument.format(target))}, protocol=protocol)
    with pytest.raises(ForbiddenError, match=rf"^\w+\.{name}$"):
        read(raw)
    assert not target.exists()
    pickle.loads(raw)  # these very bytes do harm where they are trusted
    assert target.exists()


def test_a_global_alone_is_refused():
    with pytest.raises(ForbiddenError, match=r"^os\.system$"):
        read(b"\x80\x02cos\nsystem\n.")


def test_an_outside_object_is_refused():
    with pytest.raises(ForbiddenError, match="outside object 'secret'"):
        read(b"Psecret\n.")


@pytest.mark.parametrize("admitted", ["numpy.core.multiarray\n_reconstruct", "numpy\nndarray", "numpy\ndtype"])
def test_a_pickle_cannot_change_what_it_is_given(admitted):
    name = admitted.encode()
    poison = b"\x80\x02c" + name + b"\n}U\x04evilK\x01sb."  # sets the attribute evil
    with pytest.raises(UnpickleError):
        read(poison)
    assert not hasattr(np.ndarray, "evil")
    assert not hasattr(np.dtype, "evil")
    assert read(PYTHON_2_PICKLE)["labels"] == [6, 9]


def test_an_array_whose_shape_lies_is_refused():
    with pytest.raises(UnpickleError, match="reshape"):
        read(PYTHON_2_PICKLE.replace(b"K\x02K\x02\x86", b"K\x02K\xff\x86"))


@pytest.mark.parametrize("raw", [b"", b"\x00" * 50, b"<html>404</html>", b"\x80\x04N0."])
def test_garbage_is_refused(raw):
    with pytest.raises((UnpickleError, EOFError)):
        read(raw)


def test_every_truncation_is_refused():
    for length in range(len(PYTHON_2_PICKLE)):
        with pytest.raises((UnpickleError, EOFError)):
            read(PYTHON_2_PICKLE[:length])


def test_every_altered_byte_gives_an_error_for_a_person_or_plain_values():
    for position in range(len(PYTHON_2_PICKLE)):
        for value in (0, 46, 99, 255):
            raw = bytearray(PYTHON_2_PICKLE)
            raw[position] = value
            try:
                read(bytes(raw))
            except (UnpickleError, EOFError):
                continue


NESTED = b"]" + b"\x85" * 60 + b"".join(b"2\x86" for _ in range(60))  # a tuple of twice a tuple of twice a tuple ...


@pytest.mark.parametrize(
    "raw",
    [
        b"\x80\x02}" + NESTED + b"K\x01s.",  # as a key
        b"\x80\x04}K\x01(" + NESTED + b"\x91s.",  # in a frozenset
        b"\x80\x04\x96" + b"\xff\xff\xff\xff\x0f\0\0\0" + b".",  # bytes that are not there
        b"\x80\x02" + b"]" * 1_000_000 + b"a" * 999_999 + b".",  # lists in lists
        b"\x80\x02" + b"}" * 3_000_000 + b".",
    ],
    ids=["key", "frozenset", "bytes", "lists", "dictionaries"],
)
def test_what_would_take_for_ever_or_all_memory_is_refused_at_once(raw):
    with pytest.raises((UnpickleError, EOFError)):
        read(raw)


def test_a_large_number_in_the_memo_takes_no_memory():
    assert read(b"\x80\x02}r\0\0\0\x10.") == {}


def test_numbers_whose_hashes_are_all_one_are_no_keys():
    number = (2**61 - 1).to_bytes(8, "little")
    with pytest.raises(UnpickleError, match="60 bits"):
        read(b"\x80\x02}\x8a\x08" + number + b"K\x01s.")

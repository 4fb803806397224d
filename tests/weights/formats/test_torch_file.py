import io
import json
import re
import struct
import tarfile
import tracemalloc
import zipfile

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy

from jaxtl.errors import UserError
from jaxtl.weights.formats import torch_pickle, torch_zip
from jaxtl.weights.formats.torch_file import read_torch_file

FORMATS = ("zip", "legacy")
DTYPES = (
    "float32", "float16", "bfloat16", "float64", "int64", "int32", "int16", "int8", "uint8", "bool", "complex64",
    "complex128",
)  # fmt: skip


def sample(dtype: str, shape: tuple[int, ...] = (2, 3)) -> np.ndarray:
    numbers = np.arange(1, 1 + np.prod(shape, dtype=int)).reshape(shape)
    return numbers % 2 == 0 if dtype == "bool" else numbers.astype(ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype)


ARRAYS = {
    "conv.weight": np.random.default_rng(0).normal(size=(4, 3, 3, 3)).astype(np.float32),
    "conv.bias": np.arange(4, dtype=np.float32),
    "bn.num_batches_tracked": np.array(7, np.int64),
}


@pytest.fixture
def file_of(writer, tmp_path):
    """Write windows on storages in a format; arrays alone get a storage each."""

    def write(kind, windows, storages=None):
        if storages is None:
            windows, storages = writer.windows_of(windows)
        path = tmp_path / f"weights.{kind}"
        build = writer.zip_file if kind == "zip" else writer.legacy_file
        path.write_bytes(build(writer.described(windows, storages), storages))
        return path

    return write


SAFETENSORS_NAMES = {
    "float8_e4m3fn": "F8_E4M3", "float8_e5m2": "F8_E5M2", "float8_e8m0fnu": "F8_E8M0", "bfloat16": "BF16",
    "complex64": "C64", "bool": "BOOL",
}  # fmt: skip


def safetensors_file(kind: str, shape: object, raw: bytes) -> bytes:
    """One tensor, ``a``, byte by byte: the library writes fewer types than the format has."""
    header = json.dumps({"a": {"dtype": kind, "shape": shape, "data_offsets": [0, len(raw)]}}).encode()
    return struct.pack("<Q", len(header)) + header + raw


def assert_same(found, expected):
    assert list(found) == list(expected)
    for key, array in expected.items():
        assert found[key].dtype == array.dtype, key
        assert found[key].shape == array.shape, key
        assert found[key].tobytes() == array.tobytes(), key


def refusal(path) -> str:
    with pytest.raises(UserError) as info:
        read_torch_file(path)
    assert "\n" not in str(info.value)
    assert str(path) in str(info.value)
    return str(info.value)


# --- what there is to read ---


@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_gives_the_same_arrays(file_of, kind):
    found = read_torch_file(file_of(kind, ARRAYS))
    assert_same(found, ARRAYS)
    assert all(array.flags.c_contiguous and array.flags.writeable and array.flags.owndata for array in found.values())


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", FORMATS)
def test_every_dtype(file_of, kind, dtype):
    arrays = {"a": sample(dtype), "none": sample(dtype, (0, 2)), "scalar": sample(dtype, ())}
    assert_same(read_torch_file(file_of(kind, arrays)), arrays)


@pytest.mark.parametrize("kind", FORMATS)
def test_strided_and_shared_storages(writer, file_of, kind):
    storage = np.arange(24, dtype=np.float32)
    windows = {
        "all": writer.Window("0", (4, 6), (6, 1)),
        "transposed": writer.Window("0", (6, 4), (1, 6)),
        "column": writer.Window("0", (4,), (6,), 2),
        "every other": writer.Window("0", (2, 3), (12, 2), 1),
        "expanded": writer.Window("1", (3, 2), (0, 1)),
        "channels last": writer.Window("0", (2, 3, 2, 2), (12, 1, 6, 3)),
    }
    storages = {"0": storage, "1": np.array([5, 6], np.float32)}
    table = storage.reshape(4, 6)
    expected = {
        "all": table,
        "transposed": table.T,
        "column": table[:, 2],
        "every other": np.array([[1, 3, 5], [13, 15, 17]]),
        "expanded": np.array([[5, 6]] * 3),
        "channels last": storage.reshape(2, 2, 2, 3).transpose(0, 3, 1, 2),
    }
    found = read_torch_file(file_of(kind, windows, storages))
    for key, array in expected.items():
        np.testing.assert_array_equal(found[key], array, key)
    found["all"][:] = 0  # one array's change is not another's
    np.testing.assert_array_equal(found["transposed"], table.T)


def test_views_of_a_storage_in_old_files_are_refused(writer, tmp_path):
    storages = {"0": np.arange(10, dtype=np.float32)}
    view = writer.tuple_of(writer.text("v"), writer.integer(4), writer.integer(5))
    value = writer.tensor(writer.Window("0", (2, 2), (2, 1), 1), storages, view)
    legacy = tmp_path / "legacy"
    legacy.write_bytes(writer.legacy_file(writer.ordered_dict_of({"a": value}), storages))
    assert "it has a view of a storage, as torch wrote them before 0.4" in refusal(legacy)


def test_parameters_of_later_versions(writer, tmp_path):
    windows, storages = writer.windows_of({"a": ARRAYS["conv.bias"]})
    inner = writer.tensor(windows["a"], storages)
    value = writer.call("torch._utils", "_rebuild_parameter", inner, writer.TRUE, writer.EMPTY_HOOKS)
    path = tmp_path / "zip"
    path.write_bytes(writer.zip_file(writer.ordered_dict_of({"a": value}), storages))
    assert_same(read_torch_file(path), {"a": ARRAYS["conv.bias"]})


@pytest.mark.parametrize("dtype", ["uint16", "float8_e4m3fn", "float8_e5m2"])
def test_types_that_torch_keeps_in_storages_of_bytes(writer, tmp_path, dtype):
    array = np.arange(6).astype(np.uint16 if dtype == "uint16" else getattr(ml_dtypes, dtype)).reshape(2, 3)
    raw = np.frombuffer(array.tobytes(), np.uint8)
    storage = writer.tuple_of(
        writer.text("storage"), writer.name("torch.storage", "UntypedStorage"), writer.text("0"), writer.text("cpu"),
        writer.integer(raw.size),
    ) + b"Q"  # fmt: skip
    value = writer.call(
        "torch._utils", "_rebuild_tensor_v3", storage, writer.integer(0), writer.sizes((2, 3)), writer.sizes((3, 1)),
        writer.FALSE, writer.EMPTY_HOOKS, writer.name("torch", dtype),
    )  # fmt: skip
    path = tmp_path / "zip"
    path.write_bytes(writer.zip_file(writer.dict_of({"a": value}), {"0": raw}))
    assert_same(read_torch_file(path), {"a": array})


def test_a_file_of_a_big_endian_machine_is_refused(writer, tmp_path):
    windows, storages = writer.windows_of({"a": sample("float32")})
    description = writer.pickled(writer.described(windows, storages))
    path = tmp_path / "zip"
    path.write_bytes(writer.zip_bytes({"x/data.pkl": description, "x/byteorder": b"big", "x/data/0": bytes(24)}))
    assert "was written on a big-endian machine" in refusal(path)


@pytest.mark.parametrize("root", ["archive/", "resnet18-f37072fd/", "a/b/", ""])
@pytest.mark.parametrize("streamed", [True, False])
def test_any_name_of_the_archive(writer, tmp_path, root, streamed):
    windows, storages = writer.windows_of(ARRAYS)
    entries = {f"{root}data.pkl": writer.pickled(writer.described(windows, storages))}
    entries |= {f"{root}data/{key}": array.tobytes() for key, array in storages.items()}
    path = tmp_path / "weights.pth"
    path.write_bytes(writer.zip_bytes(entries, streamed=streamed))
    assert_same(read_torch_file(path), ARRAYS)


@pytest.mark.parametrize(
    "prefix", ["module.", "module.module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module."]
)
def test_prefixes_of_wrapping_modules_are_taken_off(file_of, prefix):
    assert_same(read_torch_file(file_of("zip", {prefix + key: array for key, array in ARRAYS.items()})), ARRAYS)


def test_a_prefix_that_not_all_keys_have_stays(file_of):
    arrays = {"module.a": ARRAYS["conv.bias"], "b": ARRAYS["conv.bias"]}
    assert list(read_torch_file(file_of("zip", arrays))) == ["module.a", "b"]


@pytest.mark.parametrize("wrappers", [("state_dict",), ("model",), ("net",), ("model_state_dict",), ("net", "params")])
def test_checkpoints_that_wrap_the_state_dict(writer, tmp_path, wrappers):
    windows, storages = writer.windows_of(ARRAYS)
    tree = writer.described(windows, storages)
    for wrapper in wrappers:
        momentum = writer.dict_of({"state": writer.list_of(tree)})
        others = {"epoch": writer.integer(3), "optimizer": momentum, "best": writer.NONE}
        tree = writer.dict_of(others | {wrapper: tree})
    for build in (writer.zip_file, writer.legacy_file):
        path = tmp_path / build.__name__
        path.write_bytes(build(tree, storages))
        assert_same(read_torch_file(path), ARRAYS)


def test_safetensors(tmp_path):
    arrays = ARRAYS | {"half": sample("float16"), "brain": sample("bfloat16"), "bytes": sample("uint8")}
    path = tmp_path / "weights.safetensors"
    safetensors.numpy.save_file(arrays, path, {"origin": "a test"})
    found = read_torch_file(path)
    assert_same({key: found[key] for key in arrays}, arrays)


@pytest.mark.parametrize("dtype", ["float8_e4m3fn", "float8_e5m2", "float8_e8m0fnu", "bfloat16", "complex64", "bool"])
def test_every_type_of_safetensors_that_numpy_can_have(tmp_path, dtype):
    array = np.arange(6).reshape(2, 3).astype(getattr(ml_dtypes, dtype, dtype))
    path = tmp_path / "weights.safetensors"
    path.write_bytes(safetensors_file(SAFETENSORS_NAMES[dtype], array.shape, array.tobytes()))
    assert_same(read_torch_file(path), {"a": array})


def test_a_type_of_safetensors_that_numpy_lacks_is_named_with_its_tensor(tmp_path):
    path = tmp_path / "weights.safetensors"
    path.write_bytes(safetensors_file("F4", (2, 2), b"12"))
    assert "holds the tensor a of type F4, which numpy does not have; convert it" in refusal(path)


def test_the_format_is_told_by_the_content_and_not_by_the_name(file_of):
    path = file_of("legacy", ARRAYS)
    assert_same(read_torch_file(str(path.rename(path.with_name("weights.safetensors")))), ARRAYS)


# --- what is refused ---


class Bomb:
    """Leaves a mark when it is unpickled by anything that calls what it names."""

    def __init__(self, module: str, attribute: str, mark: str) -> None:
        self.body = f"c{module}\n{attribute}\n".encode() + b"(" + b"X" + struct.pack("<I", len(mark)) + mark.encode()
        self.body += b"tR"


@pytest.mark.parametrize(
    ("module", "attribute"),
    [("os", "mkdir"), ("posix", "mkdir"), ("builtins", "open"), ("nt", "mkdir"), ("pathlib", "Path.mkdir"),
     ("numpy", "load"), ("torch", "load"), ("torch.nn.modules.conv", "Conv2d"), ("torch._utils", "os.mkdir"),
     ("collections", "OrderedDict.fromkeys"), ("__builtin__", "eval")],
)  # fmt: skip
@pytest.mark.parametrize("kind", FORMATS)
def test_a_file_that_names_anything_else_is_refused_by_that_name(writer, tmp_path, kind, module, attribute):
    mark = tmp_path / "mark"
    bomb = Bomb(module, attribute, str(mark)).body
    windows, storages = writer.windows_of(ARRAYS)
    path = tmp_path / "weights.pth"
    items = {key: writer.tensor(window, storages) for key, window in windows.items()} | {"x": bomb}
    build = writer.zip_file if kind == "zip" else writer.legacy_file
    path.write_bytes(build(writer.ordered_dict_of(items), storages))
    message = refusal(path)
    assert f"asks for {module}.{attribute}, which is not part of a tensor" in message
    assert "nothing was run" in message
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("place", range(5))
def test_every_pickle_of_an_old_file_is_guarded(writer, tmp_path, place):
    mark = tmp_path / "mark"
    pickles = [writer.integer(writer.MAGIC), writer.integer(writer.PROTOCOL), writer.dict_of({}), writer.dict_of({}),
               writer.list_of()]  # fmt: skip
    pickles[place] = Bomb("os", "mkdir", str(mark)).body
    path = tmp_path / "weights.pth"
    path.write_bytes(b"".join(map(writer.pickled, pickles)))
    assert "asks for os.mkdir" in refusal(path)
    assert not mark.exists()


# Forty tuples, each twice the one before: 2**40 leaves to print or to hash, in 170 bytes.
NESTED = b")" + b"q\x63h\x63\x86" * 40


def attacks(writer) -> dict[str, bytes]:
    """Pickles that name only what is admitted, and misuse it."""
    window, storages = writer.Window("0", (2,), (1,)), {"0": np.zeros(2, np.float32)}
    good = writer.tensor(window, storages)
    rebuild = writer.name("torch._utils", "_rebuild_tensor_v2")
    key = writer.text("a")

    def value(body: bytes) -> bytes:
        return b"}" + key + body + b"s"

    def window_of(*numbers: bytes) -> bytes:
        return value(rebuild + writer.tuple_of(writer.storage_id("0", storages["0"]), *numbers) + b"R")

    one = writer.sizes((1,))
    return {
        "state of a tensor": value(good + writer.dict_of({"offset": writer.integer(9)}) + b"b"),
        "state of a storage": value(
            writer.storage_id("0", storages["0"]) + writer.list_of(key, key, key, key, key) + b"b"
        ),
        "a state that is a storage's": value(
            rebuild
            + writer.tuple_of(
                writer.storage_id("0", storages["0"]) + writer.list_of(key, writer.NONE, one, one, one) + b"b",
                writer.integer(0),
                one,
                one,
            )
            + b"R"
        ),
        "a set": value(b"\x8f(" + key + b"\x90"),
        "tuples in tuples as a key": b"}" + NESTED + writer.integer(1) + b"s",
        "tuples in tuples as keys": b"}(" + NESTED + writer.integer(1) + b"u",
        "tuples in tuples as keys of old": b"(" + NESTED + writer.integer(1) + b"d",
        "tuples in tuples as keys of an ordered dictionary": writer.call(
            "collections", "OrderedDict", writer.list_of(writer.list_of(NESTED, key))
        ),
        "tuples in tuples as a storage's key": value(
            writer.tuple_of(
                writer.text("storage"), writer.name("torch", "FloatStorage"), NESTED, key, writer.integer(2)
            )
            + b"Q"
        ),
        "tuples in tuples as an outside object": value(NESTED + b"Q"),
        "tuples in tuples as an offset": window_of(NESTED, one, one),
        "an unprintable name": value(writer.name("os\x1b[31m", "system")),
        "state of a function": value(rebuild + writer.dict_of({"_answer": good}) + b"b"),
        "state of a type": value(writer.name("torch", "FloatStorage") + writer.dict_of({"dtype": good}) + b"b"),
        "a type is called": value(writer.name("torch", "FloatStorage") + writer.tuple_of() + b"R"),
        "a function is a class": value(rebuild + b")\x81"),
        "an extension code": value(b"\x82\x01"),
        "an unknown outside object": value(writer.text("x") + b"Q"),
        "a storage of no type": value(writer.tuple_of(writer.text("storage"), key, key, key, writer.integer(2)) + b"Q"),
        "a tensor without storage": value(rebuild + writer.tuple_of(key, key, one, one) + b"R"),
        "a negative offset": window_of(writer.integer(-1), one, one),
        "an offset behind the end": window_of(writer.integer(2), one, one),
        "an enormous offset": window_of(writer.integer(2**70), one, one),
        "a negative stride": window_of(writer.integer(1), writer.sizes((2,)), writer.sizes((-1,))),
        "a negative size": window_of(writer.integer(0), writer.sizes((-2,)), one),
        "a shape behind the end": window_of(writer.integer(0), writer.sizes((3,)), one),
        "a stride behind the end": window_of(writer.integer(0), writer.sizes((2,)), writer.sizes((2,))),
        "more strides than sizes": window_of(writer.integer(0), one, writer.sizes((1, 1))),
        "sizes that are none": window_of(writer.integer(0), key, key),
        "a tensor larger than memory": window_of(writer.integer(0), writer.sizes((2**40,)), writer.sizes((0,))),
        "a text as large as memory": b"}" + b"X\xff\xff\xff\xff",
        "a byte array as large as memory": b"}" + b"\x96" + struct.pack("<Q", 2**36),
        "a text without end": b"}" + b"Vabc",
        "a large number in the memo": b"}r\0\0\0\x10",
        "a frozen set": b"}" + key + b"(" + NESTED + b"\x91s",
        "tuples in tuples as a type": value(
            writer.tuple_of(writer.text("storage"), NESTED, key, key, writer.integer(2)) + b"Q"
        ),
        "one list as many dictionaries": writer.list_of(*[writer.list_of(key, key)] * 1000)
        + b"q\x01"
        + (writer.name("collections", "OrderedDict") + b"h\x01\x85R") * 10_000,
        "dictionaries in dictionaries": b"}X\x01\0\0\0a" * 100_000 + b"N" + b"s" * 100_000,
        "no dictionary": writer.list_of(),
        "one tensor": good,
        "nothing": b"}",
        "numbers": value(writer.integer(1)),
        "a key that is no text": b"}" + writer.integer(1) + good + b"s",
        "a dictionary in itself": b"}\x94" + writer.text("model") + b"h\x00s",
    }


def test_what_is_admitted_cannot_be_misused(writer, tmp_path):
    storages = {"0": np.zeros(2, np.float32)}
    for attack, body in attacks(writer).items():
        for build in (writer.zip_file, writer.legacy_file):
            path = tmp_path / f"{build.__name__}: {attack}"
            path.write_bytes(build(body, storages))
            message = refusal(path)
            assert message.isprintable()
            assert len(message) < 1000


@pytest.mark.parametrize("shape", [[0, 2**62, 2**62], [1] * 70, [2**70], [-1, -4], ["4"], 4, [0, 2**63]])
def test_shapes_of_safetensors_that_no_array_has_are_refused(tmp_path, shape):
    path = tmp_path / "weights.safetensors"
    raw = bytes(16 if isinstance(shape, int) or 0 not in shape else 0)
    path.write_bytes(safetensors_file("F32", shape, raw))
    assert "is altered or damaged: " in refusal(path)


@pytest.mark.parametrize("header", [b'{"a":' * 100_000, b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}"])
def test_a_header_of_safetensors_nested_without_end_is_refused(tmp_path, header):
    path = tmp_path / "weights.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header)
    assert "is altered or damaged: " in refusal(path)


def test_the_stride_of_one_element_is_any_number(writer, tmp_path):
    storages = {"0": np.arange(3, dtype=np.float32)}
    path = tmp_path / "weights.pth"
    window = writer.Window("0", (1, 2), (2**62, 1), 1)
    path.write_bytes(writer.zip_file(writer.dict_of({"a": writer.tensor(window, storages)}), storages))
    np.testing.assert_array_equal(read_torch_file(path)["a"], [[1, 2]])


def test_what_takes_far_more_memory_than_its_file_is_refused(writer, tmp_path):
    storages = {"0": np.zeros(1000, np.float32)}
    window = writer.tensor(writer.Window("0", (2000, 1000), (0, 1)), storages)  # each 8 MB, from 4 kB
    for count in (1, 1000):
        path = tmp_path / "weights.pth"
        path.write_bytes(writer.zip_file(writer.dict_of({str(i): window for i in range(count)}), storages))
        assert "altered or damaged: its tensors would take" in refusal(path)


def test_ordered_dictionaries_of_python_2(writer, tmp_path):
    windows, storages = writer.windows_of(ARRAYS)
    pairs = [writer.list_of(writer.text(k), writer.tensor(w, storages)) for k, w in windows.items()]
    path = tmp_path / "weights.pth"
    path.write_bytes(writer.legacy_file(writer.call("collections", "OrderedDict", writer.list_of(*pairs)), storages))
    assert_same(read_torch_file(path), ARRAYS)


def test_a_large_number_in_the_memo_takes_no_memory(writer, tmp_path):
    windows, storages = writer.windows_of({"a": np.zeros(2, np.float32)})
    value = writer.tensor(windows["a"], storages) + b"r\xff\xff\xff\x7f"  # kept as number 2**31 - 1
    path = tmp_path / "weights.pth"
    path.write_bytes(writer.zip_file(writer.dict_of({"a": value}), storages))
    assert_same(read_torch_file(path), {"a": np.zeros(2, np.float32)})


def test_other_files_are_named(tmp_path):
    def message(raw: bytes) -> str:
        path = tmp_path / "weights.pth"
        path.write_bytes(raw)
        return refusal(path)

    array = io.BytesIO()
    np.savez(array, a=np.zeros(3))
    assert "it is empty" in message(b"")
    assert "web page" in message(b"\n<!DOCTYPE html><html>")
    assert "Git LFS pointer" in message(b"version https://git-lfs.github.com/spec/v1\noid sha256:0")
    assert "begins with 89 50 4e 47" in message(b"\x89PNG\r\n\x1a\n")
    assert "a zip file without a data.pkl" in message(array.getvalue())
    assert "its magic number is missing" in message(b"\x80\x02K\x01.")
    assert "none.pth cannot be read: No such file or directory;" in refusal(tmp_path / "none.pth")
    assert "Is a directory" in refusal(tmp_path)


def test_the_tar_format_of_before_2018_is_refused_by_name(tmp_path):
    path = tmp_path / "weights.pth"
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as archive:
        archive.addfile(tarfile.TarInfo("sys_info"))
    assert "it is a tar file, the format of torch before 2018, which is not read; load it with PyTorch" in refusal(path)


# --- truncated and altered files ---


@pytest.mark.parametrize("kind", FORMATS)
def test_a_file_cut_anywhere_is_named_as_truncated(file_of, kind):
    path = file_of(kind, ARRAYS)
    raw = path.read_bytes()
    offsets = set(np.linspace(16, len(raw) - 1, 60, dtype=int)) | {len(raw) - 1, len(raw) - 4}
    for offset in offsets:
        path.write_bytes(raw[:offset])
        assert "is truncated: " in refusal(path), offset


def test_a_truncated_old_file_says_which_storage_and_how_much(file_of):
    path = file_of("legacy", ARRAYS)
    raw = path.read_bytes()
    path.write_bytes(raw[:-3])
    assert "the storage 2 (3 of 3) lacks 3 of its 8 bytes" in refusal(path)
    path.write_bytes(raw[:-10])
    assert "before the storage 2 (3 of 3)" in refusal(path)


def test_a_truncated_safetensors_file_says_how_much_it_lacks(tmp_path):
    path = tmp_path / "weights.safetensors"
    safetensors.numpy.save_file({"a": np.zeros(8, np.float32), "b": np.zeros(8, np.float32)}, path)
    raw = path.read_bytes()
    path.write_bytes(raw[:-40])
    assert f"it has {len(raw) - 40} bytes where it should have {len(raw)} or more" in refusal(path)
    path.write_bytes(raw[:20])
    assert f"it has 20 bytes where it should have {len(raw) - 64} or more" in refusal(path)
    path.write_bytes(raw[:8] + b"{" + b"\xff" * (len(raw) - 9))
    assert "is altered or damaged" in refusal(path)


def test_a_safetensors_file_may_have_null_for_its_metadata(tmp_path):
    header = json.dumps({"__metadata__": None, "a": {"dtype": "U8", "shape": [2], "data_offsets": [0, 2]}}).encode()
    (tmp_path / "weights.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + b"\1\2")
    assert read_torch_file(tmp_path / "weights.safetensors")["a"].tolist() == [1, 2]


def test_a_whole_zip_file_with_a_damaged_directory_is_not_called_truncated(file_of):
    path = file_of("zip", ARRAYS)
    raw = path.read_bytes()
    path.write_bytes(raw.replace(b"PK\x01\x02", b"PK\x01\x03"))
    assert "is altered or damaged: Bad magic number for central directory" in refusal(path)
    path.write_bytes(raw[:-1])
    assert "is truncated" in refusal(path)


def test_a_safetensors_file_is_in_memory_once(tmp_path):
    arrays = {f"a{i}": np.zeros(100_000, np.float32) for i in range(10)}
    safetensors.numpy.save_file(arrays, tmp_path / "weights.safetensors")
    tracemalloc.start()
    assert read_torch_file(tmp_path / "weights.safetensors").keys() == arrays.keys()
    assert tracemalloc.get_traced_memory()[1] < 1.5 * sum(array.nbytes for array in arrays.values())
    tracemalloc.stop()


def test_every_altered_byte_of_a_zip_entry_is_noticed(file_of):
    path = file_of("zip", ARRAYS)
    raw = path.read_bytes()
    begins = raw.index(ARRAYS["conv.weight"].tobytes())
    path.write_bytes(raw[: begins + 50] + bytes([raw[begins + 50] ^ 1]) + raw[begins + 51 :])
    message = refusal(path)
    assert "is altered or damaged: the entry archive/data/0 cannot be read (Bad CRC-32" in message


@pytest.mark.parametrize("kind", FORMATS)
def test_altered_bytes_never_give_anything_but_arrays_or_a_sentence(file_of, kind):
    path = file_of(kind, ARRAYS)
    raw = path.read_bytes()
    rng = np.random.default_rng(1)
    for _ in range(150):
        altered = bytearray(raw)
        for position in rng.integers(0, len(raw), rng.integers(1, 4)):
            altered[position] = rng.integers(256)
        path.write_bytes(altered)
        try:
            assert all(isinstance(array, np.ndarray) for array in read_torch_file(path).values())
        except UserError as error:
            assert "\n" not in str(error)  # noqa: PT017 - either outcome is right


def test_contradictions_are_named(writer, file_of, tmp_path):
    windows, storages = writer.windows_of(ARRAYS)
    description = writer.described(windows, storages)
    path = tmp_path / "weights.pth"

    path.write_bytes(writer.zip_file(description, {key: storages[key] for key in ("0", "1")}))
    assert "the entry archive/data/2 is missing" in refusal(path)
    path.write_bytes(writer.zip_file(description, storages | {"1": np.zeros(3, np.float32)}))
    assert "archive/data/1 has 12 bytes, but its storage 16" in refusal(path)
    entries = {"a/data.pkl": writer.pickled(description)}
    path.write_bytes(writer.zip_bytes(entries, method=zipfile.ZIP_DEFLATED))
    assert "is compressed, which torch never does" in refusal(path)

    raw = writer.legacy_file(description, storages)
    path.write_bytes(raw + b"xyz")
    assert "3 bytes follow the last storage" in refusal(path)
    path.write_bytes(writer.legacy_file(description, {key: storages[key] for key in ("0", "1")}))
    assert "the storage 2 is missing" in refusal(path)
    path.write_bytes(writer.legacy_file(description, storages | {"3": np.zeros(2)}))
    assert "no tensor uses the storage 3 (4 of 4)" in refusal(path)
    path.write_bytes(writer.legacy_file(description, storages | {"1": np.zeros(3, np.float32)}))
    assert "the storage 1 (2 of 3) holds 3 elements, but its description says 4" in refusal(path)


# --- real files ---


def test_real_files_that_were_cut_short(shared_weights):
    folder = shared_weights / "torchvision_partial"
    zipped = refusal(folder / "resnet18-f37072fd.pth.first-579901-bytes")
    assert "is truncated: it ends after 579,901 bytes" in zipped
    assert "it is a tar file, the format of torch before 2018" in refusal(
        folder / "resnet18-5c106cde.pth.first-1048576-bytes"
    )


def test_the_whole_tensors_of_a_real_zip_file(shared_weights, writer, tmp_path):
    """The entries that are complete, under a directory of our own, next to a description of those alone."""
    folder = shared_weights / "torchvision_partial"
    raw = (folder / "resnet18-f37072fd.pth.first-579901-bytes").read_bytes()
    contents, sizes = {}, {}
    starts = [found.start() for found in re.finditer(torch_zip.SIGNATURE, raw)]
    for at in starts:  # local headers, which lack the sizes of a streamed file
        name_length, extra_length = struct.unpack("<HH", raw[at + 26 : at + 30])
        name, start = raw[at + 30 : at + 30 + name_length].decode(), at + 30 + name_length + extra_length
        if name == "archive/data.pkl":
            contents[name] = raw[start : raw.index(b".PK\x07\x08", start) + 1]
            tensors = torch_pickle.load(io.BytesIO(contents[name]), "it", "it").values()
            sizes = {f"archive/data/{tensor.storage.key}": tensor.storage.nbytes for tensor in tensors}
        elif start + sizes[name] <= len(raw):
            contents[name] = raw[start : start + sizes[name]]
    zeros = {name: bytes(size) for name, size in sizes.items()}
    assert len(contents) == 6
    path = tmp_path / "resnet18.pth"
    path.write_bytes(writer.zip_bytes(zeros | contents))
    found = read_torch_file(path)
    assert len(found) == 102
    with np.load(folder / "resnet18-f37072fd.5-of-102-tensors.npz") as expected:
        for key, array in expected.items():
            np.testing.assert_array_equal(found[key], array, key)

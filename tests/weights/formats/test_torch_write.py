"""PyTorch files written without torch: read back by our reader, and by torch where it is installed."""

import ml_dtypes
import numpy as np
import pytest

from jaxtl.errors import UserError
from jaxtl.weights import read_torch_file, write_torch_file

ARRAYS = {
    "conv.weight": np.random.default_rng(0).normal(size=(4, 3, 3, 3)).astype(np.float32),
    "transposed": np.arange(6, dtype=np.float32).reshape(2, 3).T,
    "bn.num_batches_tracked": np.array(7, np.int64),
    "empty": np.zeros((0, 3), np.float32),
    "größe": np.arange(3, dtype=ml_dtypes.bfloat16),
    "big_endian": np.arange(3, dtype=">f8"),
    **{kind: np.arange(4).astype(kind) for kind in ("float16", "int32", "int16", "int8", "uint8", "bool", "complex64")},
}


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("torch") / "weights.pth"
    write_torch_file(ARRAYS, path)
    return path


def test_the_same_bits_come_back(file):
    found = read_torch_file(file)
    assert list(found) == list(ARRAYS)
    for key, array in ARRAYS.items():
        little = array.astype(array.dtype.newbyteorder("<"))
        assert found[key].dtype == little.dtype and found[key].shape == array.shape
        assert found[key].tobytes() == little.tobytes(), key


def test_the_same_weights_give_the_same_file(file, tmp_path):
    write_torch_file(ARRAYS, tmp_path / "again.pth")
    assert (tmp_path / "again.pth").read_bytes() == file.read_bytes()


def test_torch_reads_it(file):
    torch = pytest.importorskip("torch")
    for mmap in (False, True):
        found = torch.load(file, weights_only=True, mmap=mmap)
        assert list(found) == list(ARRAYS)
        for key, tensor in found.items():
            assert tensor.is_contiguous() and tensor.shape == ARRAYS[key].shape
            if tensor.dtype != torch.bfloat16:  # numpy has none
                np.testing.assert_array_equal(tensor.numpy(), ARRAYS[key])
        assert found["größe"].float().tolist() == [0, 1, 2]


def test_a_type_that_torch_does_not_have(tmp_path):
    with pytest.raises(UserError, match="a is of type uint16, which torch has no storage for"):
        write_torch_file({"a": np.zeros(3, np.uint16)}, tmp_path / "weights.pth")
    assert not list(tmp_path.iterdir())

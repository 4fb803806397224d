"""Archives of numpy: what is damaged is one sentence."""

import contextlib
import io
import zipfile

import numpy as np
import pytest

from jaxtl.errors import UserError
from jaxtl.weights.formats.npz_file import read_npz


@pytest.mark.parametrize("place", range(8, 128))
def test_a_flipped_bit_in_the_header_of_an_array(tmp_path, place):
    """The archive's own checksum is right, so that numpy alone can notice; it does so in many ways, or not at all."""
    content = io.BytesIO()
    np.save(content, np.ones((2, 10), np.float32))
    damaged = bytearray(content.getvalue())
    damaged[place] ^= 1
    with zipfile.ZipFile(tmp_path / "weights.npz", "w") as archive:
        archive.writestr("a.npy", bytes(damaged))
    with contextlib.suppress(UserError):
        assert read_npz(tmp_path / "weights.npz").keys() == {"a"}


def test_an_archive_is_read_by_name(tmp_path):
    np.savez(tmp_path / "weights.npz", a=np.arange(3))
    np.testing.assert_array_equal(read_npz(tmp_path / "weights.npz")["a"], [0, 1, 2])

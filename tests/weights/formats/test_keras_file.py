"""HDF5 files of Keras, written here as Keras writes them, without Keras."""

import sys

import numpy as np
import pytest

from jaxtl.errors import UserError
from jaxtl.weights import read_keras_file, write_keras_file

h5py = pytest.importorskip("h5py", reason="h5py, which reads files of Keras, is not installed")

RNG = np.random.default_rng(0)
ARRAYS = {
    "conv1_conv/kernel": RNG.normal(size=(3, 3, 3, 4)).astype(np.float32),
    "conv1_conv/bias": RNG.normal(size=4).astype(np.float32),
    "conv1_bn/gamma": RNG.normal(size=4).astype(np.float32),
    "conv1_bn/beta": RNG.normal(size=4).astype(np.float32),
    "conv1_bn/moving_mean": RNG.normal(size=4).astype(np.float32),
    "conv1_bn/moving_variance": RNG.normal(size=4).astype(np.float32),
}


def assert_same(found: dict[str, np.ndarray]) -> None:
    assert list(found) == list(ARRAYS)
    for key, array in ARRAYS.items():
        assert found[key].dtype == array.dtype
        np.testing.assert_array_equal(found[key], array, key)


def refusal(path) -> str:
    with pytest.raises(UserError) as info:
        read_keras_file(path)
    assert "\n" not in str(info.value)
    return str(info.value)


def old_file(path, layers: dict[str, dict[str, np.ndarray]], inside: str = "/"):
    """The format of Keras before 3, which its applications are published in."""
    with h5py.File(path, "w") as file:
        root = file.require_group(inside)
        root.attrs["layer_names"] = [layer.encode() for layer in layers]
        for layer, arrays in layers.items():
            group = root.create_group(layer)
            group.attrs["weight_names"] = [name.encode() for name in arrays]
            for name, array in arrays.items():
                group[name] = array
    return path


def layers_of(conv: str, norm: str, names: list[str]) -> dict[str, dict[str, np.ndarray]]:
    arrays = list(ARRAYS.values())
    named = dict(zip(names, arrays, strict=True))
    first = dict(list(named.items())[:2])
    return {"input_1": {}, conv: first, norm: {name: array for name, array in named.items() if name not in first}}


TENSORFLOW_NAMES = [f"{key}:0" for key in ARRAYS]
OLDER_NAMES = ["c_W_1:0", "c_b_1:0", "b_gamma_1:0", "b_beta_1:0", "b_running_mean_1:0", "b_running_std_1:0"]


@pytest.mark.parametrize("names", [TENSORFLOW_NAMES, OLDER_NAMES, list(ARRAYS)])
@pytest.mark.parametrize("inside", ["/", "model_weights"])
def test_files_of_the_applications_are_read(tmp_path, names, inside):
    assert_same(read_keras_file(old_file(tmp_path / "a.h5", layers_of("conv1_conv", "conv1_bn", names), inside)))


def test_layers_with_a_slash_have_todays_names(tmp_path):
    layers = layers_of("conv1/conv", "conv1/bn", ["conv1/conv/kernel:0", "conv1/conv/bias:0", *TENSORFLOW_NAMES[2:]])
    assert_same(read_keras_file(old_file(tmp_path / "a.h5", layers)))


def new_file(path, *, names: bool = True):
    """The format of Keras 3: groups by class, arrays by number, and the layer's name beside them."""
    arrays = list(ARRAYS.values())
    with h5py.File(path, "w") as file:
        groups = (("layers/conv2d", "conv1_conv", arrays[:2]), ("layers/batch_normalization", "conv1_bn", arrays[2:]),
                  ("layers/re_lu", "relu", []), ("optimizer", "adam", arrays[:1]),
                  ("layers/dropout/seed_generator", "seed_generator", [np.zeros(2, np.uint32)]))  # fmt: skip
        for place, name, values in groups:
            group = file.create_group(f"{place}/vars")
            if names:
                group.attrs["name"] = name
            for i, value in enumerate(values):
                group[str(i)] = value
    return path


def test_files_of_keras_3_are_read(tmp_path):
    found = read_keras_file(new_file(tmp_path / "a.weights.h5"))
    assert_same({key: found[key] for key in ARRAYS})
    assert len(found) == len(ARRAYS)


def test_files_without_names_of_layers_are_refused(tmp_path):
    assert "does not have the names of its layers" in refusal(new_file(tmp_path / "a.weights.h5", names=False))


def test_what_is_written_is_read_and_the_same_weights_give_the_same_file(tmp_path):
    for name in ("a.h5", "b.h5"):
        write_keras_file(ARRAYS, tmp_path / name)
        assert_same(read_keras_file(tmp_path / name))
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()


def test_files_that_are_no_weights_are_named(tmp_path):
    assert f"There is no file {tmp_path / 'none.h5'}" in refusal(tmp_path / "none.h5")
    (tmp_path / "a.h5").write_bytes(b"garbage")
    assert "a.h5 is altered or damaged" in refusal(tmp_path / "a.h5")
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file["numbers"] = np.zeros(3)
    assert "b.h5 is an HDF5 file, but Keras did not write it" in refusal(tmp_path / "b.h5")


def test_links_and_swollen_data_are_refused(tmp_path):
    layers = layers_of("conv1_conv", "conv1_bn", TENSORFLOW_NAMES)
    secret = old_file(tmp_path / "secret.h5", layers)
    for link in (h5py.ExternalLink(str(secret), "/conv1_bn"), h5py.SoftLink("/conv1_conv")):
        path = old_file(tmp_path / "a.h5", layers)
        with h5py.File(path, "a") as file:
            del file["conv1_bn"]
            file["conv1_bn"] = link
        assert "conv1_bn is missing, or a link" in refusal(path)
    for options in ({"compression": "gzip"}, {"external": [(str(secret), 0, h5py.h5f.UNLIMITED)]}):
        path = old_file(tmp_path / "a.h5", {"conv1_conv": {}})
        with h5py.File(path, "a") as file:
            group = file["conv1_conv"]
            size = 10_000_000 if "compression" in options else 10
            group.create_dataset("k:0", (size,), np.float32, **options)
            group.attrs["weight_names"] = [b"k:0"]
        assert "k:0 does not keep its numbers in this file" in refusal(path)


def test_a_file_cut_or_altered_anywhere_gives_arrays_or_a_sentence(tmp_path):
    path = tmp_path / "a.h5"
    write_keras_file(ARRAYS, path)
    raw = path.read_bytes()
    rng = np.random.default_rng(1)
    for attempt in range(100):
        altered = bytearray(raw if attempt % 2 else raw[: rng.integers(len(raw))])
        for position in rng.integers(0, max(1, len(altered)), 3 * (attempt % 2)):
            altered[position] = rng.integers(256)
        path.write_bytes(altered)
        try:
            assert all(isinstance(array, np.ndarray) for array in read_keras_file(path).values())
        except UserError as error:
            assert "\n" not in str(error)  # noqa: PT017 - either outcome is right


def test_without_h5py_the_way_out_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "h5py", None)
    assert "pip install 'jaxtl[keras]'" in refusal(tmp_path / "a.h5")

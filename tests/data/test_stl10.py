import dataclasses
import hashlib
import io
import tarfile
from pathlib import Path

import numpy as np
import pytest

from jaxtl.data import official_files
from jaxtl.data.catalogue import dataset_info
from jaxtl.data.dataset import Dataset
from jaxtl.data.official_files import load_official
from jaxtl.data.stl10 import CLASS_NAMES, OFFICIAL_MD5, STL10
from jaxtl.errors import UserError

(BINARY,) = STL10.editions
N = {"train": 4, "test": 3}


def pictures(split: str) -> np.ndarray:
    """uint8 [N, 96, 96, 3], other in every split."""
    return np.random.default_rng(N[split]).integers(0, 256, (N[split], 96, 96, 3), np.uint8)


def official_labels(split: str) -> list[int]:
    return [1, 10, 3, 7][: N[split]]


def encoded(images: np.ndarray) -> bytes:
    """Pixel by pixel as the format says it: image, plane, column, row."""
    return b"".join(bytes(image[:, column, plane]) for image in images for plane in range(3) for column in range(96))


def contents() -> dict[str, bytes]:
    files = {"unlabeled_X.bin": b"never looked at"}
    for split in N:
        files |= {f"{split}_X.bin": encoded(pictures(split)), f"{split}_y.bin": bytes(official_labels(split))}
    return files


def write_folder(data_dir: Path, files: dict[str, bytes]) -> None:
    (data_dir / BINARY.folder).mkdir()
    for name, raw in files.items():
        (data_dir / BINARY.folder / name).write_bytes(raw)


def write_archive(data_dir: Path, files: dict[str, bytes]) -> None:
    with tarfile.open(data_dir / BINARY.archive, "w:gz") as tar:
        for name, raw in sorted(files.items()):
            member = tarfile.TarInfo(f"{BINARY.folder}/{name}")
            member.size = len(raw)
            tar.addfile(member, io.BytesIO(raw))


HASHES = {name: hashlib.md5(raw).hexdigest() for name, raw in contents().items()}


def read(split: str, data_dir: Path, **options: object) -> Dataset:
    published = dataclasses.replace(STL10, md5=options.pop("md5", HASHES))
    return load_official(published, split, data_dir, **{"download": False, **options})


@pytest.mark.parametrize("write", [write_folder, write_archive])
@pytest.mark.parametrize("split", ["train", "test"])
def test_folder_and_archive_give_the_official_images(tmp_path, split, write):
    write(tmp_path, contents())
    dataset = read(split, tmp_path)
    assert np.array_equal(dataset.images, pictures(split))
    assert dataset.images.flags.c_contiguous
    assert dataset.labels.tolist() == [label - 1 for label in official_labels(split)]
    assert dataset.class_names == CLASS_NAMES


def test_a_plane_is_stored_column_by_column():
    """One bright pixel, which no symmetry hides: red, in row 0, column 2."""
    raw = bytearray(3 * 96 * 96)
    raw[2 * 96] = 255
    images, _ = BINARY.decode([bytes(raw), b"\x01"])
    assert np.argwhere(images).tolist() == [[0, 0, 2, 0]]


def test_the_folder_may_be_given_itself(tmp_path):
    write_folder(tmp_path, contents())
    assert len(read("test", tmp_path / BINARY.folder)) == N["test"]


def test_an_archive_is_read_no_further_than_the_split_reaches(tmp_path):
    """The unlabelled images come last; here they are lost."""
    files = contents() | {"unlabeled_X.bin": np.random.default_rng(0).bytes(300_000)}
    write_archive(tmp_path, files)
    archive = tmp_path / BINARY.archive
    archive.write_bytes(archive.read_bytes()[:-200_000])
    assert [len(read(split, tmp_path)) for split in N] == list(N.values())


def test_what_is_missing_is_downloaded(tmp_path, monkeypatch):
    def fetch(url: str, destination: Path, *, md5: str | None) -> Path:
        assert (url, md5) == ("http://ai.stanford.edu/~acoates/stl10/stl10_binary.tar.gz", "0" * 32)
        write_archive(tmp_path, contents())
        return destination

    monkeypatch.setattr(official_files, "fetch", fetch)
    assert len(read("test", tmp_path, download=True, md5=HASHES | {BINARY.archive: "0" * 32})) == N["test"]


def test_nothing_found_says_where_and_what(tmp_path):
    with pytest.raises(UserError, match=r"STL-10 is not in .*; put stl10_binary or stl10_binary\.tar\.gz there"):
        read("test", tmp_path)


@pytest.mark.parametrize("name", ["train_X.bin", "train_y.bin"])
@pytest.mark.parametrize("write", [write_folder, write_archive])
def test_a_damaged_file_is_named(tmp_path, write, name):
    write(tmp_path, contents() | {name: contents()[name][:-1]})
    with pytest.raises(UserError, match=rf"{name} is truncated or altered: its MD5 is \w+ instead of"):
        read("train", tmp_path)
    assert len(read("test", tmp_path)) == N["test"]


def test_a_missing_file_is_named(tmp_path):
    write_folder(tmp_path, contents())
    (tmp_path / BINARY.folder / "train_y.bin").unlink()
    with pytest.raises(UserError, match=r"train_y\.bin cannot be read \(No such file.*https://cs\.stanford\.edu"):
        read("train", tmp_path)


def test_a_member_that_the_archive_lacks_is_named(tmp_path):
    files = contents()
    del files["test_X.bin"]
    write_archive(tmp_path, files)
    with pytest.raises(UserError, match=r"stl10_binary\.tar\.gz is truncated or altered: it lacks .*test_X\.bin"):
        read("test", tmp_path)


@pytest.mark.parametrize("write", [write_folder, write_archive])
def test_a_hash_betrays_other_files(tmp_path, write):
    write(tmp_path, contents())
    with pytest.raises(UserError, match=r"test_[Xy]\.bin is truncated or altered: its MD5 is"):
        read("test", tmp_path, md5=OFFICIAL_MD5)
    with pytest.raises(KeyError, match=r"test_[Xy]\.bin"):  # a hash that is not published is a fault of the program
        read("test", tmp_path, md5={BINARY.archive: "0" * 32})


def test_every_file_has_a_hash():
    assert {BINARY.archive, *(name for names in BINARY.files.values() for name in names)} == set(OFFICIAL_MD5)


def test_an_official_file_is_small_enough_to_be_read():
    most = max(dataset_info("stl10").sizes.values())
    assert most * 3 * 96 * 96 < official_files.LARGEST_FILE_BYTES

import dataclasses
import gzip
import hashlib
import io
import pickle
import tarfile
from pathlib import Path

import numpy as np
import pytest

from jaxtl.data import official_files
from jaxtl.data.cifar import CIFAR10, CIFAR100, OFFICIAL_MD5, STAND_INS
from jaxtl.data.dataset import Dataset
from jaxtl.data.official_files import Edition, Published, find, load_official
from jaxtl.errors import UserError
from jaxtl.runtime.unpickle import unpickle

N = 4  # images in a synthetic batch file
EDITIONS = [(each, edition) for each in (CIFAR10, CIFAR100) for edition in each.editions]


def batch(cifar_set: Published, name: str) -> tuple[np.ndarray, list[int]]:
    """uint8 images [N, 32, 32, 3] and labels for the file ``name``: the same in both editions, other in every file."""
    rng = np.random.default_rng(list(name.removesuffix(".bin").encode()))
    images = rng.integers(0, 256, (N, 32, 32, 3), np.uint8)
    return images, rng.integers(0, len(cifar_set.class_names), N).tolist()


def encoded(cifar_set: Published, edition: Edition, name: str) -> bytes:
    images, labels = batch(cifar_set, name)
    pixels = np.stack([images[..., channel].reshape(N, -1) for channel in range(3)], axis=1).reshape(N, 3072)
    fine = cifar_set is CIFAR100
    if name.endswith(".bin"):
        coarse = np.full((N, 1 if fine else 0), 7, np.uint8)
        return np.hstack([coarse, np.array(labels, np.uint8)[:, None], pixels]).tobytes()
    entries = {"fine_labels": labels, "coarse_labels": [7] * N} if fine else {"labels": labels}
    return pickle.dumps({"batch_label": "synthetic", "data": pixels} | entries, protocol=4)


def contents(cifar_set: Published, edition: Edition) -> dict[str, bytes]:
    """The synthetic batch files of both splits, by name."""
    return {name: encoded(cifar_set, edition, name) for names in edition.files.values() for name in names}


def write_folder(data_dir: Path, edition: Edition, files: dict[str, bytes]) -> Path:
    folder = data_dir / edition.folder
    folder.mkdir()
    for name, raw in files.items():
        (folder / name).write_bytes(raw)
    return folder


def write_archive(data_dir: Path, edition: Edition, files: dict[str, bytes]) -> Path:
    """The archive, its members in reverse order as a reminder that no order is promised."""
    archive = data_dir / edition.archive
    with tarfile.open(archive, "w:gz") as tar:
        for name in sorted(files, reverse=True):
            member = tarfile.TarInfo(f"{edition.folder}/{name}")
            member.size = len(files[name])
            tar.addfile(member, io.BytesIO(files[name]))
    return archive


def read(cifar_set: Published, split: str, data_dir: Path) -> Dataset:
    hashes = {
        name: hashlib.md5(raw).hexdigest()
        for edition in cifar_set.editions
        for name, raw in contents(cifar_set, edition).items()
    }
    return load_official(with_hashes(cifar_set, hashes), split, data_dir, download=False)


def with_hashes(cifar_set: Published, md5: dict[str, str]) -> Published:
    return dataclasses.replace(cifar_set, md5=md5)


@pytest.mark.parametrize("write", [write_folder, write_archive])
@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize(("cifar_set", "edition"), EDITIONS)
def test_every_edition_gives_the_images_in_the_official_order(tmp_path, cifar_set, edition, split, write):
    write(tmp_path, edition, contents(cifar_set, edition))
    dataset = read(cifar_set, split, tmp_path)
    parts = [batch(cifar_set, name) for name in edition.files[split]]
    assert np.array_equal(dataset.images, np.concatenate([images for images, _ in parts]))
    assert dataset.labels.tolist() == [label for _, labels in parts for label in labels]
    assert dataset.class_names == cifar_set.class_names
    assert dataset.images.flags.c_contiguous


@pytest.mark.parametrize(("cifar_set", "edition"), EDITIONS)
def test_the_folder_may_be_given_itself(tmp_path, cifar_set, edition):
    folder = write_folder(tmp_path, edition, contents(cifar_set, edition))
    assert find(cifar_set, folder) == find(cifar_set, tmp_path) == (edition, folder)


def test_a_folder_goes_before_an_archive(tmp_path):
    python, binary = CIFAR10.editions
    write_archive(tmp_path, python, contents(CIFAR10, python))
    folder = write_folder(tmp_path, binary, contents(CIFAR10, binary))
    assert find(CIFAR10, tmp_path) == (binary, folder)


@pytest.mark.parametrize("write", [write_folder, write_archive])
def test_only_the_files_of_the_split_are_read(tmp_path, write):
    edition = CIFAR10.editions[0]
    write(tmp_path, edition, {"test_batch": encoded(CIFAR10, edition, "test_batch"), "data_batch_1": b"garbage"})
    assert len(read(CIFAR10, "test", tmp_path)) == N


def test_nothing_found_says_where_and_what(tmp_path):
    with pytest.raises(
        UserError, match=r"CIFAR-100 is not in .*cifar-100-python\.tar\.gz or cifar-100-binary or"
    ) as info:
        read(CIFAR100, "test", tmp_path)
    assert str(tmp_path) in str(info.value)
    assert "https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz" in str(info.value)


def test_what_is_missing_is_downloaded(tmp_path, monkeypatch):
    edition = CIFAR10.editions[0]
    files = contents(CIFAR10, edition)
    published = write_archive(tmp_path, edition, files).rename(tmp_path / "published")
    hashes = {name: hashlib.md5(raw).hexdigest() for name, raw in files.items()}
    hashes[edition.archive] = hashlib.md5(published.read_bytes()).hexdigest()

    def fetch(url: str, destination: Path, *, md5: str) -> Path:
        assert url == "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz"
        assert md5 == hashes["cifar-10-python.tar.gz"]
        return published.rename(destination)

    monkeypatch.setattr(official_files, "fetch", fetch)
    assert len(load_official(with_hashes(CIFAR10, hashes), "test", tmp_path, download=True)) == N
    assert find(CIFAR10, tmp_path) == (edition, tmp_path / "cifar-10-python.tar.gz")


# --- truncated, altered and hostile files ---


@pytest.mark.parametrize(("cifar_set", "edition"), EDITIONS)
def test_a_hash_betrays_an_altered_byte(tmp_path, cifar_set, edition):
    files = contents(cifar_set, edition)
    hashes = {name: hashlib.md5(raw).hexdigest() for name, raw in files.items()}
    folder = write_folder(tmp_path, edition, files)
    assert len(load_official(with_hashes(cifar_set, hashes), "test", tmp_path, download=False)) == N
    (name,) = edition.files["test"]
    altered = bytearray(files[name])
    altered[2000] ^= 1
    (folder / name).write_bytes(altered)
    with pytest.raises(
        UserError, match=f"{name} is truncated or altered: its MD5 is .* instead of {hashes[name]}; del"
    ):
        load_official(with_hashes(cifar_set, hashes), "test", tmp_path, download=False)


def test_a_hash_betrays_an_altered_archive(tmp_path):
    edition = CIFAR10.editions[1]
    write_archive(tmp_path, edition, contents(CIFAR10, edition))
    with pytest.raises(
        UserError, match=r"cifar-10-binary\.tar\.gz:\S+test_batch\.bin is truncated or altered: its MD5"
    ):
        load_official(CIFAR10, "test", tmp_path, download=False)


def test_every_official_file_has_a_hash():
    named = {edition.archive for _, edition in EDITIONS}
    named |= {name for _, edition in EDITIONS for names in edition.files.values() for name in names}
    assert named == set(OFFICIAL_MD5)
    assert len(set(OFFICIAL_MD5.values())) == len(OFFICIAL_MD5)


@pytest.mark.parametrize("write", [write_folder, write_archive])
@pytest.mark.parametrize(("cifar_set", "edition"), EDITIONS)
def test_a_truncated_batch_is_refused(tmp_path, cifar_set, edition, write):
    files = contents(cifar_set, edition)
    (name,) = edition.files["test"]
    write(tmp_path, edition, files | {name: files[name][:-100]})
    with pytest.raises(UserError, match=f"{edition.folder}/{name} is truncated or altered"):
        read(cifar_set, "test", tmp_path)


@pytest.mark.parametrize("edition", CIFAR10.editions)
def test_an_empty_batch_is_refused(tmp_path, edition):
    write_folder(tmp_path, edition, contents(CIFAR10, edition) | {edition.files["test"][0]: b""})
    with pytest.raises(UserError, match="truncated or altered"):
        read(CIFAR10, "test", tmp_path)


def test_a_missing_batch_is_named(tmp_path):
    edition = CIFAR10.editions[0]
    folder = write_folder(tmp_path, edition, contents(CIFAR10, edition))
    (folder / "data_batch_3").unlink()
    with pytest.raises(UserError, match=r"data_batch_3 cannot be read \(No such file"):
        read(CIFAR10, "train", tmp_path)


def test_a_cut_archive_is_refused_at_every_length(tmp_path):
    edition = CIFAR10.editions[1]
    archive = write_archive(tmp_path, edition, {"test_batch.bin": encoded(CIFAR10, edition, "test_batch.bin")})
    raw = archive.read_bytes()
    for length in (0, 5, 100, len(raw) // 2, len(raw) * 9 // 10):
        archive.write_bytes(raw[:length])
        with pytest.raises(UserError, match=r"cifar-10-binary\.tar\.gz is truncated or altered"):
            read(CIFAR10, "test", tmp_path)


def test_an_archive_of_garbage_never_escapes_as_another_error(tmp_path):
    edition = CIFAR10.editions[1]
    archive = write_archive(tmp_path, edition, {"test_batch.bin": encoded(CIFAR10, edition, "test_batch.bin")})
    plain = gzip.decompress(archive.read_bytes())
    rng = np.random.default_rng(0)
    for _ in range(100):
        altered = bytearray(plain)
        for position in rng.integers(0, 512, 4):  # the header of the member
            altered[position] = rng.integers(256)
        archive.write_bytes(gzip.compress(altered, compresslevel=1))
        try:
            read(CIFAR10, "test", tmp_path)
        except UserError:
            continue


def hostile_archive(archive: Path, members: list[tarfile.TarInfo], payload: bytes) -> None:
    with tarfile.open(archive, "w:gz") as tar:
        for member in members:
            member.size = len(payload) if member.isfile() else 0
            tar.addfile(member, io.BytesIO(payload))


def test_a_hostile_archive_changes_nothing_on_the_disk(tmp_path):
    data_dir = tmp_path / "data"
    data_dir.mkdir()
    edition = CIFAR10.editions[0]
    secret = tmp_path / "secret"
    secret.write_bytes(encoded(CIFAR10, edition, "test_batch"))
    outside = tarfile.TarInfo("../outside")
    absolute = tarfile.TarInfo(str(tmp_path / "absolute"))
    link = tarfile.TarInfo("cifar-10-batches-py/test_batch")
    link.type, link.linkname = tarfile.SYMTYPE, str(secret)
    hostile_archive(data_dir / edition.archive, [outside, absolute, link], b"evil")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UserError, match="lacks cifar-10-batches-py/test_batch"):
        read(CIFAR10, "test", data_dir)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_member_of_absurd_size_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(official_files, "LARGEST_FILE_BYTES", 1000)
    edition = CIFAR10.editions[1]
    write_archive(tmp_path, edition, contents(CIFAR10, edition))
    with pytest.raises(UserError, match=r"lacks .*test_batch\.bin"):
        read(CIFAR10, "test", tmp_path)


# --- the real CIFAR-10 ---


@pytest.mark.parametrize(
    ("split", "per_class", "first_labels"), [("train", 5000, [6, 9, 9, 4, 1]), ("test", 1000, [3, 8, 8, 0, 6])]
)
def test_the_real_cifar10(cifar10_dir, split, per_class, first_labels):
    dataset = load_official(CIFAR10, split, cifar10_dir, download=False)
    assert dataset.images.shape == (10 * per_class, 32, 32, 3)
    assert np.bincount(dataset.labels).tolist() == [per_class] * 10
    assert dataset.labels[:5].tolist() == first_labels


def test_the_first_real_image_has_its_known_pixels(cifar10_dir):
    image = load_official(CIFAR10, "train", cifar10_dir, download=False).images[0]
    assert image[0, 0].tolist() == [59, 62, 63]  # red, green, blue of the top left corner
    assert image[0, 1].tolist() == [43, 46, 45]


def test_the_class_names_are_those_of_the_real_cifar10(cifar10_dir):
    path = cifar10_dir / "cifar-10-batches-py" / "batches.meta"
    names = unpickle(io.BytesIO(path.read_bytes()), STAND_INS)["label_names"]
    assert tuple(names) == CIFAR10.class_names


def test_the_real_test_images_in_binary_form_are_the_official_binary_file(cifar10_dir, tmp_path):
    python = load_official(CIFAR10, "test", cifar10_dir, download=False)
    planes = python.images.transpose(0, 3, 1, 2).reshape(len(python), 3072)
    records = np.hstack([python.labels[:, None].astype(np.uint8), planes])
    write_folder(tmp_path, CIFAR10.editions[1], {"test_batch.bin": records.tobytes()})
    binary = load_official(CIFAR10, "test", tmp_path, download=False)
    assert all(
        np.array_equal(getattr(python, field.name), getattr(binary, field.name)) for field in dataclasses.fields(python)
    )

import pwd
import threading
from pathlib import Path

import pytest

from jaxtl.errors import UserError
from jaxtl.runtime.files import cache_dir, damage_explained, file_lock, read_object, user_path, write_whole


@pytest.fixture
def no_home(monkeypatch):
    """Neither a variable nor an entry of this user in the system's list, as in some containers."""

    def unknown(*_):
        raise KeyError("unknown user")

    for name in ("HOME", "JAXTL_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", unknown)


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("~/runs/x", "/home/someone/runs/x"),
        ("~", "/home/someone"),
        ("~tmp.jpg", "~tmp.jpg"),
        ("~nobody-of-this-name/x", "~nobody-of-this-name/x"),
        ("a/~/b", "a/~/b"),
        (Path("~/x"), "/home/someone/x"),
    ],
)
def test_a_tilde_is_a_home_folder_or_a_part_of_a_name(monkeypatch, text, path):
    monkeypatch.setenv("HOME", "/home/someone")
    assert user_path(text) == Path(path)


def test_a_nul_character_is_one_sentence():
    with pytest.raises(UserError, match=r"^'a\.jpg\\x00b\.jpg' is not a path, because it holds a NUL character; .*\.$"):
        user_path("a.jpg\0b.jpg")
    with pytest.raises(UserError, match=r"^'a\\ud800\.jpg' is not a path, because .* '\\ud800'; .*\.$"):
        user_path("a\ud800.jpg")


@pytest.mark.usefixtures("no_home")
def test_without_a_home_folder_the_way_out_is_told():
    with pytest.raises(UserError, match=r"No home folder is known for ~/x; set HOME, or give the whole path\."):
        user_path("~/x")
    with pytest.raises(UserError, match=r"No home folder is known for the cache; set HOME, or JAXTL_CACHE"):
        cache_dir()
    assert user_path("x") == Path("x")


def test_the_most_particular_variable_wins(monkeypatch):
    monkeypatch.setenv("HOME", "/home/someone")
    monkeypatch.setenv("XDG_CACHE_HOME", "/shared")
    monkeypatch.setenv("JAXTL_CACHE", "~/mine")
    assert cache_dir() == Path("/home/someone/mine")
    monkeypatch.setenv("JAXTL_CACHE", "")
    assert cache_dir() == Path("/shared/jaxtl")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_dir() == Path("/home/someone/.cache/jaxtl")


def test_a_file_that_cannot_be_written_leaves_the_one_before(tmp_path, monkeypatch):
    file = tmp_path / "below" / "file"
    write_whole(file, b"before")

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_whole(file, b"after")
    assert file.read_bytes() == b"before"
    assert list(file.parent.iterdir()) == [file]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"[" * 100_000, "nested too deeply"),
        (b'{"a":' * 100_000, "nested too deeply"),
        (b"[1]", "not a JSON object"),
        (b'{"a": 1', "delimiter"),
        (b"\xff\xfe", "utf-8"),
        (b"", "Expecting value"),
    ],
)
def test_a_damaged_json_file_is_one_sentence(tmp_path, content, reason):
    file = tmp_path / "config.json"
    file.write_bytes(content)
    refused = pytest.raises(UserError, match=rf"config\.json cannot be used \(.*{reason}.*\): it is damaged")
    with refused, damage_explained(file):
        read_object(file)


def test_a_lock_keeps_others_out_and_leaves_no_file(tmp_path):
    path, order = tmp_path / "below" / ".lock", []

    def second():
        with file_lock(path):
            order.append("second")

    with file_lock(path):
        with pytest.raises(BlockingIOError), file_lock(path, wait=False):
            pass
        thread = threading.Thread(target=second)
        thread.start()
        thread.join(0.2)
        order.append("first")
    thread.join()
    assert order == ["first", "second"]
    assert list(path.parent.iterdir()) == []

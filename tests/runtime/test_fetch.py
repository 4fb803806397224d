import dataclasses
import email.utils
import hashlib
import http.server
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from jaxtl.errors import UserError
from jaxtl.runtime import fetch as fetch_module
from jaxtl.runtime.fetch import fetch

BODY = np.random.default_rng(0).bytes(300_000)
MD5 = hashlib.md5(BODY).hexdigest()
SHA256 = hashlib.sha256(BODY).hexdigest()
WRONG_MD5 = "0" * 32


@dataclasses.dataclass
class Behaviour:
    """How the server treats the requests; `ranges` records what they asked for."""

    body: bytes = BODY
    status: int = 200
    failures: int = 0  # so many requests are answered with `status`, or broken, before all goes well
    break_after: int | None = None  # bytes of the body after which the connection breaks
    knows_ranges: bool = True
    wrong_start: bool = False
    says_length: bool = True
    pause_s: float = 0.0  # in the middle of the body
    retry_after: str = ""
    always_part: bool = False  # 206 for what nobody asked a part of
    ranges: list[str | None] = dataclasses.field(default_factory=list)


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        server: Server = self.server
        how = server.behaviour
        asked = self.headers.get("Range")
        how.ranges.append(asked)
        fails = len(how.ranges) <= how.failures
        if how.status != 200 and fails:
            self.send_response(how.status)
            if how.retry_after:
                self.send_header("Retry-After", how.retry_after)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and how.knows_ranges else 0
        if start >= len(how.body) and start:
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(how.body)}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        part = start or (how.always_part and fails)
        self.send_response(206 if part else 200)
        if part:
            first = start + 1 if how.wrong_start else start
            self.send_header("Content-Range", f"bytes {first}-{len(how.body) - 1}/{len(how.body)}")
        if how.says_length:
            self.send_header("Content-Length", str(len(how.body) - start))
        self.end_headers()
        rest = how.body[start:]
        if fails and how.break_after is not None:
            rest = rest[: how.break_after]
        self.wfile.write(rest[: len(rest) // 2])
        if how.pause_s:
            server.released.wait(how.pause_s)
        self.wfile.write(rest[len(rest) // 2 :])

    def log_message(self, format: str, *arguments: object) -> None:
        pass


class Server(http.server.ThreadingHTTPServer):
    behaviour: Behaviour
    released: threading.Event  # ends every pause
    url: str

    def handle_error(self, request: object, client_address: object) -> None:
        pass  # a client that has given up


@pytest.fixture
def server(monkeypatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(fetch_module, "RETRY_PAUSES_S", (0.01, 0.01))
    monkeypatch.setattr(fetch_module, "TIMEOUT_S", 5)
    with Server(("127.0.0.1", 0), Handler) as server:
        server.behaviour, server.released = Behaviour(), threading.Event()
        server.url = f"http://127.0.0.1:{server.server_port}/weights.pth"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.released.set()
        server.shutdown()
        thread.join()


@pytest.fixture
def target(tmp_path) -> Path:
    """Where to download to, in a folder that does not exist yet."""
    return tmp_path / "cache" / "weights.pth"


def get(server: Server, target: Path, **options: object) -> Path:
    return fetch(server.url, target, **options)


def refusal(server: Server, target: Path, **options: object) -> str:
    """The error of a download that must fail and leave nothing that looks like a file."""
    with pytest.raises(UserError) as info:
        get(server, target, **options)
    assert not target.exists()
    assert "\n" not in str(info.value)
    return str(info.value)


def partial_of(target: Path) -> Path:
    return target.with_name("weights.pth.partial")


def leave_partial(target: Path, content: bytes) -> None:
    target.parent.mkdir()
    partial_of(target).write_bytes(content)


@pytest.mark.parametrize(
    "hashes",
    [
        {},
        {"md5": MD5},
        {"md5": MD5.upper()},
        {"sha256": SHA256},
        {"sha256": SHA256[:8]},
        {"md5": MD5, "sha256": SHA256},
    ],
)
def test_the_file_arrives_whole(server, target, hashes):
    assert get(server, target, **hashes) == target
    assert target.read_bytes() == BODY
    assert list(target.parent.iterdir()) == [target]


def test_an_empty_file_is_a_file(server, target):
    server.behaviour.body = b""
    assert get(server, target).read_bytes() == b""


def test_a_file_that_is_there_is_not_downloaded_again(server, target):
    get(server, target, md5=MD5)
    get(server, target, md5=MD5)
    assert len(server.behaviour.ranges) == 1


def test_a_wrong_file_that_is_there_is_named_and_kept(server, target):
    target.parent.mkdir()
    target.write_bytes(b"mine")
    with pytest.raises(UserError, match=rf"weights\.pth is not the expected file, its MD5 is \w+ instead of {MD5}"):
        get(server, target, md5=MD5)
    assert target.read_bytes() == b"mine"
    assert server.behaviour.ranges == []


# --- broken connections ---


def test_a_broken_download_goes_on_where_it_broke(server, target):
    server.behaviour = Behaviour(failures=2, break_after=100_000)
    get(server, target, md5=MD5)
    assert target.read_bytes() == BODY
    assert server.behaviour.ranges == [None, "bytes=100000-", "bytes=200000-"]


def test_without_a_hash_it_starts_over(server, target):
    server.behaviour = Behaviour(failures=2, break_after=100_000)
    get(server, target)
    assert target.read_bytes() == BODY
    assert server.behaviour.ranges == [None, None, None]


def test_a_server_without_ranges_makes_it_start_over(server, target):
    server.behaviour = Behaviour(failures=4, break_after=100_000, knows_ranges=False)
    assert "after 100,000 of 300,000 bytes" in refusal(server, target, md5=MD5)
    get(server, target, md5=MD5)
    assert target.read_bytes() == BODY


def test_a_server_that_continues_at_the_wrong_byte_makes_it_start_over(server, target):
    server.behaviour = Behaviour(failures=1, break_after=100_000, wrong_start=True)
    get(server, target, md5=MD5)
    assert target.read_bytes() == BODY
    assert server.behaviour.ranges == [None, "bytes=100000-", None]


def test_a_server_that_always_breaks_is_given_up_and_a_later_run_goes_on(server, target):
    server.behaviour = Behaviour(failures=3, break_after=50_000)
    message = refusal(server, target, md5=MD5)
    assert "the connection closed after 150,000 of 300,000 bytes, at the last of 3 tries" in message
    assert str(target) in message
    get(server, target, md5=MD5)
    assert target.read_bytes() == BODY
    assert server.behaviour.ranges[-1] == "bytes=150000-"


def test_the_leftover_of_an_earlier_run_is_continued(server, target):
    leave_partial(target, BODY[:1234])
    get(server, target, sha256=SHA256)
    assert target.read_bytes() == BODY
    assert server.behaviour.ranges == ["bytes=1234-"]


def test_a_whole_leftover_only_needs_its_name(server, target):
    leave_partial(target, BODY)
    get(server, target, md5=MD5)
    assert target.read_bytes() == BODY
    assert server.behaviour.ranges == ["bytes=300000-"]


def test_a_leftover_longer_than_the_file_is_dropped(server, target):
    leave_partial(target, BODY + b"more")
    get(server, target, md5=MD5)
    assert target.read_bytes() == BODY


def test_a_leftover_of_another_file_is_never_trusted_and_costs_no_run(server, target):
    leave_partial(target, b"x" * 1234)
    assert get(server, target, md5=MD5).read_bytes() == BODY
    assert server.behaviour.ranges == ["bytes=1234-", None]


def test_a_leftover_and_a_wrong_file_are_one_error(server, target):
    leave_partial(target, b"x" * 1234)
    assert WRONG_MD5 in refusal(server, target, md5=WRONG_MD5)
    assert list(target.parent.iterdir()) == []


def test_a_server_in_trouble_is_asked_again(server, target):
    server.behaviour = Behaviour(failures=2, status=503)
    assert get(server, target).read_bytes() == BODY


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("date", [False, True])
def test_a_server_that_asks_to_wait_is_asked_again_after_that(server, target, monkeypatch, status, date):
    pauses = []
    monkeypatch.setattr(fetch_module.time, "sleep", pauses.append)
    when = email.utils.formatdate(time.time() + 30, usegmt=True) if date else "7"
    server.behaviour = Behaviour(failures=1, status=status, retry_after=when)
    assert get(server, target).read_bytes() == BODY
    assert len(pauses) == 1
    assert 20 < pauses[0] <= 30 if date else pauses == [7]


def test_a_pause_that_is_no_number_is_that_of_a_server_which_asks_for_none(server, target, monkeypatch):
    pauses = []
    monkeypatch.setattr(fetch_module.time, "sleep", pauses.append)
    for pause in ("²", "soon"):
        server.behaviour = Behaviour(failures=1, status=503, retry_after=pause)
        target.unlink(missing_ok=True)
        assert get(server, target).read_bytes() == BODY
    assert pauses[0] == pauses[1]


def test_a_server_that_asks_to_wait_for_long_is_one_sentence(server, target, monkeypatch):
    monkeypatch.setattr(fetch_module.time, "sleep", pytest.fail)
    server.behaviour = Behaviour(failures=1, status=429, retry_after="3600")
    assert "answered 429 Too Many Requests and asks to wait 3600 s; run again later, or" in refusal(server, target)


@pytest.mark.parametrize("hashes", [{}, {"md5": MD5}])
def test_a_part_that_nobody_asked_for_is_not_the_file(server, target, hashes):
    server.behaviour = Behaviour(failures=1, always_part=True)
    assert get(server, target, **hashes).read_bytes() == BODY
    server.behaviour = Behaviour(failures=9, always_part=True)
    target.unlink()
    assert "sent another part of the file than the one asked for, at the last of 3 tries" in refusal(server, target)


@pytest.mark.parametrize("says_length", [True, False])
def test_a_body_without_end_is_given_up(server, target, monkeypatch, says_length):
    monkeypatch.setattr(fetch_module, "MOST_BYTES", 200_000)
    server.behaviour = Behaviour(says_length=says_length)
    assert "it is longer than 200,000 bytes" in refusal(server, target, md5=MD5)
    assert list(target.parent.iterdir()) == []


def test_a_silent_server_is_given_up(server, target, monkeypatch):
    monkeypatch.setattr(fetch_module, "TIMEOUT_S", 0.1)
    server.behaviour = Behaviour(pause_s=10)
    with pytest.raises(UserError, match=r"the server stayed silent for 0\.1 s, at the last of 3 tries"):
        get(server, target)
    assert not target.exists()


def test_a_length_that_nobody_knows_needs_a_hash(server, target):
    server.behaviour = Behaviour(says_length=False)
    assert "give its md5 or sha256" in refusal(server, target)
    assert get(server, target, md5=MD5).read_bytes() == BODY


# --- what cannot be fetched ---


@pytest.mark.parametrize("hashes", [{"md5": WRONG_MD5}, {"sha256": "0" * 8}, {"md5": MD5, "sha256": "0" * 64}])
def test_a_wrong_hash_leaves_nothing(server, target, hashes):
    message = refusal(server, target, **hashes)
    found = SHA256 if "sha256" in hashes else MD5
    assert f"is {found} instead of {hashes.get('sha256', WRONG_MD5)}" in message
    assert str(target) in message
    assert list(target.parent.iterdir()) == []


@pytest.mark.parametrize("status", [404, 403])
def test_a_refusal_of_the_server_is_final(server, target, status):
    server.behaviour = Behaviour(failures=99, status=status)
    message = refusal(server, target)
    assert f"answered {status}" in message
    assert server.url in message
    assert str(target) in message
    assert len(server.behaviour.ranges) == 1


def test_without_network_it_names_the_address_and_the_place(tmp_path, monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(fetch_module.time, "sleep", pytest.fail)  # nothing to wait for
    with socket.socket() as taken:  # bound, but nobody listens
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/file"
        with pytest.raises(UserError, match=r"Connection refused.*check the network") as info:
            fetch(url, tmp_path / "file")
    assert url in str(info.value)
    assert str(tmp_path / "file") in str(info.value)


@pytest.mark.parametrize(
    "url", ["file:///etc/hostname", "weights.pth", "http://[", "http://a b/", "http://127.0.0.1:x/"]
)
def test_what_is_not_an_address_is_refused(tmp_path, url):
    with pytest.raises(UserError, match="Cannot"):
        fetch(url, tmp_path / "file")


@pytest.mark.parametrize(
    "hashes", [{"md5": "abc"}, {"md5": ""}, {"sha256": ""}, {"sha256": "0123456"}, {"sha256": "x" * 64}]
)
def test_what_is_not_a_hash_is_refused(server, target, hashes):
    with pytest.raises(ValueError, match="is not a hash"):
        get(server, target, **hashes)
    assert server.behaviour.ranges == []


def test_a_folder_that_cannot_be_made(server, tmp_path):
    (tmp_path / "file").touch()
    message = refusal(server, tmp_path / "file" / "weights.pth")
    assert message.startswith(f"{tmp_path / 'file' / 'weights.pth'} cannot be read or written (File exists); ")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, a disk without space")
def test_a_full_disk(server, target):
    target.parent.mkdir()
    partial_of(target).symlink_to("/dev/full")
    assert "(No space left on device); free some space and run again" in refusal(server, target, md5=MD5)


# --- two at once, and what a person sees ---


def test_two_downloads_of_one_file_take_turns(server, target):
    server.behaviour = Behaviour(pause_s=0.2)
    results = []
    threads = [threading.Thread(target=lambda: results.append(get(server, target))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [target, target]
    assert target.read_bytes() == BODY
    assert len(server.behaviour.ranges) == 1


def test_the_progress_bar_goes_to_standard_error(server, target, capsys):
    fetch(server.url, target)
    shown = capsys.readouterr()
    assert "weights.pth" in shown.err
    assert "300.0/300.0 kB" in shown.err
    assert shown.out == ""

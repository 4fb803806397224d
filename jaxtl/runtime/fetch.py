"""Download one file: all of it and the right one, or none of it.

The bytes go to ``<destination>.partial``; only a complete and checked file gets its real name, by an atomic rename.
Whatever goes wrong on the way, a file at ``destination`` can be trusted by every later run.
"""

import contextlib
import email.utils
import errno
import hashlib
import http.client
import os
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from jaxtl.errors import UserError
from jaxtl.runtime.files import file_lock

RETRY_PAUSES_S = (0.5, 1.0, 2.0)  # one more connection after each pause
CHUNK_BYTES = 1 << 16
MOST_BYTES = 16 << 30  # the largest file that anything here fetches has 2.6 GB
TIMEOUT_S = 30.0  # that a server may stay silent
_LONGEST_WAIT_S = 60.0  # that a server may ask for

Report = Callable[[int, int | None], None]
"""Takes the bytes that have arrived and the bytes in all (``None``: the server did not say)."""


class UnreachableError(UserError):
    """There is no connection, or none that lasts: nothing is wrong with the address, as far as is known."""


class _TryAgainError(Exception):
    """The server was reached but the body did not arrive: worth another try, after ``wait_s`` at least."""

    def __init__(self, reason: str, wait_s: float = 0.0) -> None:
        super().__init__(reason)
        self.wait_s = wait_s


def fetch(url: str, destination: Path, *, md5: str | None = None, sha256: str | None = None) -> Path:
    """Download ``url`` to ``destination``, unless that file is there already, and return ``destination``.

    A connection that breaks is retried a few times, and so is a server that is overloaded (429 and 5xx), after the
    pause that it asks for. With a hash, what had arrived is kept and the next connection or the next run continues
    from there; without one every connection starts from zero, because only a hash can prove that bytes of two
    connections belong together. Processes that download the same file take turns. A progress bar is drawn on standard
    error.

    Args:
      url: an ``http`` or ``https`` address.
      destination: the file to create; missing parent folders are created.
      md5: the expected MD5 in hexadecimal.
      sha256: the expected SHA-256 in hexadecimal, whole or only its first digits (eight at least).

    Raises:
      UnreachableError: there is no connection, or it broke off at every try.
      UserError: for another reason why a whole and right file cannot be fetched.
      ValueError: ``md5`` or ``sha256`` is not a hash.
    """
    hashes = _expected_hashes(md5, sha256)
    with _disk_errors_explained(destination):
        if not destination.is_file():
            with file_lock(destination.with_name(f".{destination.name}.lock")):
                if not destination.is_file():  # another process may have brought it while this one waited
                    _bring(url, destination, hashes)
                    return destination
        if mismatch := _mismatch(destination, hashes):
            raise UserError(
                f"{destination} is not the expected file, its {mismatch}; delete it and run again to download it."
            )
    return destination


def file_hash(path: Path, algorithm: str) -> str:
    """Hexadecimal ``algorithm`` (``"md5"``, ``"sha256"``) digest of the file at ``path``."""
    with path.open("rb") as file:
        # These hashes guard against accidents and stale copies, so MD5 must also work where security policy bans it.
        return hashlib.file_digest(file, lambda: hashlib.new(algorithm, usedforsecurity=False)).hexdigest()


def _expected_hashes(md5: str | None, sha256: str | None) -> dict[str, str]:
    """The hashes that were given, by algorithm, in lower case."""
    for text, pattern in ((md5, "[0-9a-fA-F]{32}"), (sha256, "[0-9a-fA-F]{8,64}")):
        if text is not None and not re.fullmatch(pattern, text):
            raise ValueError(f"{text!r} is not a hash: it must match {pattern}")
    return {name: text.lower() for name, text in (("md5", md5), ("sha256", sha256)) if text is not None}


def _mismatch(path: Path, hashes: Mapping[str, str]) -> str | None:
    """Say how the file differs from the expected hashes; ``None`` when it agrees with all of them."""
    for algorithm, expected in hashes.items():
        found = file_hash(path, algorithm)
        if not found.startswith(expected):
            return f"{algorithm.upper()} is {found} instead of {expected}"
    return None


def _bring(url: str, destination: Path, hashes: Mapping[str, str]) -> None:
    """Create ``destination`` from a whole body of ``url`` that agrees with the hashes."""
    partial = destination.with_name(destination.name + ".partial")
    left_over = bool(hashes) and partial.exists()
    with _progress_bar(destination.name) as report:
        while True:
            _download(url, partial, destination, resume=bool(hashes), report=report)
            mismatch = _mismatch(partial, hashes)
            if not mismatch:
                partial.replace(destination)
                return
            partial.unlink()
            if not left_over:
                raise UserError(
                    f"{url} gave a file whose {mismatch}: it was deleted; run again, or put the right file at "
                    f"{destination}."
                )
            left_over = False  # it was perhaps of another file of that name


def _download(url: str, partial: Path, destination: Path, *, resume: bool, report: Report) -> None:
    """Fill ``partial`` with the whole body of ``url``, over as many connections as it may take."""
    by_hand = f"get the file by other means and put it at {destination}."
    if not url.startswith(("http://", "https://")):
        raise UserError(f"Cannot download {url!r}: it is not an http or https address; correct it, or {by_hand}")
    reached = False
    for pause_s in (*RETRY_PAUSES_S, None):
        wait_s = 0.0
        try:
            _receive(url, partial, resume=resume, report=report)
            return
        except _TryAgainError as error:
            reached, wait_s = True, error.wait_s
            if pause_s is None or wait_s > _LONGEST_WAIT_S:
                tries = "" if pause_s is not None else f", at the last of {len(RETRY_PAUSES_S) + 1} tries"
                raise UnreachableError(
                    f"Cannot download {url}: {error}{tries}; run again later, or {by_hand}"
                ) from error
        except urllib.error.HTTPError as error:
            answer = f"{error.code} {error.reason}"
            raise UserError(
                f"Cannot download {url}: the server answered {answer}; check the address, or {by_hand}"
            ) from error
        except urllib.error.URLError as error:
            # Another try helps when the network goes away for a moment, and only delays the news when there is none.
            if not reached or pause_s is None:
                raise UnreachableError(
                    f"Cannot reach {url} ({_why(error.reason)}); check the network, or {by_hand}"
                ) from error
        time.sleep(max(pause_s, wait_s))


def _receive(url: str, partial: Path, *, resume: bool, report: Report) -> None:
    """Read one connection to its end: onto the end of ``partial`` if the server can resume, else from the start."""
    have = partial.stat().st_size if resume and partial.exists() else 0
    try:
        response = _connect(url, have)
    except urllib.error.HTTPError as error:
        if not have or error.code != http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            raise
        if error.headers.get("Content-Range") == f"bytes */{have}":
            return  # an earlier run stopped between the last byte and the rename
        partial.unlink()
        raise _TryAgainError("the server refused to continue the partial file") from error
    with response:
        resumed = response.status == http.HTTPStatus.PARTIAL_CONTENT
        if resumed and not (have and response.headers.get("Content-Range", "").startswith(f"bytes {have}-")):
            partial.unlink(missing_ok=True)
            raise _TryAgainError("the server sent another part of the file than the one asked for")
        if not resumed:
            have = 0  # the server knows no ranges and sends everything
        total = None if response.length is None else have + response.length
        if total is None and not response.chunked and not resume:
            raise UserError(
                f"Cannot download {url}: the server does not say its length and no hash is known, so that a broken "
                "download would look complete; give its md5 or sha256."
            )
        with partial.open("ab" if resumed else "wb") as file:
            report(have, total)
            for chunk in _chunks(response):
                have += len(chunk)
                if max(have, total or 0) > MOST_BYTES:
                    partial.unlink(missing_ok=True)
                    raise UserError(
                        f"Cannot download {url}: it is longer than {MOST_BYTES:,} bytes, more than any file that is "
                        "fetched here; check the address."
                    )
                file.write(chunk)
                report(have, total)
            file.flush()
            os.fsync(file.fileno())  # the rename must not reach the disk before the bytes do
    if total is not None and have < total:
        raise _TryAgainError(f"the connection closed after {have:,} of {total:,} bytes")


def _connect(url: str, have: int) -> http.client.HTTPResponse:
    """Ask for ``url`` from byte ``have`` on."""
    headers = {"User-Agent": "jaxtl"} | ({"Range": f"bytes={have}-"} if have else {})
    try:
        return urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=TIMEOUT_S)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == http.HTTPStatus.TOO_MANY_REQUESTS or error.code >= http.HTTPStatus.INTERNAL_SERVER_ERROR:
            wait_s = _seconds(error.headers.get("Retry-After", ""))
            asks = f" and asks to wait {wait_s:.0f} s" if wait_s else ""
            raise _TryAgainError(f"the server answered {error.code} {error.reason}{asks}", wait_s) from error
        raise
    except urllib.error.URLError:
        raise
    except (ValueError, http.client.InvalidURL) as error:
        raise urllib.error.URLError(f"malformed address: {error}") from error
    except (OSError, http.client.HTTPException) as error:
        raise _TryAgainError(_why(error)) from error


def _seconds(retry_after: str) -> float:
    """The pause that a ``Retry-After`` asks for: a number of seconds or a date; 0 where it is neither."""
    if retry_after.strip().isdecimal():
        return float(retry_after)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(retry_after).timestamp() - time.time())
    except (ValueError, OverflowError):  # the latter: a year that there is not
        return 0.0


def _chunks(response: http.client.HTTPResponse) -> Iterator[bytes]:
    """Yield the body as it arrives, keeping network errors apart from the disk errors of whoever writes it."""
    try:
        while chunk := response.read1(CHUNK_BYTES):
            yield chunk
    except (OSError, http.client.HTTPException) as error:
        raise _TryAgainError(_why(error)) from error


def _why(error: BaseException | str) -> str:
    """What happened to the network, in words."""
    if isinstance(error, TimeoutError):
        return f"the server stayed silent for {TIMEOUT_S:g} s"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__


@contextlib.contextmanager
def _disk_errors_explained(destination: Path) -> Iterator[None]:
    """Turn a failure to read or write the file or its folder into a sentence."""
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        way_out = "free some space and run again" if full else "make it writable, or choose another place"
        raise UserError(f"{destination} cannot be read or written ({error.strerror or error}); {way_out}.") from error


@contextlib.contextmanager
def _progress_bar(name: str) -> Iterator[Report]:
    """Draw a progress bar on standard error and yield the function that moves it."""
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True)) as progress:
        task = progress.add_task(name, total=None, visible=False)  # shown once a server has answered
        yield lambda arrived, total: progress.update(task, completed=arrived, total=total, visible=True)

"""Hostile images, as a folder of photographs from the net may hold them."""

import functools
import io
import os
import struct
import warnings
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from jaxtl.data.decode import MOST_SCANNED_PIXELS, read_image
from tests.data.test_decode import MODES, encoded, with_tag
from tests.faults.case import Case, Expected, gives, refuses

SMOOTH = np.stack(np.meshgrid(np.arange(0, 200, 5), np.arange(0, 240, 8), [0, 40, 90])[:2], -1).sum(-1)
PHOTO = np.minimum(SMOOTH + np.array([0, 10, 20]), 255).astype(np.uint8)  # [30, 40, 3]
IMAGE = Image.fromarray(PHOTO)
PNG, JPEG = encoded(IMAGE, "PNG"), encoded(IMAGE, "JPEG", quality=95)

UNKNOWN, DAMAGED = refuses("it is not an image of a known format"), refuses("it is damaged")


def cases() -> Iterator[Case]:
    """Every file is read by the function that training, predict and evaluate share."""
    for what, content, must in [*_damaged(), *_formats(), *_bombs(), *_odd()]:
        yield Case(what, _read_as_file(content), must)
    for name, (image, kind, expected) in MODES.items():
        pixels = np.repeat(expected[..., np.newaxis], 3, -1).astype(np.uint8)
        must = gives(pixels, "the pixels of the same picture in RGB", within=1)
        yield Case(f"{kind} with pixels that are {name}", _read_as_file(encoded(image, kind)), must)
    for what, make, must in _places():
        yield Case(what, lambda folder, make=make: read_image(make(folder), (32, 32)), must)


def _read_as_file(content: bytes | Callable[[], bytes]) -> Callable[[Path], Any]:
    def act(folder: Path) -> np.ndarray:
        path = folder / "image.jpg"
        path.write_bytes(content if isinstance(content, bytes) else content())
        return read_image(path)

    return act


def _damaged() -> Iterator[tuple[str, bytes, Expected]]:
    yield "an empty file", b"", refuses("it is empty")
    yield "a web page named image.jpg", b"<!doctype html><html>404</html>", UNKNOWN
    yield "a JPEG cut in the middle", JPEG[: len(JPEG) // 2], DAMAGED
    yield "a PNG cut in the middle", PNG[: len(PNG) // 2], DAMAGED
    yield "a PNG whose pixels have a wrong checksum", _with_byte(PNG, PNG.index(b"IDAT") + 30), DAMAGED
    yield "a PNG without pixels", PNG[: PNG.index(b"IDAT") - 4] + PNG[PNG.index(b"IEND") - 4 :], DAMAGED
    yield "a GIF with a screen of 0 x 0", b"GIF89a" + bytes(7) + b";", UNKNOWN
    yield "a TIFF whose strip lies behind its end", encoded(IMAGE, "TIFF")[:500], DAMAGED
    yield "random bytes behind the mark of a JPEG", b"\xff\xd8\xff\xe0" + np.random.default_rng(0).bytes(999), DAMAGED


def _formats() -> Iterator[tuple[str, Any, Expected]]:
    yield "PostScript named image.jpg, which Pillow would run", encoded(IMAGE, "EPS"), UNKNOWN
    for kind in ("DDS", "ICNS", "SGI", "IM", "TGA", "PCX", "PDF", "ICO"):
        yield f"{kind}, a format that is not documented", functools.partial(_old, IMAGE, kind), UNKNOWN
    yield "MSP, a format that is not documented", encoded(IMAGE.convert("1"), "MSP"), UNKNOWN
    yield "BLP, a format that is not documented", encoded(IMAGE.quantize(), "BLP"), UNKNOWN
    yield "a PNG named image.jpg", PNG, gives(PHOTO, "its pixels")


def _bombs() -> Iterator[tuple[str, Any, Expected]]:
    yield "a PNG of 20,000 x 20,000", _empty("1", (20_000, 20_000)), refuses("pixels")
    yield "a PNG of 1 x 90,000,000", lambda: _png_header(1, 90_000_000), refuses("no side may have more")
    yield "a PNG of 2,147,483,647 x 2,147,483,647", lambda: _png_header(2**31 - 1, 2**31 - 1), refuses("pixels")
    yield "a GIF with a screen of 65,535 x 65,535", _gif_screen, refuses("pixels")
    yield "a WebP of 16,383 x 6,000", lambda: _webp_header(16_383, 6000), refuses("pixels")
    yield "a BMP of 30,000 x 30,000", lambda: _bmp_header(30_000, 30_000), refuses("pixels")
    yield "a PPM that claims 90,000,000 x 1", b"P6 90000000 1 255\n\0\0\0", refuses("no side may have more")
    yield "a PPM that claims 9,000 x 9,000 and has three bytes", b"P6 9000 9000 255\n\0\0\0", DAMAGED
    yield "a PPM whose header never ends", b"P6 #" + b"x" * 1_000_000, refuses("")
    yield "a progressive JPEG of very many scans", _many_scans, refuses("scans")
    yield (
        "a PNG with a text of 70 MB in 70 kB",
        lambda: _with_chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(70 << 20))),
        (refuses("")),
    )
    yield "a PPM of text with 500,000 comments", b"P2 2 1 255\n" + b"#\n" * 500_000 + b"7 200\n", refuses("too long")
    yield "a TIFF of 40,000 x 40,000 in one compressed strip", _tiff_header, refuses("pixels")


def _odd() -> Iterator[tuple[str, Any, Expected]]:
    yield (
        "32-bit integers in a TIFF",
        encoded(Image.fromarray(np.full((3, 3), 200, np.int32)), "TIFF"),
        (refuses("its pixels are 32-bit integers")),
    )
    yield "floating-point numbers in a TIFF", encoded(Image.new("F", (3, 3)), "TIFF"), refuses("floating-point numbers")
    whole = Expected("its pixels", lambda found: isinstance(found, np.ndarray) and found.shape == (3000, 4000, 3))
    yield "a photograph in a TIFF as a JPEG for every eight rows", _strips, whole
    grey = Image.fromarray(PHOTO[..., 0].astype(np.uint16) << 8)
    inverted = with_tag(encoded(grey, "TIFF"), 262, 1, 0)
    yield "a TIFF of 16 bits in which 0 is white", inverted, gives(np.repeat(255 - PHOTO[..., :1], 3, -1), "its pixels")
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = Image.fromarray(np.ascontiguousarray(np.rot90(PHOTO, 1)))
    for kind in ("PNG", "TIFF", "WEBP"):
        options = {"lossless": True} if kind == "WEBP" else {}
        yield (
            f"{kind} that a camera turned (EXIF)",
            encoded(turned, kind, exif=exif, **options),
            (gives(PHOTO, "its pixels, upright")),
        )
    exif[0x0112] = 77
    yield "an orientation that does not exist", encoded(IMAGE, "PNG", exif=exif), gives(PHOTO, "its pixels")
    as_read = np.asarray(Image.open(io.BytesIO(JPEG)))
    broken = b"\xff\xe1\x00\x40Exif\0\0" + b"MM\0*\0\0\0\x08\xff\xff" + b"\xff" * 46
    yield "a JPEG whose EXIF data are garbage", JPEG[:2] + broken + JPEG[2:], gives(as_read, "its pixels")
    yield "a JPEG with a zip archive behind it", JPEG + b"PK\x03\x04" * 99, gives(as_read, "its pixels")
    frames = [IMAGE, Image.new("RGB", IMAGE.size, "red")]
    yield (
        "an animated PNG",
        encoded(frames[0], "PNG", save_all=True, append_images=frames[1:]),
        (gives(PHOTO, "its first frame")),
    )
    mpo = encoded(frames[0], "MPO", save_all=True, append_images=frames[1:], quality=95)
    yield "a JPEG of two pictures, as phones write it (MPO)", mpo, gives(as_read, "its first picture", within=2)
    yield (
        "one pixel",
        encoded(Image.new("RGB", (1, 1), "red"), "PNG"),
        (gives(np.array([[[255, 0, 0]]], np.uint8), "it")),
    )


def _places() -> Iterator[tuple[str, Callable[[Path], Any], Expected]]:
    def named(name: str, make: Callable[[Path], Any]) -> Callable[[Path], Path]:
        def place(folder: Path) -> Path:
            make(folder / name)
            return folder / name

        return place

    def holes(path: Path) -> None:
        with path.open("wb") as file:
            file.truncate(1 << 40)

    yield "a named pipe that nobody writes to", named("pipe.png", os.mkfifo), refuses("it is not a regular file")
    yield "a folder named x.png", named("x.png", Path.mkdir), refuses("it is not a regular file")
    yield (
        "a link to /dev/zero",
        named("zero.png", lambda path: path.symlink_to("/dev/zero")),
        (refuses("it is not a regular file")),
    )
    yield "a link to itself", named("loop.png", lambda path: path.symlink_to(path)), refuses("it cannot be read")
    yield "a file of holes of 1 TiB", named("holes.png", holes), refuses("more than the 1,073,741,824")
    yield "a name with a NUL character", lambda folder: "a\0b.png", refuses("it cannot be read")
    yield "a name of 5,000 letters", lambda folder: folder / ("x" * 5000), refuses("it cannot be read")
    yield "an array of floats", lambda folder: PHOTO / 255, refuses("it is an array of float64")
    yield "an array with the channels first", lambda folder: PHOTO.transpose(2, 0, 1), refuses("it is an array of")


# --- bytes ---


def _old(image: Image.Image, kind: str) -> bytes:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Pillow gives up some of these formats
        return encoded(image, kind)


def _with_byte(content: bytes, place: int) -> bytes:
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def _with_chunk(kind: bytes, content: bytes) -> bytes:
    """The PNG with a chunk more, behind its header."""
    return PNG[:33] + _chunk(kind, content) + PNG[33:]


def _png_header(width: int, height: int) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return PNG[:8] + _chunk(b"IHDR", header) + _chunk(b"IDAT", zlib.compress(bytes(1000))) + _chunk(b"IEND", b"")


def _webp_header(width: int, height: int) -> bytes:
    """Lossless: the sizes, in 14 bits each, are behind the byte 2f."""
    content = bytearray(encoded(IMAGE, "WEBP", lossless=True))
    place = content.index(b"VP8L") + 9
    (bits,) = struct.unpack_from("<I", content, place)
    struct.pack_into("<I", content, place, bits >> 28 << 28 | height - 1 << 14 | width - 1)
    return bytes(content)


def _gif_screen() -> bytes:
    content = encoded(IMAGE, "GIF")
    return content[:6] + b"\xff" * 4 + content[10:]


def _bmp_header(width: int, height: int) -> bytes:
    return b"BM" + struct.pack("<IHHI", 100, 0, 0, 54) + struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, *[0] * 6)


def _tiff_header() -> bytes:
    content = bytearray(encoded(Image.new("L", (64, 64)), "TIFF", compression="tiff_adobe_deflate"))
    for tag in (256, 257):
        place = (
            content.index(struct.pack("<HH", tag, 4))
            if struct.pack("<HH", tag, 4) in content
            else content.index(struct.pack("<HH", tag, 3))
        )
        content[place + 2 : place + 12] = struct.pack("<HII", 4, 1, 40_000)
    return bytes(content)


def _many_scans() -> bytes:
    content = encoded(Image.new("L", (4000, 4000)), "JPEG", progressive=True)
    start = content.index(b"\xff\xda")
    scan = content[start : content.index(b"\xff", start + 14)]
    return content[:start] + scan * (MOST_SCANNED_PIXELS // 4000**2 + 1) + content[start:]


def _strips() -> bytes:
    return encoded(IMAGE.resize((4000, 3000)), "TIFF", compression="jpeg")


def _empty(mode: str, size: tuple[int, int]) -> Callable[[], bytes]:
    return lambda: encoded(Image.new(mode, size), "PNG")

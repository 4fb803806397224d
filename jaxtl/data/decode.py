"""Image files as uint8 RGB or grey, of one size: the way in which every image is read.

Training, ``predict``, ``evaluate`` and exported programs all read by `read_image`. This module needs NumPy and Pillow
alone: an export holds a copy of it.

- JPEG, PNG, GIF, BMP, WebP, TIFF and PPM are read, whatever the suffix; no other format is tried.
- The EXIF orientation is applied. Colour profiles are not.
- Grey, palette, CMYK and YCbCr images become RGB. Transparent pixels are laid over white.
- Of 12 or 16 bits a channel, the upper 8 are taken. Of 32 bits a channel nothing says what is white: they are refused.
- Of an animation the first frame is taken.
- A large JPEG is decoded at a half, a quarter or an eighth of its size where that leaves twice the pixels wanted.
- The limits below are checked before pixels are decoded, so that a small file cannot take all memory or time.
"""

import io
import itertools
import math
import os
import stat
import warnings
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image, ImageOps

Fit = Literal["crop", "stretch"]
Readable = str | os.PathLike[str] | bytes | np.ndarray | Image.Image

# The suffixes by which a file of a folder counts as an image, and what Pillow calls the formats behind them.
SUFFIXES = (".jpg", ".jpeg", ".jfif", ".png", ".gif", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm")
FORMATS = ("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF", "PPM")

MOST_BYTES = 1 << 30  # of a file
MOST_SIDE = 100_000  # pixels; Pillow takes memory for every row, however short
MOST_PIXELS = 100_000_000
MOST_PIXELS_OF = {"WEBP": 40_000_000}  # its decoder holds three copies at once
MOST_SCANNED_PIXELS = 2_000_000_000  # pixels times scans of a progressive JPEG, each of which takes its time
MOST_TEXT, MOST_COMMENTS = 20_000_000, 10_000  # bytes of a PPM that is text, which Pillow reads slowly

# Pillow warns of large pictures and odd metadata; whatever counts arrives as an exception or is checked below. Set once
# and not around each call, because the warning filters are not safe to change in several threads.
warnings.filterwarnings("ignore", module=r"PIL\.")


class Undecodable(ValueError):  # noqa: N818 - it describes the file, not a failure of the program
    """The file is not an image that can be used; the message is the reason, without the file's name."""


def read_image(
    source: Readable,
    size: tuple[int, int] | None = None,
    *,
    fit: Fit = "crop",
    channels: int = 3,
) -> np.ndarray:
    """Decode an image and bring it to a size.

    Args:
      source: the path of a file, its content, an image of Pillow, or pixels: uint8 or uint16 ``[H, W]``, uint8
        ``[H, W, 1]`` (grey), ``[H, W, 3]`` (RGB) or ``[H, W, 4]`` (RGBA), also of another library than NumPy.
      size: (height, width) in pixels; ``None`` keeps the image's own.
      fit: ``"crop"`` scales the image until it covers the size and takes the middle; ``"stretch"`` scales both sides
        to the size, whatever the proportions. The filter is bilinear with antialiasing.
      channels: 3 for RGB, 1 for grey (ITU-R 601 luma).

    Returns:
      uint8 ``[H, W, channels]``.

    Raises:
      Undecodable: the file cannot be read or decoded, or is beyond a limit of this module.
    """
    return read_sized(source, size, fit=fit, channels=channels)[0]


def read_sized(
    source: Readable,
    size: tuple[int, int] | None = None,
    *,
    fit: Fit = "crop",
    channels: int = 3,
) -> tuple[np.ndarray, tuple[int, int]]:
    """What ``read_image`` returns, and the (height, width) that the upright image had before it was resized."""
    if isinstance(source, str | os.PathLike):  # also a text of NumPy, which has pixels by its attributes
        source = read_content(source)
    if not isinstance(source, bytes | Image.Image):
        if not hasattr(source, "__array__"):  # of NumPy, JAX or PyTorch
            raise Undecodable(f"its type is {type(source).__name__}; give a path, the content of a file, or an array")
        pixels = _of_pixels(np.asarray(source))
        return _framed(pixels, pixels, size, fit, channels)
    if source == b"":
        raise Undecodable("it is empty")
    try:
        if isinstance(source, Image.Image):
            source.load()  # before it is copied, so that its orientation and tags are as those of a file
            return _framed(source.copy(), source, size, fit, channels)
        with Image.open(io.BytesIO(source), formats=FORMATS) as image:
            _check_limits(image, source)
            return _framed(image, image, size, fit, channels)
    except Undecodable:
        raise
    except Image.DecompressionBombError as error:
        raise Undecodable(f"it has more than the {MOST_PIXELS:,} pixels that are allowed") from error
    except Image.UnidentifiedImageError as error:
        raise Undecodable("it is not an image of a known format") from error
    except MemoryError as error:
        raise Undecodable("its pixels do not fit into memory") from error
    except Exception as error:  # a damaged file can raise anything: Pillow promises no narrower type
        raise Undecodable(f"it is damaged ({str(error).rstrip('.') or type(error).__name__})") from error


def read_content(file: str | os.PathLike[str]) -> bytes:
    """The content of a file.

    Raises:
      Undecodable: it cannot be read, is not a regular file (a pipe would be waited for), or is larger than any image.
    """
    try:
        status = Path(file).stat()
        if not stat.S_ISREG(status.st_mode):
            raise Undecodable("it is not a regular file")
        if status.st_size > MOST_BYTES:
            raise Undecodable(f"it has {status.st_size:,} bytes, more than the {MOST_BYTES:,} that are allowed")
        return Path(file).read_bytes()
    except Undecodable:
        raise
    except (OSError, ValueError) as error:  # ValueError: a name with a zero byte
        raise Undecodable(f"it cannot be read ({getattr(error, 'strerror', None) or error})") from error


def _check_limits(image: Image.Image, content: bytes) -> None:
    width, height = image.size
    pixels, most = width * height, MOST_PIXELS_OF.get(image.format or "", MOST_PIXELS)
    if pixels > most:
        raise Undecodable(f"it has {width:,} x {height:,} pixels, more than the {most:,} that are allowed")
    if max(width, height) > MOST_SIDE:
        raise Undecodable(f"it has {width:,} x {height:,} pixels; no side may have more than {MOST_SIDE:,}")
    if pixels * (scans := _scans(image, content)) > MOST_SCANNED_PIXELS:
        raise Undecodable(f"it has {width:,} x {height:,} pixels in {scans:,} scans, which take too long to decode")
    is_text = content[:2] in (b"P1", b"P2", b"P3")
    if is_text and (len(content) > MOST_TEXT or content.count(b"#") > MOST_COMMENTS):
        raise Undecodable("its pixels are written as text, which takes too long to read; save it as PNG")


def _scans(image: Image.Image, content: bytes) -> int:
    """How often every pixel is decoded: once but in a JPEG, whose scans have a mark that its pixels cannot hold."""
    mark = b"\xff\xda"
    if image.format in ("JPEG", "MPO"):
        return content.count(mark)
    if image.info.get("compression") not in ("jpeg", "tiff_jpeg"):
        return 1
    # A TIFF has a JPEG for each strip or tile. Where these share bytes, the same marks count for each.
    tags: Any = getattr(image, "tag_v2")  # noqa: B009 - Pillow's types have it in the class of TIFFs alone
    places = sorted(zip(tags.get(273) or tags[324], tags.get(279) or tags[325], strict=True))
    are_apart = all(start + length <= after for (start, length), (after, _) in itertools.pairwise(places))
    if not are_apart:
        return content.count(mark)
    return max(content.count(mark, start, start + length) for start, length in places)


def _of_pixels(pixels: np.ndarray) -> Image.Image:
    grey = pixels[..., 0] if pixels.ndim == 3 and pixels.shape[2] == 1 else pixels
    kinds = {(np.dtype(np.uint8), 2), (np.dtype(np.uint16), 2), (np.dtype(np.uint8), 3)}
    if (grey.dtype, grey.ndim) not in kinds or not grey.size or (grey.ndim == 3 and grey.shape[2] not in (3, 4)):
        raise Undecodable(
            f"it is an array of {pixels.dtype} of shape {list(pixels.shape)}, not uint8 [H, W, 1, 3 or 4] or [H, W]"
        )
    return Image.fromarray(np.ascontiguousarray(grey))


def _framed(
    image: Image.Image, opened: Image.Image, size: tuple[int, int] | None, fit: Fit, channels: int
) -> tuple[np.ndarray, tuple[int, int]]:
    """The pixels of an image and its size; ``opened`` is what has its format and tags, which a copy lacks."""
    is_turned = image.getexif().get(0x0112, 1) in (5, 6, 7, 8)  # height and width will be exchanged
    whole = image.size
    if size is not None:
        # A JPEG can be decoded at a half, a quarter or an eighth of its size for a fraction of the time. What is left
        # to the filter below is still a reduction by two or more, which hides the difference.
        wanted = size[::-1] if is_turned else size
        least = max(wanted[0] / image.height, wanted[1] / image.width)
        image.draft(None, (math.ceil(2 * least * image.width), math.ceil(2 * least * image.height)))
    is_reduced = image.size != whole  # a JPEG; a TIFF tells its upright size before it is turned
    ImageOps.exif_transpose(image, in_place=True)
    width, height = image.size if not is_reduced else whole[::-1] if is_turned else whole
    upright = _rgb(image, opened)
    if channels == 1:
        upright = upright.convert("L")
    if size is not None and fit == "crop":
        upright = ImageOps.fit(upright, size[::-1], Image.Resampling.BILINEAR)
    elif size is not None:
        upright = upright.resize(size[::-1], Image.Resampling.BILINEAR)
    pixels = np.asarray(upright, np.uint8)
    return pixels[..., np.newaxis] if channels == 1 else pixels, (height, width)


def _rgb(image: Image.Image, opened: Image.Image) -> Image.Image:
    """The image as RGB."""
    if image.mode.startswith("I;16") or (image.mode == "I" and opened.format == "PPM"):  # scaled to 16 bits by Pillow
        return _of_16_bits(image, getattr(opened, "tag_v2", {}))
    if image.mode in ("I", "F"):
        kind = "32-bit integers" if image.mode == "I" else "floating-point numbers"
        raise Undecodable(f"its pixels are {kind}, and nothing says which of them is white; save it with 8 or 16 bits")
    if image.has_transparency_data:
        coloured = image if image.mode == "RGBA" else image.convert("RGBA")
        white = Image.new("RGB", coloured.size, "white")
        white.paste(coloured, mask=coloured)
        return white
    return image if image.mode == "RGB" else image.convert("RGB")


def _of_16_bits(image: Image.Image, tags: Any) -> Image.Image:
    """The upper 8 bits of grey pixels of up to 16 bits, as RGB.

    Of the tags of a TIFF, 258 are its bits, and 262 is 0 where the least is white.
    """
    values = np.asarray(image)
    grey = (values >> (tags.get(258, (16,))[0] - 8)).astype(np.uint8)
    if tags.get(262) == 0:
        grey = 255 - grey
    if (clear := image.info.get("transparency")) is not None:  # of a PNG: the value of what is transparent
        grey[values == clear] = 255
    return Image.fromarray(grey).convert("RGB")

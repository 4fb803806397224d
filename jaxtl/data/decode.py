"""Image files of any kind as uint8 RGB, by Pillow: what cannot be decoded is told in a few words, never a crash.

What becomes of the kinds:

- The EXIF orientation is applied; colour profiles are not.
- Grey, palette, CMYK and YCbCr images become RGB; transparent pixels are laid over white.
- 16 bits a channel become 8, the upper ones; of an animation the first frame is taken.
- More than `MOST_PIXELS` are refused from the header, before any is decoded.
"""

import io
import math
import os
import stat
import warnings
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image, ImageOps

from jaxtl.errors import UserError

Fit = Literal["crop", "stretch"]

# The suffixes by which a file of a folder counts as an image, as far as Pillow reads them everywhere.
SUFFIXES = (".jpg", ".jpeg", ".png", ".gif", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".jfif")

MOST_PIXELS = 100_000_000  # a third of a gigabyte as RGB
MOST_BYTES = 1 << 30

# Pillow warns of large pictures and odd metadata; whatever counts arrives as an exception or is checked below. Set once
# and not around each call, because the warning filters are not safe to change in several threads.
warnings.filterwarnings("ignore", module=r"PIL\.")


class Undecodable(UserError):  # noqa: N818 - it names the file, not a failure of ours
    """The file is no image that can be used; the message is the reason, without the file's name."""


def read_image(
    file: str | os.PathLike[str] | bytes, size: tuple[int, int] | None = None, *, fit: Fit = "crop", channels: int = 3
) -> np.ndarray:
    """Decode an image, brought to a size.

    Args:
      file: its path, or its content.
      size: (height, width) in pixels; ``None`` keeps the image's own.
      fit: ``"crop"`` scales the image until it covers the size and takes the middle; ``"stretch"`` scales both sides
        to the size, whatever the proportions. The filter is bilinear with antialiasing.
      channels: 3 for RGB, 1 for grey (ITU-R 601 luma).

    Returns:
      uint8 ``[H, W, channels]``.

    Raises:
      Undecodable: the file cannot be read or decoded, or has more than ``MOST_PIXELS``.
    """
    content = file if isinstance(file, bytes) else read_content(file)
    if not content:
        raise Undecodable("it is empty")
    try:
        with Image.open(io.BytesIO(content)) as image:
            return _decode(image, size, fit, channels)
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
      Undecodable: it cannot be read, is no regular file (a pipe would be waited for), or is larger than any image.
    """
    try:
        status = Path(file).stat()
        if not stat.S_ISREG(status.st_mode):
            raise Undecodable("it is no regular file")
        if status.st_size > MOST_BYTES:
            raise Undecodable(f"it has {status.st_size:,} bytes, more than the {MOST_BYTES:,} that are allowed")
        return Path(file).read_bytes()
    except OSError as error:
        raise Undecodable(f"it cannot be read ({error.strerror or error})") from error


def shown(path: str | os.PathLike[str]) -> str:
    """A path as text that can be printed and written, whatever bytes its name has."""
    text = os.fsencode(path).decode("utf-8", "backslashreplace")
    return text if text.isprintable() else text.encode("unicode_escape").decode()


def image_size(file: str | os.PathLike[str]) -> tuple[int, int]:
    """(height, width) of an image as ``read_image`` would return it, from its header alone.

    Raises:
      Undecodable: there is no such header.
    """
    try:
        with Image.open(io.BytesIO(read_content(file))) as image:
            width, height = image.size
            return (width, height) if _is_turned(image) else (height, width)
    except Exception as error:
        raise Undecodable("it is not an image of a known format") from error


def _decode(image: Image.Image, size: tuple[int, int] | None, fit: Fit, channels: int) -> np.ndarray:
    width, height = image.size
    if width * height > MOST_PIXELS:
        raise Undecodable(f"it has {width:,} x {height:,} pixels, more than the {MOST_PIXELS:,} that are allowed")
    if size is not None:
        # A JPEG can be decoded at a half, a quarter or an eighth of its size for a fraction of the time. What is left
        # to the filter below is still a reduction by two or more, which hides the difference.
        wanted = size[::-1] if _is_turned(image) else size
        scales = wanted[0] / height, wanted[1] / width
        least = max(scales)
        image.draft(None, (math.ceil(2 * least * width), math.ceil(2 * least * height)))
    upright = ImageOps.exif_transpose(image)
    upright = _rgb(upright)
    if channels == 1:
        upright = upright.convert("L")
    if size is not None and size != (upright.height, upright.width):
        upright = upright.resize(size[::-1], Image.Resampling.BILINEAR, box=_box(upright, size, fit))
    pixels = np.asarray(upright, np.uint8)
    return pixels[..., np.newaxis] if channels == 1 else pixels


def _is_turned(image: Image.Image) -> bool:
    """Whether the EXIF orientation exchanges height and width."""
    return image.getexif().get(0x0112, 1) in (5, 6, 7, 8)


def _box(image: Image.Image, size: tuple[int, int], fit: Fit) -> tuple[float, float, float, float]:
    """The part of the image that is scaled to the size: (left, upper, right, lower)."""
    if fit == "stretch":
        return 0, 0, image.width, image.height
    scale = max(size[0] / image.height, size[1] / image.width)
    height, width = size[0] / scale, size[1] / scale
    left, upper = (image.width - width) / 2, (image.height - height) / 2
    return max(left, 0), max(upper, 0), min(left + width, image.width), min(upper + height, image.height)


def _rgb(image: Image.Image) -> Image.Image:
    """The image as RGB."""
    if image.mode.startswith("I"):  # 16 bits, or 32 in which 16 were stored
        values = np.asarray(image)
        if values.dtype.itemsize > 2 and (values.min() < 0 or values.max() > 65535):
            raise Undecodable("its pixels have more than 16 bits")
        return Image.fromarray((values >> 8).astype(np.uint8)).convert("RGB")
    if image.mode == "F":
        raise Undecodable("its pixels are floating-point numbers, whose range no header tells")
    if image.has_transparency_data:
        coloured = image.convert("RGBA")
        white = Image.new("RGB", coloured.size, "white")
        white.paste(coloured, mask=coloured)
        return white
    return image.convert("RGB")

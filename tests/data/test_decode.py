import io
import struct

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import EpsImagePlugin, Image

from jaxtl.data import decode
from jaxtl.data.decode import MOST_PIXELS, MOST_PIXELS_OF, MOST_SCANNED_PIXELS, Undecodable, read_image, read_sized

H, W = 30, 40


def encoded(image, kind, **options):
    content = io.BytesIO()
    image.save(content, kind, **options)
    return content.getvalue()


def opened(content):
    return Image.open(io.BytesIO(content))


@pytest.fixture(scope="module")
def photo():
    """A smooth picture with a different colour in every corner, uint8 [30, 40, 3]."""
    y, x = np.mgrid[0:H, 0:W]
    return np.stack([6 * x, 8 * y, 255 - 3 * (x + y)], -1).astype(np.uint8)


def test_an_rgb_image_keeps_its_pixels(photo):
    assert np.array_equal(read_image(encoded(Image.fromarray(photo), "PNG")), photo)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_exif_orientation_is_undone(photo, orientation):
    # What a camera stores that was held so: the inverse of what a viewer must do.
    stored = {
        1: photo,
        2: photo[:, ::-1],
        3: photo[::-1, ::-1],
        4: photo[::-1],
        5: photo.transpose(1, 0, 2),
        6: np.rot90(photo, 1),
        7: photo[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(photo, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    for kind in ("PNG", "TIFF"):
        content = encoded(Image.fromarray(np.ascontiguousarray(stored)), kind, exif=exif)
        assert np.array_equal(read_image(content), photo)
        assert np.array_equal(read_image(opened(content)), photo)
        assert read_sized(content)[1] == read_sized(content, (8, 8))[1] == (H, W)
    large = Image.fromarray(np.ascontiguousarray(stored)).resize([10 * side for side in stored.shape[1::-1]])
    assert read_sized(encoded(large, "JPEG", exif=exif), (8, 8))[1] == (10 * H, 10 * W)  # which is decoded smaller


def with_tag(tiff, tag, before, after):
    """A TIFF with another short number in a tag."""
    return tiff.replace(struct.pack("<HHIHH", tag, 3, 1, before, 0), struct.pack("<HHIHH", tag, 3, 1, after, 0))


def test_grey_tiffs_of_up_to_16_bits_keep_what_is_white():
    deep = GREY.astype(np.uint16) << 8 | 7
    tiff = encoded(Image.fromarray(deep), "TIFF")
    white_is_0 = with_tag(tiff, 262, 1, 0)
    bits = (deep >> 4)[..., np.newaxis] >> np.arange(11, -1, -1) & 1
    packed = Image.frombytes("I;16", (W, H), np.packbits(bits).tobytes().ljust(2 * W * H, b"\0"))
    of_12_bits = with_tag(encoded(packed, "TIFF"), 258, 16, 12)
    for content, pixels in ((tiff, GREY), (white_is_0, 255 - GREY), (of_12_bits, GREY)):
        assert np.array_equal(read_image(content)[..., 0], pixels)
        assert np.array_equal(read_image(opened(content))[..., 0], pixels)


def test_an_image_of_pillow_is_read_as_its_file_and_left_as_it_is():
    content = b"P5 2 1 65535\n" + struct.pack(">2H", 7 << 8, 200 << 8)
    image = opened(content)
    assert read_image(image)[0, :, 0].tolist() == read_image(content)[0, :, 0].tolist() == [7, 200]
    assert image.size == (2, 1) and image.mode == "I"
    image.close()
    half = encoded(Image.fromarray(GREY), "JPEG")[:400]
    for broken in (opened(half), half):
        with pytest.raises(Undecodable, match="it is damaged"):
            read_image(broken)
    closed = opened(content)
    closed.close()
    with pytest.raises(Undecodable, match="it is damaged"):
        read_image(closed)


def test_what_is_transparent_in_a_png_of_16_bits_is_white():
    pixels = read_image(encoded(Image.fromarray(GREY.astype(np.uint16) << 8), "PNG", transparency=0))
    assert np.array_equal(pixels[..., 0], np.where(GREY, GREY, 255))


GREY = np.linspace(0, 255, H * W).reshape(H, W).astype(np.uint8)
MODES = {
    "grey": (Image.fromarray(GREY), "PNG", GREY),
    "bilevel": (Image.fromarray(GREY > 99), "PNG", np.where(GREY > 99, 255, 0)),
    "16 bits": (Image.fromarray(GREY.astype(np.uint16) << 8 | 7), "PNG", GREY),
    "cmyk": (Image.fromarray(np.stack([GREY, GREY, GREY, 0 * GREY], -1), "CMYK"), "TIFF", 255 - GREY),
    "palette": (Image.fromarray(GREY).quantize(256), "PNG", GREY),
    "transparent": (Image.merge("LA", [Image.fromarray(GREY), Image.new("L", (W, H), 0)]), "PNG", 0 * GREY + 255),
    "opaque": (Image.merge("LA", [Image.fromarray(GREY), Image.new("L", (W, H), 255)]), "PNG", GREY),
}


@pytest.mark.filterwarnings("ignore:'mode' parameter:DeprecationWarning")
@pytest.mark.parametrize("name", MODES)
def test_every_mode_becomes_rgb(name):
    image, kind, expected = MODES[name]
    pixels = read_image(encoded(image, kind))
    assert pixels.shape == (H, W, 3) and pixels.dtype == np.uint8
    assert np.abs(pixels.astype(int) - expected[..., np.newaxis]).max() <= 1


def test_an_animation_gives_its_first_frame():
    frames = [Image.new("RGB", (W, H), colour) for colour in ("red", "blue")]
    pixels = read_image(encoded(frames[0], "GIF", save_all=True, append_images=frames[1:]))
    assert np.array_equal(pixels, np.broadcast_to(np.array([255, 0, 0], np.uint8), (H, W, 3)))


def test_one_channel_is_the_luma(photo):
    pixels = read_image(encoded(Image.fromarray(photo), "PNG"), channels=1)
    luma = photo @ np.array([0.299, 0.587, 0.114])
    assert pixels.shape == (H, W, 1)
    assert np.abs(pixels[..., 0] - luma).max() < 1


def test_crop_takes_the_middle_and_stretch_takes_all(photo):
    content = encoded(Image.fromarray(photo), "PNG")
    middle = np.asarray(Image.fromarray(photo[:, 5:35]).resize((15, 15), Image.Resampling.BILINEAR))
    assert np.abs(read_image(content, (15, 15)).astype(int) - middle).max() <= 3  # the crop's filter sees the edge
    whole = np.asarray(Image.fromarray(photo).resize((15, 15), Image.Resampling.BILINEAR))
    assert np.array_equal(read_image(content, (15, 15), fit="stretch"), whole)


def test_a_large_jpeg_is_decoded_small_and_hardly_differs():
    y, x = np.mgrid[0:960, 0:1280] / 960
    picture = np.stack([127 + 120 * np.sin(9 * x), 127 + 120 * np.cos(7 * y), 200 * y], -1).astype(np.uint8)
    reduced = read_image(encoded(Image.fromarray(picture), "JPEG", quality=95), (96, 96))
    exact = read_image(encoded(Image.fromarray(picture), "PNG"), (96, 96))
    assert np.abs(reduced.astype(int) - exact).mean() < 1


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty"),
        (b"no picture at all", "known format"),
        (encoded(Image.fromarray(GREY), "JPEG")[:400], "damaged"),
        (encoded(Image.new("1", (10_001, 10_000)), "PNG"), "pixels"),
        (encoded(Image.new("1", (20_000, 20_000)), "PNG"), "pixels"),
        (encoded(Image.new("F", (3, 3)), "TIFF"), "floating"),
        (encoded(Image.fromarray(np.full((3, 3), 200, np.int32)), "TIFF"), "32-bit integers"),
        (encoded(Image.new("1", (1, 200_000)), "PNG"), "no side"),
        (encoded(Image.new("RGB", (8, 8)), "EPS"), "known format"),
        (encoded(Image.new("RGB", (8, 8)), "DDS"), "known format"),
    ],
)
def test_what_cannot_be_decoded_says_why(content, reason):
    with pytest.raises(Undecodable, match=reason):
        read_image(content)


def test_a_missing_file_says_why(tmp_path):
    with pytest.raises(Undecodable, match="No such file"):
        read_image(tmp_path / "none.jpg")
    with pytest.raises(Undecodable):
        read_image("a\0b.jpg")


def test_an_eps_file_starts_no_ghostscript(monkeypatch, tmp_path):
    def started(*arguments, **options):
        raise AssertionError("Ghostscript")

    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", started)
    (tmp_path / "evil.jpg").write_bytes(encoded(Image.new("RGB", (8, 8)), "EPS"))
    with pytest.raises(Undecodable, match="known format"):
        read_image(tmp_path / "evil.jpg")


def test_a_webp_may_have_fewer_pixels(monkeypatch):
    content = encoded(Image.new("RGB", (30, 40)), "WEBP")
    assert read_image(content).shape == (40, 30, 3)
    monkeypatch.setitem(MOST_PIXELS_OF, "WEBP", 1000)
    with pytest.raises(Undecodable, match="more than the 1,000 that are allowed"):
        read_image(content)


def test_a_jpeg_of_very_many_scans_is_refused_at_once():
    content = encoded(Image.new("L", (4000, 4000)), "JPEG", progressive=True)
    start = content.index(b"\xff\xda")
    scan = content[start : content.index(b"\xff", start + 14)]
    many = content[:start] + scan * (MOST_SCANNED_PIXELS // 4000**2 + 1) + content[start:]
    with pytest.raises(Undecodable, match="scans"):
        read_image(many, (32, 32))
    assert read_image(content, (32, 32)).shape == (32, 32, 3)


def test_a_tiff_may_hold_many_jpegs_but_not_the_same_again_and_again(monkeypatch, photo):
    monkeypatch.setattr(decode, "MOST_SCANNED_PIXELS", 2 * H * W)
    content = encoded(Image.fromarray(photo), "TIFF", compression="jpeg", strip_size=3 * W)
    with Image.open(io.BytesIO(content)) as image:
        places, lengths = image.tag_v2[273], image.tag_v2[279]
    assert len(places) == content.count(b"\xff\xda") == 4
    assert read_image(content).shape == photo.shape
    with pytest.raises(Undecodable, match="in 4 scans"):
        read_image(content.replace(struct.pack("<4L", *places), struct.pack("<4L", *places[:1] * 4)))
    monkeypatch.setattr(decode, "MOST_SCANNED_PIXELS", 4 * H * W)
    first = content[places[0] : places[0] + lengths[0]]
    start = first.index(b"\xff\xda")
    many = first[:start] + first[start:-2] * 5 + first[-2:]
    at_its_end = struct.pack("<4L", len(content), *places[1:]), struct.pack("<4H", len(many), *lengths[1:])
    longer = content.replace(struct.pack("<4L", *places), at_its_end[0])
    with pytest.raises(Undecodable, match="in 5 scans"):  # and not 9 in 4 places
        read_image(longer.replace(struct.pack("<4H", *lengths), at_its_end[1]) + many)


def test_a_ppm_that_is_read_too_slowly_is_refused_at_once(monkeypatch):
    assert read_image(b"P2 2 1 255 # two pixels\n" + b"#\n" * 99 + b"7 200\n")[0, :, 0].tolist() == [7, 200]
    with pytest.raises(Undecodable, match="written as text, which takes too long"):
        read_image(b"P2 2 1 255\n" + b"#\n" * 500_000 + b"7 200\n")
    monkeypatch.setattr(decode, "MOST_TEXT", 10)
    with pytest.raises(Undecodable, match="save it as PNG"):
        read_image(b"P2 2 1 255\n7 200\n")


def test_arrays_are_framed_as_files_are(photo):
    content = encoded(Image.fromarray(photo), "PNG")
    assert np.array_equal(read_image(photo, (15, 15)), read_image(content, (15, 15)))
    assert np.array_equal(read_image(photo), photo)
    assert np.array_equal(read_image(GREY), np.repeat(GREY[..., np.newaxis], 3, -1))
    assert np.array_equal(read_image(GREY[..., np.newaxis], channels=1)[..., 0], GREY)
    assert np.array_equal(read_image(jnp.asarray(photo)), photo)
    assert np.array_equal(read_image(Image.fromarray(GREY).convert("P"))[..., 0], GREY)
    for neither in (None, 3, [photo], {}):
        with pytest.raises(Undecodable, match=f"its type is {type(neither).__name__}; give a path"):
            read_image(neither)
    for wrong in (photo.astype(np.float32), photo[..., :2], photo[np.newaxis], photo[:0]):
        with pytest.raises(Undecodable, match="is an array of"):
            read_image(wrong)


def test_a_path_may_be_a_text_of_numpy(tmp_path, photo):
    content = encoded(Image.fromarray(photo), "PNG")
    (tmp_path / "a.png").write_bytes(content)
    assert np.array_equal(read_image(np.str_(tmp_path / "a.png")), photo)
    assert np.array_equal(read_image(np.bytes_(content)), photo)


def test_the_limit_is_on_pixels_alone():
    assert read_image(encoded(Image.new("1", (MOST_PIXELS // 1000, 1)), "PNG")).shape == (1, MOST_PIXELS // 1000, 3)

import inspect
import sys

import pytest

from jaxtl.data.image_files import image_files, paths_in
from jaxtl.errors import UserError

NAMES = ["a b.png", "Ä花.jpg", "x/y.png"]


@pytest.mark.parametrize(
    "listed",
    [
        "\n".join(NAMES).encode(),
        "\r\n".join([*NAMES, ""]).encode(),
        "\0".join([*NAMES, ""]).encode(),
        b"\xef\xbb\xbf" + "\n".join(NAMES).encode(),
        "\n".join(NAMES).encode("utf-16"),
        "\r\n".join([*NAMES, ""]).encode("utf-16-le"),
        b"\xfe\xff" + "\n".join(NAMES).encode("utf-16-be"),
    ],
    ids=["lines", "Windows", "zeros", "UTF-8 with a mark", "UTF-16", "UTF-16 without a mark", "UTF-16 big-endian"],
)
def test_lists_of_every_kind(listed):
    assert paths_in(listed) == NAMES
    assert [str(file) for file in image_files(["-"], listed)[0]] == NAMES


@pytest.mark.parametrize("side", [8, 60_000])
def test_an_image_is_not_a_list(side):
    content = b"P5 %d %d 255\n" % (side, side)  # without pixels: nothing is decoded
    with pytest.raises(UserError, match=r"^Standard input holds an image"):
        image_files(["x.png", "-"], content)
    assert len(image_files(["x.png"], content)[0]) == 1
    assert len(image_files(["-"], b"P5/x.png\nBMP.png\n")[0]) == 2


def test_an_empty_list():
    assert paths_in(b"") == paths_in(b"\n\n") == paths_in(b"\0") == []


def test_linked_folders_are_followed_and_circles_told(tmp_path):
    folder, elsewhere = tmp_path / "mine", tmp_path / "elsewhere"
    for place in (folder, elsewhere):
        (place / "deep").mkdir(parents=True)
        (place / "deep" / "x.png").touch()
    (folder / "linked").symlink_to(elsewhere)
    (elsewhere / "circle").symlink_to(elsewhere)
    (folder / "notes.txt").touch()
    files, faults = image_files([str(folder)])
    assert [str(file.relative_to(folder)) for file in files] == ["deep/x.png", "linked/deep/x.png"]
    assert [(fault.path.rpartition("/")[2], fault.reason) for fault in faults] == [
        ("circle", "the same folder was read before")
    ]


def test_no_folder_is_read_twice_however_many_links_lead_to_it(tmp_path):
    folder, elsewhere = tmp_path / "mine", tmp_path / "elsewhere"
    depth = 25  # and 2 ** 25 ways to the last one
    for i in range(depth):
        (elsewhere / str(i)).mkdir(parents=True)
        for name in "ab":
            (elsewhere / str(i) / name).symlink_to(elsewhere / str(i + 1))
    (elsewhere / str(depth)).mkdir()
    (elsewhere / str(depth) / "x.png").touch()
    folder.mkdir()
    (folder / "linked").symlink_to(elsewhere / "0")
    files, faults = image_files([str(folder)])
    assert len(files) == 1 and len(faults) == depth


def test_folders_may_be_nested_more_deeply_than_python_calls(tmp_path):
    depth = 150
    here = tmp_path
    for _ in range(depth):
        here /= "d"
    here.mkdir(parents=True)
    (here / "x.png").touch()
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(len(inspect.stack()) + 100)
    try:
        assert len(image_files([str(tmp_path)])[0]) == 1
    finally:
        sys.setrecursionlimit(before)

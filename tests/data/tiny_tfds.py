"""Small data sets that tensorflow-datasets itself prepares; as array_record it does so without TensorFlow."""

import contextlib
import io
import warnings
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

NAMES = ("circle", "square", "star")


def picture(split: str, i: int, channels: int = 3, fixed: bool = False) -> np.ndarray:
    """uint8 [H, W, channels], other for every split and number, and of other sizes unless they are fixed."""
    rng = np.random.default_rng([*split.encode(), i])
    height, width = (12, 12) if fixed else (9 + i % 4, 11)
    return rng.integers(0, 256, (height, width, channels), np.uint8)


def encode(pixels: np.ndarray) -> bytes:
    content = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(content, "PNG")
    return content.getvalue()


def prepare(
    data_dir: Path,
    name: str = "TinyShapes",
    splits: dict[str, int] | None = None,
    *,
    features: dict | None = None,
    supervised: tuple[str, str] | None = ("image", "label"),
    channels: int = 3,
    fixed: bool = False,
    labels: dict[str, int] | None = None,
    damaged: tuple[int, ...] = (),
    file_format: str = "array_record",
    write: bool = True,
) -> Path:
    """Prepare a data set whose image i is ``picture(split, i)``, of class i % 3; its folder.

    Where it is not to be written, it is made known to tensorflow-datasets instead.
    """
    splits = splits or {"train": 12, "test": 6}
    side = 12 if fixed else None

    def _info(self):
        shown = features or {
            "image": tfds.features.Image(shape=(side, side, channels)),
            "label": tfds.features.ClassLabel(names=NAMES),
        }
        described = tfds.features.FeaturesDict(shown)
        return tfds.core.DatasetInfo(
            builder=self, description="Tiny.\nShapes.", features=described, supervised_keys=supervised
        )

    def examples(split, count):
        for i in range(count):
            content = encode(picture(split, i, channels, fixed))
            content = content[: len(content) // 2] if i in damaged and split == "train" else content
            example = {"image": io.BytesIO(content), "label": (labels or {}).get(split, i % 3)}
            other = io.BytesIO(encode(np.zeros((1, 1, 3), np.uint8)))
            yield i, {key: example.get(key, other) for key in (features or example)}

    members = {
        "VERSION": tfds.core.Version("1.0.0"),
        "pkg_dir_path": Path(__file__).parent,  # where tfds looks for a description beside the code
        "_info": _info,
        "_split_generators": lambda self, manager: {split: examples(split, n) for split, n in splits.items()},
        "_generate_examples": lambda self: iter(()),
    }
    builder_class = type(name, (tfds.core.GeneratorBasedBuilder,), members, skip_registration=write)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        builder = builder_class(data_dir=str(data_dir), file_format=file_format)
        if write:
            builder.download_and_prepare()
    return Path(str(builder.data_dir))

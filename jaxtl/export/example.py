"""Ask the exported program what it sees. This needs jax, flatbuffers and numpy, and Pillow to read photographs.

python load_example.py IMAGE ...     photographs, brought to size as they were for training
python load_example.py images.npy    an array, uint8 [B, H, W, C], of the size that model.json tells
"""

import json
import sys
from pathlib import Path

import numpy as np
from jax import export

FOLDER = Path(__file__).parent


def read(path: str, height: int, width: int, channels: int, fit: str) -> np.ndarray:
    """One photograph as uint8 ``[1, H, W, C]``, or the array of a ``.npy`` file."""
    if path.endswith(".npy"):
        return np.asarray(np.load(path))
    from PIL import Image, ImageOps

    with Image.open(path) as file:
        image = ImageOps.exif_transpose(file).convert("RGB" if channels == 3 else "L")
    resize = ImageOps.fit if fit == "crop" else Image.Image.resize
    pixels = np.asarray(resize(image, (width, height), Image.Resampling.BILINEAR), np.uint8)
    return pixels.reshape(1, height, width, channels)


if __name__ == "__main__":
    about = json.loads((FOLDER / "model.json").read_text(encoding="utf-8"))
    height, width, channels = about["input"]["image_shape"]
    program = export.deserialize(bytearray((FOLDER / "model.stablehlo").read_bytes()))
    for path in sys.argv[1:]:
        images = read(path, height, width, channels, about["input"]["fit"])
        for row in np.asarray(program.call(images)):
            print(f"{path}: {about['class_names'][row.argmax()]} {row.max():.2%}")

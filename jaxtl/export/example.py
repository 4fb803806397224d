"""Classify images with the exported program. This needs jax, flatbuffers, numpy and Pillow.

python load_example.py IMAGE ...     photographs, read as the run's own images were: see read_image.py beside this file
python load_example.py images.npy    an array, uint8 [B, H, W, C], of the size that model.json gives
"""

import json
import sys
from pathlib import Path

import numpy as np
from jax import export

FOLDER = Path(__file__).parent


if __name__ == "__main__":
    from read_image import Undecodable, read_image  # type: ignore[import-not-found]  # it lies beside this file

    about = json.loads((FOLDER / "model.json").read_text(encoding="utf-8"))
    height, width, channels = about["input"]["image_shape"]
    program = export.deserialize(bytearray((FOLDER / "model.stablehlo").read_bytes()))
    for path in sys.argv[1:]:
        try:
            if path.endswith(".npy"):
                images = np.load(path)
            else:
                images = read_image(path, (height, width), fit=about["input"]["fit"], channels=channels)[np.newaxis]
        except Undecodable as error:
            print(f"{path}: {error}", file=sys.stderr)
            continue
        for row in np.asarray(program.call(images)):
            print(f"{path}: {about['class_names'][row.argmax()]} {row.max():.2%}")

"""Compare files, names and order of layers with Keras's own, by hand.

The tests need no Keras; this does, in an environment that has both:

    pip install 'keras>=3.15' h5py
    KERAS_BACKEND=jax JAX_PLATFORMS=cpu python tests/weights/check_with_keras.py [NAME ...]

1. What Keras writes, in both of its formats, is read and fits our network, with and without top.
2. What ``write_keras_file`` writes is loaded by ``load_weights`` and gives the same arrays in the same layers.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np
from keras import applications

from jaxtl.weights import from_keras, read_keras_file, to_keras, write_keras_file
from jaxtl.weights.names import KERAS_MODELS

CLASSES = {
    "vgg16": "VGG16", "vgg19": "VGG19",
    "resnet50_v1": "ResNet50", "resnet101_v1": "ResNet101", "resnet152_v1": "ResNet152",
    "densenet121": "DenseNet121", "densenet169": "DenseNet169", "densenet201": "DenseNet201",
}  # fmt: skip


def arrays_of(net) -> dict[str, np.ndarray]:
    return {f"{layer.name}/{w.name}": np.asarray(w) for layer in net.layers for w in layer.weights}


def check(name: str, top: bool, folder: Path) -> None:
    build = getattr(applications, CLASSES[name])
    net = build(include_top=top, weights=None)
    rng = np.random.default_rng(0)
    for layer in net.layers:
        layer.set_weights([rng.random(w.shape, np.float32) for w in layer.weights])
    expected = arrays_of(net)
    options = {} if top or not name.startswith("vgg") else {"hidden": ()}
    net.save_weights(folder / "new.weights.h5")
    net.save(folder / "old.h5")
    for file in ("old.h5", "new.weights.h5"):
        found = read_keras_file(folder / file)
        assert found.keys() == expected.keys()
        assert all(np.array_equal(found[key], array) for key, array in expected.items())
    variables = from_keras(name, found, **options)
    arrays = to_keras(name, variables, **options)
    assert list(arrays) == list(expected), [pair for pair in zip(arrays, expected, strict=True) if len(set(pair)) > 1][
        :3
    ]
    write_keras_file(arrays, folder / "ours.h5")
    for layer in net.layers:
        layer.set_weights([np.zeros(w.shape, np.float32) for w in layer.weights])
    net.load_weights(folder / "ours.h5")
    assert all(np.array_equal(array, expected[key]) for key, array in arrays_of(net).items())
    print(f"{name}{'' if top else ' without top'}: {len(arrays)} arrays, both ways", flush=True)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        for name in sys.argv[1:] or KERAS_MODELS:
            for top in (True, False):
                check(name, top, Path(scratch))

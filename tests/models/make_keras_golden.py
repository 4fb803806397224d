"""Write golden/keras/NAME.npz: what Keras's applications answer for the weights and images of golden_rule.py.

Run with keras 3.15 and jax:

    KERAS_BACKEND=jax python tests/models/make_keras_golden.py [NAME ...]

The images are those that a network sees after Keras's own preprocessing. VGG and ResNet take blue first, so theirs are
turned round; ours see the same images as they are. VGG's dense layers are bound to 224 pixels: at other sizes
its stages alone are stored.
"""

import sys
from pathlib import Path

import keras
import numpy as np
from golden_rule import draw_images, draw_keras_weight, outputs, sample, sizes
from keras import applications

NETWORKS = {
    "vgg16": (applications.VGG16, 0),
    "vgg19": (applications.VGG19, 0),
    "resnet50_v1": (applications.ResNet50, (3, 4, 6, 3)),
    "resnet101_v1": (applications.ResNet101, (3, 4, 23, 3)),
    "resnet152_v1": (applications.ResNet152, (3, 8, 36, 3)),
    "densenet121": (applications.DenseNet121, 0),
    "densenet169": (applications.DenseNet169, 0),
    "densenet201": (applications.DenseNet201, 0),
}


def stages_of(name: str) -> dict[str, str]:
    """The layer that ends each of our stages."""
    ours = ("stem", "stage1", "stage2", "stage3", "stage4")
    if name.startswith("vgg"):
        return {stage: f"block{i}_pool" for i, stage in enumerate(ours, start=1)}
    if name.startswith("densenet"):
        return dict(zip(ours, ("pool1", "pool2_pool", "pool3_pool", "pool4_pool", "relu"), strict=True))
    depths = NETWORKS[name][1]
    ends = [f"conv{i}_block{depth}_out" for i, depth in enumerate(depths, start=2)]
    return dict(zip(ours, ["pool1_pool", *ends], strict=True))


def golden(name: str) -> dict[str, np.ndarray]:
    found = {}
    for height, width in sizes(name):
        top = not name.startswith("vgg") or height == width == 224
        net = NETWORKS[name][0](
            include_top=top, weights=None, input_shape=(height, width, 3), classifier_activation=None
        )
        for layer in net.layers:
            layer.set_weights([draw_keras_weight(f"{layer.name}/{w.name}", tuple(w.shape)) for w in layer.weights])
        ends = stages_of(name)
        wanted = [net.get_layer(layer).output for layer in ends.values()]
        if top:
            wanted += [net.get_layer("fc2" if name.startswith("vgg") else "avg_pool").output, net.output]
        images = draw_images(height, width)
        if not name.startswith("densenet"):
            images = images[..., ::-1]
        values = [np.asarray(value) for value in keras.Model(net.inputs[0], wanted)(images, training=False)]
        maps = dict(zip(ends, values, strict=False))
        if top:
            if name.startswith("vgg"):
                maps["hidden"] = values[-2]
            stored = outputs(values[-1], values[-2], maps)
        else:
            stored = {f"stages/{stage}": sample(value) for stage, value in maps.items()}
        found |= {f"{height}x{width}/{what}": value for what, value in stored.items()}
    return found


if __name__ == "__main__":
    folder = Path(__file__).with_name("golden") / "keras"
    for name in sys.argv[1:] or NETWORKS:
        values = golden(name)
        np.savez_compressed(folder / f"{name}.npz", **values)
        scales = " ".join(f"{np.abs(v).max():.3g}" for v in values.values())
        print(f"{name}: {scales}", flush=True)

"""Study E: a VGG-16 trained on ImageNet, frozen, with a two-layer head on CIFAR-10.

| | |
|---|---|
| Reported | 81.87 % test accuracy; on a T4 GPU 12 min 47 s of training, 1 min 4 s for the 10,000 test images |
| Ours | replica 84.44 % (95 % interval 83.72 to 85.14), best 86.66 % (85.98 to 87.31) |
| Five seeds | replica 84.40 % on average (84.00 to 84.68), best 86.73 % (86.64 to 86.85) |
| Measured with | seed 0; AMD EPYC, 2 cores shared with other work; 34 min 15 s for the test images, about 5 images/s |
| Command | `python -m jaxtl.main --config configs/vgg16.py --workdir runs/vgg16` |
| `best` | `python -m jaxtl.main --config configs/vgg16.py:best --workdir runs/vgg16_best` |

| | `replica`, the study's recipe | `best`, ours |
|---|---|---|
| All but the network | as in `resnet50.py`, sigmoid included | as in `resnet50.py:best` |
| Head | sees the 512 channels of the last maps, averaged to 1 x 1 | the same |

- Measured with the weights of the network's authors, as Keras has them, and their normalisation: images in [0, 255]
  less the mean color. In flags: `--config.model.weights=imagenet1k_keras_notop --config.keep_features_gb=20
  --config.data.mean="(0.4824, 0.4588, 0.4078)" --config.data.std="(0.00392157, 0.00392157, 0.00392157)"`.
- All ten runs, at commit 77dd181 with the head of `best` by flags, shared one pass over the images. It was made in
  parts over several hours, so that its whole time is not known. Five epochs of the head of `best` then took 10 s.
- The network's own dense layers are left out.
- It has no batch norm that could drift: the backbone runs once per image in both recipes.
"""

from ml_collections import ConfigDict

from . import resnet50


def get_config(recipe: str = "replica") -> ConfigDict:
    """Study E's VGG-16: what differs from its ResNet-50."""
    config = resnet50.get_config(recipe)
    config.name = f"vgg16 on CIFAR-10 (study E, {recipe})"
    config.reported = "81.87 %; 12 min 47 s of training, 1 min 4 s for the test images"
    config.model.name = "vgg16"
    config.model.options.update(bins=1, hidden=())  # a mean over all pixels, and the head next
    return config

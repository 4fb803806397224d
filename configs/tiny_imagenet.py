"""Tiny ImageNet: ResNet-18 from random weights, to start other runs from.

| | |
|---|---|
| Data | 200 classes of ImageNet, 64 x 64 pixels: 500 images a class as `train/CLASS/*`, 50 as `test/CLASS/*` |
| Network | ResNet-18 as torchvision has it, with a head of 200 classes |
| Command | `python -m jaxtl.main --config configs/tiny_imagenet.py --data.dir=tiny-imagenet-200 --workdir runs/tiny` |
| On a GPU | the same with `--model.dtype=bfloat16` |
| Ours | 48.33 % of 10,000 test images (95 % interval 47.35 to 49.31) |
| Measured with | seed 0, bfloat16, NVIDIA H200, at commit 7904db5: 27 s of compilation, 48 s of training |

- One image in fifty of each class is held out, to watch the epochs. None is chosen by it: the last one is tested.
- The test images are the official validation images: the labels of the official test images are not public. The
  official archive has them in one folder, to be sorted by its `val_annotations.txt`; its training images lie in folders
  `images` inside of those of the classes, and go up from there.
- The images were those of a lossy copy (WebP of quality 50, then JPEG of quality 95), decoded and given to `jaxtl.run`
  as arrays. That run was cut off after the test, before its summary; the accuracy is that of its `predictions.csv`.
- Its weights are the file of `weights/`, in half precision: `--config.model.weights=tiny_imagenet` starts from them. In
  float32 arithmetic on a CPU that file gives 48.36 %.
"""

from ml_collections import ConfigDict

from jaxtl.config import default_config
from jaxtl.transfer.plans import from_scratch


def get_config() -> ConfigDict:
    """ResNet-18 on images of 64 pixels."""
    config = default_config()
    config.name = "ResNet-18 on Tiny ImageNet"
    config.data.name = "folder"
    config.data.size = 64
    config.data.validation = 0.02
    config.data.mean = (0.485, 0.456, 0.406)
    config.data.std = (0.229, 0.224, 0.225)
    config.batch_size = 256
    config.model.name = "resnet18"
    config.phases = from_scratch(
        40,
        optimizer="sgd",
        momentum=0.9,
        nesterov=True,
        learning_rate=0.2,
        schedule="cosine",
        warmup_epochs=1,
        weight_decay=5e-4,
        label_smoothing=0.1,
        flip=True,
        resized_crop=0.35,
        keep="last",
    )
    return config

"""Write augment_golden.npz: what torchvision's transforms answer for the images and parameters of augment_rule.py.

Run with numpy, torch 2.13.0 (CPU) and torchvision 0.28.0, installed by `pip install --no-deps torchvision==0.28.0`:

    python tests/data/make_augment_golden.py
"""

from pathlib import Path

import augment_rule as rule
import numpy as np
import torch

# torchvision asks for these operators at import; without its compiled half they only need a name.
library = torch.library.Library("torchvision", "DEF")
for operator in ("nms", "qnms"):
    library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
from torchvision import transforms  # noqa: E402
from torchvision.transforms import InterpolationMode, autoaugment, v2  # noqa: E402
from torchvision.transforms.v2 import functional  # noqa: E402


def as_torch(image: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(image.transpose(2, 0, 1).copy())


def as_numpy(image: torch.Tensor) -> np.ndarray:
    return image.numpy().transpose(1, 2, 0)


def operation(image: torch.Tensor, name: str, magnitude: float) -> torch.Tensor:
    if name == "posterize":
        magnitude = 8 - magnitude
    if name == "solarize":
        magnitude = 255 - magnitude
    called = {"saturation": "Color"}.get(name, name.title().replace("_", ""))
    return autoaugment._apply_op(image, called, magnitude, InterpolationMode.NEAREST, None)


def exact() -> dict[str, np.ndarray]:
    found = {}
    for channels in (1, 3):
        image = as_torch(rule.draw_image(channels))
        for name, magnitude in rule.OPERATIONS:
            answer = operation(image, name, magnitude)
            found[f"{channels}/{name} {magnitude}"] = rule.sample(as_numpy(answer))
    for turn in rule.TURNS:
        found[f"hue {turn}"] = rule.sample(as_numpy(functional.adjust_hue(image, turn)))
    for box in rule.BOXES:
        resized = functional.resized_crop(image.float(), *box, list(rule.SIZE), antialias=True)
        found[f"crop {box}"] = rule.sample(as_numpy(resized))
    return found


def drawn() -> dict[str, np.ndarray]:
    image = as_torch(rule.draw_image())
    H, W = rule.SIZE
    found = {}
    for name, draw in {
        "crops": lambda: transforms.RandomResizedCrop.get_params(image, **rule.CROP),
        "erased": lambda: transforms.RandomErasing.get_params(image, (0.02, 0.33), (0.3, 3.3), [0.0])[:4],
    }.items():
        boxes = np.array([draw() for _ in range(rule.DRAWS)])
        for i, (side, most) in enumerate(zip(("top", "left", "height", "width"), (H, W, H, W), strict=True)):
            found[f"{name}/{side}"] = rule.frequencies(boxes[:, i], most)
    for name, transform in {
        "jitter": transforms.ColorJitter(**rule.JITTER),
        "randaugment": transforms.RandAugment(2, 9),
        "trivialaugment": transforms.TrivialAugmentWide(),
    }.items():
        images = np.stack([as_numpy(transform(image)) for _ in range(rule.DRAWS)])
        found[name] = rule.moments(images.astype(np.float32))
    cutmix = v2.CutMix(num_classes=2)
    pixels = [round(H * W * (1 - cutmix.make_params([image])["lam_adjusted"])) for _ in range(rule.DRAWS)]
    found["cutmix"] = rule.frequencies(np.array(pixels), H * W)
    return found


if __name__ == "__main__":
    torch.set_num_threads(1)
    torch.manual_seed(0)
    np.savez_compressed(Path(__file__).with_name("augment_golden.npz"), **exact(), **drawn())

"""Compare the readers, the conversion, the preprocessing and the cards with PyTorch's own, by hand.

The tests need no PyTorch; this does, in an environment that has both:

    pip install torch==2.13.0 && pip install --no-deps torchvision==0.28.0
    JAX_PLATFORMS=cpu python tests/weights/check_with_torch.py

1. What ``torch.save`` writes, in both of its formats, is read; every dtype, strided, shared, parameters, checkpoints.
2. Every network of torchvision: ``to_torch(from_torch(state_dict))`` is loaded by ``load_state_dict(strict=True)`` and
   equals the state dict it came from.
3. Photographs of many sizes are preprocessed as torchvision's preset does.
4. Every card of torchvision's weights agrees with torchvision's own.
"""

import sys
import tempfile
from collections import OrderedDict
from pathlib import Path

import ml_dtypes
import numpy as np
import torch
from PIL import Image

from jaxtl.weights import from_torch, read_torch_file, to_torch, weights_for
from jaxtl.weights.cards import CARDS
from jaxtl.weights.verify import preprocess

torch.library.define("torchvision::nms", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
torch.library.define("torchvision::qnms", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
import torchvision  # noqa: E402 - its import asks for the two operators above

FAST = "--fast" in sys.argv  # leave out the networks of more than 60 million parameters


def as_numpy(tensor: torch.Tensor) -> np.ndarray:
    tensor = tensor.detach().contiguous()
    views = {
        torch.bfloat16: (torch.uint16, ml_dtypes.bfloat16),
        torch.float8_e5m2: (torch.uint8, ml_dtypes.float8_e5m2),
    }
    if tensor.dtype in views:
        plain, dtype = views[tensor.dtype]
        return tensor.view(plain).numpy().view(dtype)
    return tensor.numpy()


def assert_same(found: dict[str, np.ndarray], expected: dict[str, torch.Tensor]) -> None:
    assert list(found) == list(expected), (list(found)[:5], list(expected)[:5])
    for key, tensor in expected.items():
        array = as_numpy(tensor)
        assert found[key].dtype == array.dtype, (key, found[key].dtype, array.dtype)
        assert found[key].shape == array.shape, key
        assert found[key].tobytes() == np.ascontiguousarray(array).tobytes(), key


def check_formats(folder: Path) -> None:
    base = torch.arange(24, dtype=torch.float32)
    tensors: OrderedDict[str, torch.Tensor] = OrderedDict()
    for dtype in (
        torch.float32, torch.float16, torch.bfloat16, torch.float64, torch.int64, torch.int32, torch.int16, torch.int8,
        torch.uint8, torch.bool, torch.complex64, torch.complex128,
    ):  # fmt: skip
        tensors[str(dtype)] = torch.arange(6).reshape(2, 3).to(dtype)
    tensors |= {
        "shared": base.view(4, 6),
        "transposed": base.view(4, 6).T,
        "slice": base.view(4, 6)[1:, ::2],
        "expanded": torch.arange(3.0).expand(2, 3),
        "scalar": torch.tensor(3),
        "empty": torch.zeros(0, 3),
        "channels last": torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last),
        "parameter": torch.nn.Parameter(torch.randn(3)),
    }
    newer = OrderedDict({"u16": torch.arange(5).to(torch.uint16), "f8": torch.arange(5.0).to(torch.float8_e5m2)})
    for new_zip in (True, False):
        path = folder / f"{new_zip}.pth"
        torch.save(tensors, path, _use_new_zipfile_serialization=new_zip)
        assert_same(read_torch_file(path), tensors)
        wrapped = {"epoch": 3, "state_dict": OrderedDict((f"module.{k}", v) for k, v in tensors.items())}
        torch.save(wrapped, path, _use_new_zipfile_serialization=new_zip)
        assert_same(read_torch_file(path), tensors)
        model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
        torch.save(model.state_dict(), path, _use_new_zipfile_serialization=new_zip)
        assert_same(read_torch_file(path), model.state_dict())
        torch.save(newer, path, _use_new_zipfile_serialization=new_zip)
        assert_same(read_torch_file(path), newer)
        torch.save(model, path, _use_new_zipfile_serialization=new_zip)  # a whole module: classes, which are refused
        message = ""
        try:
            read_torch_file(path)
        except ValueError as error:
            message = str(error)
        assert "asks for torch.nn.modules.container.Sequential" in message, message
    print("formats: what torch.save writes is read, zip and legacy")


def check_networks(folder: Path) -> None:
    for name in sorted({card.model for card in CARDS if card.tag.startswith("imagenet")}):
        torch.manual_seed(0)
        if FAST and name.startswith("vgg"):
            continue
        net = getattr(torchvision.models, name)(weights=None, **({"init_weights": False} if "net" not in name else {}))
        state_dict = net.state_dict()
        for key, tensor in state_dict.items():
            if key.endswith("running_mean"):
                tensor.uniform_(-1, 1)
        path = folder / "net.pth"
        torch.save(state_dict, path)
        back = to_torch(name, from_torch(name, read_torch_file(path)))
        net.load_state_dict({key: torch.from_numpy(array) for key, array in back.items()}, strict=True)
        for key, tensor in state_dict.items():
            assert np.array_equal(back[key], tensor.numpy()), (name, key)
        print(f"{name}: {len(back)} keys, strict, equal")


def check_photographs() -> None:
    rng = np.random.default_rng(0)
    worst = 0.0
    for width, height in ((300, 400), (640, 427), (427, 640), (256, 256), (1001, 333), (257, 999), (232, 500)):
        image = Image.fromarray(rng.integers(0, 256, (height, width, 3), np.uint8))
        for tag in ("IMAGENET1K_V1", "IMAGENET1K_V2"):
            card = next(card for card in weights_for("resnet50") if card.tag == tag.lower())
            expected = torchvision.models.ResNet50_Weights[tag].transforms()(image).permute(1, 2, 0).numpy()
            worst = max(worst, float(np.abs(preprocess(image, card) - expected).max()))
    assert worst < 1e-5, worst
    print(f"photographs: largest difference {worst:.1e}")


def check_cards() -> None:
    theirs = {}
    for name in dir(torchvision.models):
        if name.endswith("_Weights") and name.startswith(("ResNet", "VGG", "DenseNet")):
            for weights in getattr(torchvision.models, name):
                theirs[name.removesuffix("_Weights").lower(), weights.name.lower()] = weights
    del theirs["vgg16", "imagenet1k_features"]  # no classifier, other means: for object detection
    ours = {(card.model, card.tag): card for card in CARDS if card.tag.startswith("imagenet")}
    assert ours.keys() == theirs.keys(), ours.keys() ^ theirs.keys()
    for key, card in ours.items():
        weights = theirs[key]
        preset = weights.transforms()
        assert card.url == weights.url, key
        assert card.top1 == weights.meta["_metrics"]["ImageNet-1K"]["acc@1"], key
        assert card.classes == len(weights.meta["categories"]), key
        assert (card.mean, card.std) == (tuple(preset.mean), tuple(preset.std)), key
        assert ([card.input_size], [card.resize]) == (preset.crop_size, preset.resize_size), key
        assert card.interpolation == preset.interpolation.value, key
    print(f"cards: all {len(ours)} agree with torchvision {torchvision.__version__}")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        check_formats(Path(scratch))
        check_cards()
        check_photographs()
        check_networks(Path(scratch))

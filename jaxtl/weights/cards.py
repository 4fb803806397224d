"""Weight cards: where pretrained weights come from, and what a user must know to use them.

Sources: torchvision 0.28.0, ``torchvision/models/{resnet,vgg,densenet}.py`` and ``transforms/_presets.py``;
https://github.com/huyvnphan/PyTorch_CIFAR10, ``README.md`` and ``data.py``;
https://github.com/akamaster/pytorch_resnet_cifar10, ``README.md`` and ``trainer.py``. What none of them says
is ``None``.
"""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

from jaxtl.errors import UserError

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclasses.dataclass(frozen=True)
class WeightCard:
    """One file of pretrained weights.

    Attributes:
      model: name of the network.
      tag: name of the weights among the network's: ``imagenet1k_v1``.
      file: name of the file.
      url: where to download it; ``None`` if it is only to be had as part of ``archive``.
      sha256: first digits of the file's SHA-256; ``None``: not published.
      licence: under which its publisher gives it.
      data: what it was trained on.
      classes: number of its classes.
      mean, std: of each channel of images in [0, 1].
      input_size: height and width of the images.
      resize: length of the shorter side before the centre crop to ``input_size``; ``None``: no resize.
      interpolation: of that resize.
      top1: accuracy in percent that its publisher gives for it on the test (ImageNet: validation) set.
      top1_left_out: images of the test set that its publisher did not count.
      md5: the file's MD5; ``None``: not published. Without any hash nothing is downloaded by itself.
      options: of the architecture that the weights are for, beyond its name.
      archive: address of a zip file that holds it; ``None`` if it stands alone.
      note: what else there is to know.
      labels: names of the classes, where the publisher's file states them.
    """

    model: str
    tag: str
    file: str
    url: str | None
    sha256: str | None
    licence: str
    data: str
    classes: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    input_size: int
    resize: int | None
    interpolation: str | None
    top1: float | None
    top1_left_out: int = 0
    md5: str | None = None
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict, hash=False)
    archive: str | None = None
    note: str = ""
    labels: tuple[str, ...] = ()

    @property
    def digest(self) -> tuple[str, str] | None:
        """The name of a hash, ``"sha256"`` or ``"md5"``, and its first digits; ``None``: none is published."""
        known = (("sha256", self.sha256), ("md5", self.md5))
        return next(((name, value) for name, value in known if value), None)


def _torchvision(model: str, digest: str, top1: float, version: int = 1) -> WeightCard:
    file = f"{model}-{digest}.pth"
    return WeightCard(
        model=model,
        tag=f"imagenet1k_v{version}",
        file=file,
        url=f"https://download.pytorch.org/models/{file}",
        sha256=digest,  # torch.hub's convention: the name ends in the first digits of the hash
        licence="BSD-3-Clause",
        data="ImageNet-1k",
        classes=1000,
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
        input_size=224,
        resize=232 if version == 2 else 256,
        interpolation="bilinear",
        top1=top1,
    )


# One zip file of 13 networks, 933 MB, whose hash its author does not publish.
ZOO_ARCHIVE = "https://rutgers.box.com/shared/static/gkw08ecs797j2et1ksmbg1w5t3idf5r5.zip"
_CIFAR10: dict[str, Any] = {"data": "CIFAR-10", "classes": 10, "input_size": 32, "resize": None, "interpolation": None}


def _zoo(base: str, top1: float) -> WeightCard:
    return WeightCard(
        model=f"{base}_cifar",
        tag="cifar10_zoo",
        file=f"{base}.pt",
        url=None,
        sha256=None,
        licence="MIT",
        mean=(0.4914, 0.4822, 0.4465),
        std=(0.2471, 0.2435, 0.2616),
        top1=top1,
        top1_left_out=16,  # its last batch of 256 is dropped
        archive=ZOO_ARCHIVE,
        note="best epoch by test accuracy",
        **_CIFAR10,
    )


def _akamaster(depth: int, digest: str, error: float) -> WeightCard:
    file = f"resnet{depth}-{digest}.th"
    return WeightCard(
        model=f"cifar_resnet{depth}",
        tag="cifar10",
        file=file,
        url=f"https://github.com/akamaster/pytorch_resnet_cifar10/raw/master/pretrained_models/{file}",
        sha256=digest,
        licence="BSD-2-Clause",
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
        top1=round(100 - error, 2),
        **_CIFAR10,
    )


# Licences and accuracies: keras.io/api/applications and github.com/keras-team/keras-applications, README.md.
_KERAS_SITE = "https://storage.googleapis.com/tensorflow/keras-applications/"
_KERAS_MEAN = (123.68 / 255, 116.779 / 255, 103.939 / 255)  # it subtracts these of 255 and divides by nothing


def _keras(name: str, licence: str, top1: float, md5: str, md5_without_top: str) -> Iterator[WeightCard]:
    """The files of a network of Keras's applications with and without top (keras 3.15, ``src/applications``)."""
    base = name.removesuffix("_v1")
    family = name.rstrip("0123456789") if "dense" in name else base if "vgg" in name else "resnet"
    for suffix, digest in (("", md5), ("_notop", md5_without_top)):
        file = f"{base}_weights_tf_dim_ordering_tf_kernels{suffix}.h5"
        yield WeightCard(
            model=name,
            tag=f"imagenet1k_keras{suffix}",
            file=file,
            url=f"{_KERAS_SITE}{family}/{file}",
            sha256=None,
            md5=digest,
            licence=licence,
            data="ImageNet-1k",
            classes=0 if suffix else 1000,
            input_size=224,
            resize=None,
            interpolation=None,
            top1=None if suffix else top1,
            options={"hidden": ()} if suffix and "vgg" in name else {},
            mean=IMAGENET_MEAN if "dense" in name else _KERAS_MEAN,
            std=IMAGENET_STD if "dense" in name else (1 / 255,) * 3,
        )


CARDS: tuple[WeightCard, ...] = (
    _torchvision("resnet18", "f37072fd", 69.758),
    _torchvision("resnet34", "b627a593", 73.314),
    _torchvision("resnet50", "0676ba61", 76.130),
    _torchvision("resnet50", "11ad3fa6", 80.858, version=2),
    _torchvision("resnet101", "63fe2227", 77.374),
    _torchvision("resnet101", "cd907fc2", 81.886, version=2),
    _torchvision("resnet152", "394f9c45", 78.312),
    _torchvision("resnet152", "f82ba261", 82.284, version=2),
    _torchvision("densenet121", "a639ec97", 74.434),
    _torchvision("densenet161", "8d451a50", 77.138),
    _torchvision("densenet169", "b2777c0a", 75.600),
    _torchvision("densenet201", "c1103571", 76.896),
    _torchvision("vgg11", "8a719046", 69.020),
    _torchvision("vgg11_bn", "6002323d", 70.370),
    _torchvision("vgg13", "19584684", 69.928),
    _torchvision("vgg13_bn", "abd245e5", 71.586),
    _torchvision("vgg16", "397923af", 71.592),
    _torchvision("vgg16_bn", "6c64b313", 73.360),
    _torchvision("vgg19", "dcbb9e9d", 72.376),
    _torchvision("vgg19_bn", "c79401a0", 74.218),
    _zoo("resnet18", 93.07),
    _zoo("resnet34", 93.34),
    _zoo("resnet50", 93.65),
    _zoo("densenet121", 94.06),
    _zoo("densenet161", 94.07),
    _zoo("densenet169", 94.05),
    _zoo("vgg11_bn", 92.39),
    _zoo("vgg13_bn", 94.22),
    _zoo("vgg16_bn", 94.00),
    _zoo("vgg19_bn", 93.95),
    _akamaster(20, "12fca82f", 8.27),
    _akamaster(32, "d509ac18", 7.37),
    _akamaster(44, "014dd654", 6.90),
    _akamaster(56, "4bfd9763", 6.61),
    _akamaster(110, "1d1ed7c2", 6.32),
    *_keras("vgg16", "CC-BY-4.0", 71.3, "64373286793e3c8b2b4e3219cbf3544b", "6d6bbae143d832006294945121d1f1fc"),
    *_keras("vgg19", "CC-BY-4.0", 71.3, "cbe5617147190e668d6c5d5026f83318", "253f8cb515780f3b799900260a226db6"),
    *_keras("resnet50_v1", "MIT", 74.9, "2cb95161c43110f7111970584f804107", "4d473c1dd8becc155b73f8504c6f6626"),
    *_keras("resnet101_v1", "MIT", 76.4, "f1aeb4b969a6efcfb50fad2f0c20cfc5", "88cf7a10940856eca736dc7b7e228a21"),
    *_keras("resnet152_v1", "MIT", 76.6, "100835be76be38e30d865e96f2aaae62", "ee4c566cf9a93f14d82f913c2dc6dd0c"),
    *_keras(
        "densenet121", "BSD-3-Clause", 75.0, "9d60b8095a5708f2dcce2bca79d332c7", "30ee3e1110167f948a6b9946edeeb738"
    ),
    *_keras(
        "densenet169", "BSD-3-Clause", 76.2, "d699b8f76981ab1b30698df4c175e90b", "b8c4d4c20dd625c148057b9ff1c1176b"
    ),
    *_keras(
        "densenet201", "BSD-3-Clause", 77.3, "1ceb130c1ea1b78c3bf6114dbdfd8807", "c13680b51ded0fb44dff2d8f86ac8bb1"
    ),
)


def weights_for(name: str) -> tuple[WeightCard, ...]:
    """The cards of a model, the plainest first; empty if there are none.

    Examples:
      >>> [card.tag for card in weights_for("resnet50")]
      ['imagenet1k_v1', 'imagenet1k_v2']
    """
    return tuple(card for card in CARDS if card.model == name)


def card_for(name: str, tag: str) -> WeightCard:
    """The card of a model's weights.

    Raises:
      UserError: if the model has no weights of that tag; it names those that it has.
    """
    for card in weights_for(name):
        if card.tag == tag:
            return card
    tags = ", ".join(card.tag for card in weights_for(name))
    there = f"it has: {tags}" if tags else "it has none of any"
    raise UserError(f"{name} has no weights {tag!r}; {there}, and a path takes weights of your own.")

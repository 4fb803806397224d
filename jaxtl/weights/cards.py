"""Weight cards: where pretrained weights come from, and what a user must know to use them.

Sources: torchvision 0.28.0, ``torchvision/models/{resnet,vgg,densenet}.py`` and ``transforms/_presets.py``;
https://github.com/huyvnphan/PyTorch_CIFAR10, ``README.md`` and ``data.py``;
https://github.com/akamaster/pytorch_resnet_cifar10, ``README.md`` and ``trainer.py``. What none of them says
is ``None``.
"""

import dataclasses

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
      sha256: first digits of the file's SHA-256; ``None``: not known, and nothing is then downloaded by itself.
      licence: under which its publisher gives it.
      data: what it was trained on.
      classes: number of its classes.
      mean, std: of each channel of images in [0, 1].
      input_size: height and width of the images.
      resize: length of the shorter side before the centre crop to ``input_size``; ``None``: no resize.
      interpolation: of that resize.
      top1: accuracy in percent that its publisher gives for it on the test (ImageNet: validation) set.
      top1_left_out: images of the test set that its publisher did not count.
      archive: address of a zip file that holds it; ``None`` if it stands alone.
      note: what else there is to know.
    """

    model: str
    tag: str
    file: str
    url: str | None
    sha256: str | None
    licence: str
    data: str
    classes: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    input_size: int
    resize: int | None
    interpolation: str | None
    top1: float | None
    top1_left_out: int = 0
    archive: str | None = None
    note: str = ""


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
ZOO_MIRROR = "https://drive.google.com/file/d/17fmN8eQdLpq2jIMQ_X0IXDPXfI9oVWgq/view"


def _zoo(base: str, top1: float) -> WeightCard:
    return WeightCard(
        model=f"{base}_cifar",
        tag="cifar10_zoo",
        file=f"{base}.pt",
        url=None,
        sha256=None,
        licence="MIT",
        data="CIFAR-10",
        classes=10,
        mean=(0.4914, 0.4822, 0.4465),
        std=(0.2471, 0.2435, 0.2616),
        input_size=32,
        resize=None,
        interpolation=None,
        top1=top1,
        top1_left_out=16,  # its last batch of 256 is dropped
        archive=ZOO_ARCHIVE,
        note="best epoch by test accuracy",
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
        data="CIFAR-10",
        classes=10,
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
        input_size=32,
        resize=None,
        interpolation=None,
        top1=round(100 - error, 2),
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

"""Weight cards: where pretrained weights come from, and what a user must know to use them.

The cards are in ``cards.toml``, with their sources. What a publisher does not say is ``None``.
"""

import dataclasses
import tomllib
from collections.abc import Iterator, Mapping
from importlib.resources import files
from typing import Any

from jaxtl.errors import UserError
from jaxtl.models.registry import known

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclasses.dataclass(frozen=True)
class WeightCard:
    """One file of pretrained weights.

    Attributes:
      model: name of the network.
      tag: name of the weights among the network's: ``imagenet1k_v1``.
      file: name of the file.
      licence: under which its publisher gives it.
      data: what it was trained on.
      classes: number of its classes.
      mean, std: of each channel of images in [0, 1].
      input_size: height and width of the images.
      url: where to download it; ``None`` if it is a part of ``archive``, or lies in the folder ``weights`` of a clone.
      archive: address of a zip file that holds it; ``None`` if it stands alone.
      sha256: first digits of the file's SHA-256; ``None``: not published.
      md5: the file's MD5; ``None``: not published. Without any hash nothing is downloaded by itself.
      resize: length of the shorter side before the centre crop to ``input_size``; ``None``: no resize.
      interpolation: of that resize.
      top1: accuracy in percent that its publisher gives for it on the test (ImageNet: validation) set.
      top1_left_out: images of the test set that its publisher did not count.
      options: of the architecture that the weights are for, beyond its name.
      note: what else there is to know.
      labels: names of the classes, where the publisher's file states them.
    """

    model: str
    tag: str
    file: str
    licence: str
    data: str
    classes: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    input_size: int
    url: str | None = None
    archive: str | None = None
    sha256: str | None = None
    md5: str | None = None
    resize: int | None = None
    interpolation: str | None = None
    top1: float | None = None
    top1_left_out: int = 0
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict, hash=False)
    note: str = ""
    labels: tuple[str, ...] = ()

    @property
    def digest(self) -> tuple[str, str] | None:
        """The name of a hash, ``"sha256"`` or ``"md5"``, and its first digits; ``None``: none is published."""
        known = (("sha256", self.sha256), ("md5", self.md5))
        return next(((name, value) for name, value in known if value), None)


def _load() -> Iterator[WeightCard]:
    """The cards of ``cards.toml``: the fields of a publisher and those of each row, which fill places in braces too."""
    names = {field.name for field in dataclasses.fields(WeightCard)}
    for publisher in tomllib.loads((files("jaxtl.weights") / "cards.toml").read_text("utf-8"))["publisher"]:
        for row in publisher["rows"]:
            fields = publisher | dict(zip(publisher["columns"], row, strict=True))
            for field in ("model", "file", "url"):
                if field in fields:
                    fields[field] = fields[field].format(**fields)
            yield WeightCard(**{field: _tuples(value) for field, value in fields.items() if field in names})


def _tuples(value: Any) -> Any:
    """Lists as tuples, also those in a table."""
    if isinstance(value, dict):
        return {key: _tuples(each) for key, each in value.items()}
    return tuple(value) if isinstance(value, list) else value


CARDS = tuple(_load())


def weights_for(name: str) -> tuple[WeightCard, ...]:
    """The cards of a model, the plainest first; empty if there are none.

    Raises:
      UserError: there is no such model.

    Examples:
      >>> [card.tag for card in weights_for("resnet50")]
      ['imagenet1k_v1', 'imagenet1k_v2']
    """
    return tuple(card for card in CARDS if card.model == known(name))


def card_for(name: str, tag: str) -> WeightCard:
    """The card of a model's weights.

    Raises:
      UserError: if the model has no weights of that tag; it names those that it has.
    """
    cards = {card.tag: card for card in weights_for(name)}
    if tag in cards:
        return cards[tag]
    there = f"it has: {', '.join(cards)}" if cards else "it has no weights"
    raise UserError(f"{name} has no weights {tag!r}; {there}, and a path takes weights of your own.")

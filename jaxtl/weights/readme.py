"""The text of ``weights/README.md``, made from the cards so that it cannot disagree with them."""

from collections.abc import Iterable

from jaxtl.weights.cards import CARDS, ZOO_ARCHIVE, ZOO_MIRROR, WeightCard
from jaxtl.weights.store import HASHES

HEADINGS = ("model", "tag", "top-1 %", "trained on", "input", "resize", "mean", "std", "licence", "file", "hash")

_TEXT = f"""\
# Pretrained weights

This table is printed by `python -m jaxtl.weights list --markdown`; edit `jaxtl/weights/cards.py`, not this file.

    jaxtl.create_model("resnet50", num_classes=10, weights="imagenet1k_v2", key=jax.random.key(0))

downloads the publisher's file, checks its hash, converts it and keeps the result in `~/.cache/jaxtl/weights`
(`$JAXTL_CACHE/weights`). A folder with files that are on the machine already is named by `$JAXTL_WEIGHTS` or
`weights_dir=`. `python -m jaxtl.weights fetch NAME` does the same ahead of time, `convert NAME FILE` turns a file of
your own into safetensors, and `verify NAME` compares with published accuracy (`--cifar FOLDER`, or `--images FOLDER
--synsets FILE` for ImageNet) and with stored logits (`--reference FOLDER`).

{{table}}

- **top-1** is what the publisher gives, not measured here. The zoo's is that of the best epoch by test accuracy, over
  9,984 of the 10,000 test images.
- **mean, std** are of images in [0, 1]. **resize** is the length of the shorter side before the centre crop to
  **input**.
- **hash** is the beginning of that of the publisher's file; an empty field means that none is published.
- **Licences** are those under which the files or their repositories are published. torchvision adds that models "may
  have their own licenses or terms and conditions derived from the dataset used for training"; whether your use is
  permitted is yours to find out.
- The **cifar10_zoo** files are parts of one archive of 933 MB without a published hash, {ZOO_ARCHIVE} (also
  {ZOO_MIRROR}), which is therefore not downloaded by itself: unpack it, and name the folder by `$JAXTL_WEIGHTS`.
- The **imagenet1k_keras** files are those of Keras's applications, read by h5py (`pip install 'jaxtl[keras]'`).
  `..._notop` has no last layer; for VGG it has no dense layers either, so that the model needs `hidden=()`.
- The **imagenet1k_v2** weights were trained with label smoothing, mixup and more; they classify better, and as frozen
  features for another task they can be worse than v1.
"""


def cells(card: WeightCard) -> tuple[str, ...]:
    """The card as a line of the table."""
    return (
        card.model,
        card.tag,
        "" if card.top1 is None else f"{card.top1:.2f}",
        card.data,
        str(card.input_size),
        "" if card.resize is None else f"{card.resize}, {card.interpolation}",
        " ".join(f"{value:g}" for value in card.mean),
        " ".join(f"{value:g}" for value in card.std),
        card.licence,
        card.file,
        f"{HASHES[card.digest[0]]} {card.digest[1][:8]}" if card.digest else "",
    )


def readme(cards: Iterable[WeightCard] = CARDS) -> str:
    """The text of ``weights/README.md``, with all cards or some."""
    rows = []
    for card in cards:
        *front, file, digest = cells(card)
        rows.append((*front, f"[{file}]({card.url})" if card.url else file, digest))
    lines = [HEADINGS, tuple("---" for _ in HEADINGS), *rows]
    return _TEXT.replace("{table}", "\n".join("| " + " | ".join(line) + " |" for line in lines))

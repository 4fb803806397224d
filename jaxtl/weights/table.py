"""The cards as a table."""

from collections.abc import Iterable

from jaxtl.weights.cards import CARDS, WeightCard
from jaxtl.weights.store import HASHES

HEADINGS = ("model", "tag", "top-1 %", "trained on", "input", "resize", "mean", "std", "licence", "file", "hash")


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


def markdown(cards: Iterable[WeightCard] = CARDS) -> str:
    """The table of ``weights/README.md``, with all cards or some."""
    rows = []
    for card in cards:
        *front, file, digest = cells(card)
        rows.append((*front, f"[{file}]({card.url})" if card.url else file, digest))
    lines = [HEADINGS, tuple("---" for _ in HEADINGS), *rows]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)

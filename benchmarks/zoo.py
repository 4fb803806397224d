"""The networks of the zoo: parameters, work of one forward pass, and pretrained weights, as a Markdown table.

    python benchmarks/zoo.py

GFLOPs are those of one image at the network's native size, two for each multiply-add, as XLA counts them in the program
before it is optimised; nothing is run, so the figures do not depend on the machine.
"""

import jax
import jax.numpy as jnp

from jaxtl.models import build_model, list_models, native_size
from jaxtl.weights import weights_for


def describe(name: str) -> str:
    """One line of the table."""
    size, classes = native_size(name), 1000 if native_size(name) == 224 else 10
    model = build_model(name, classes)
    images = jnp.zeros((1, size, size, 3))
    variables = jax.eval_shape(model.init, jax.random.key(0), images)
    parameters = sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
    forward = jax.jit(lambda variables, images: model.apply(variables, images))
    cost = forward.lower(variables, images).cost_analysis() or {}
    cards = "; ".join(f"`{card.tag}` {card.top1:.2f}" if card.top1 else f"`{card.tag}`" for card in weights_for(name))
    return f"| `{name}` | {parameters:,} | {size} | {cost['flops'] / 1e9:.2f} | {cards or '—'} |"


def main() -> None:
    """Print the table."""
    print("| name | parameters | size | GFLOPs | cards, published top-1 % |\n|---|---|---|---|---|")
    for name in list_models():
        print(describe(name))


if __name__ == "__main__":
    main()

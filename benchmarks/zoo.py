"""The networks of the zoo: parameters, work of one forward pass, and pretrained weights, as a Markdown table.

    python benchmarks/zoo.py

GFLOPs are those of one image at the network's native size: two for each multiply-add of the convolutions and dense
layers, padding counted as pixels; torchvision counts one, so its figures are half of these. Nothing is run, so the
figures do not depend on the machine.
"""

import math
import sys
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxtl.models import Classifier, build_model, list_models, native_size
from jaxtl.runtime.command import exit_status
from jaxtl.weights import weights_for


def forward_flops(model: Classifier, size: int) -> tuple[int, dict[str, Any]]:
    """Floating-point operations of one image's forward pass, counted as above, and the shapes of the variables."""
    flops = 0

    def count(call: Callable[..., Any], args: Any, kwargs: Any, context: nn.module.InterceptorContext) -> Any:
        nonlocal flops
        out = call(*args, **kwargs)
        module = context.module
        if isinstance(module, nn.Conv | nn.Dense):
            kernel = module.variables["params"]["kernel"]
            flops += 2 * kernel.size * math.prod(out.shape[:-1])  # each output channel has its part of the kernel
        return out

    with nn.intercept_methods(count):
        variables = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, size, size, 3)))
    return flops, variables


def describe(name: str) -> str:
    """One line of the table."""
    size, classes = native_size(name), 1000 if native_size(name) == 224 else 10
    flops, variables = forward_flops(build_model(name, classes), size)
    parameters = sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
    cards = "; ".join(f"`{card.tag}` {card.top1:.2f}" if card.top1 else f"`{card.tag}`" for card in weights_for(name))
    return f"| `{name}` | {parameters:,} | {size} | {flops / 1e9:.2f} | {cards or '—'} |"


def main() -> int:
    """Print the table."""
    return exit_status(_print)


def _print() -> int:
    print("| name | parameters | size | GFLOPs | cards, published top-1 % |\n|---|---|---|---|---|")
    for name in list_models():
        print(describe(name))
    return 0


if __name__ == "__main__":
    sys.exit(main())

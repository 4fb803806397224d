"""The ways of computing a network's convolutions on a CPU, and which of them the rule of the package picks.

    python benchmarks/convolution.py resnet18 --size 32 --batch 128 --dtype bfloat16

One line for every distinct convolution and direction: forward, gradient of the images, gradient of the kernel. Times
are milliseconds of processor time, medians of repeats in turn, which other work on the machine disturbs less than it
disturbs the wall clock. `*` marks the way that the rule picks.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxtl.models import build_model
from jaxtl.models.convolution import WAYS, Way, kernel_way_on_cpu, possible_on_cpu, way_on_cpu
from jaxtl.runtime.compiler_options import compiler_options
from jaxtl.runtime.environment import device

REPEATS = 9
Shape = tuple[int, ...]
Pads = tuple[tuple[int, int], tuple[int, int]]


class Convolution(NamedTuple):
    """What `jaxtl.models.convolution.convolve` is called with: images, kernel, stride, padding."""

    images: Shape
    kernel: Shape
    stride: tuple[int, int]
    pads: Pads


def convolutions(name: str, size: int, batch: int) -> list[Convolution]:
    """The distinct convolutions of a network, in the order of the forward pass."""
    found: dict[Convolution, None] = {}

    def watch(call: Callable[..., Any], args: Any, kwargs: Any, context: nn.module.InterceptorContext) -> Any:
        out = call(*args, **kwargs)
        if isinstance(layer := context.module, nn.Conv) and context.method_name == "__call__":
            kernel = layer.variables["params"]["kernel"].shape
            stride: Any = layer.strides or 1
            pads: Any = layer.padding
            found[Convolution(args[0].shape, kernel, (stride, stride), pads)] = None
        return out

    with nn.intercept_methods(watch):
        jax.eval_shape(build_model(name, 10).init, jax.random.key(0), jnp.zeros((batch, size, size, 3)))
    return list(found)


def measure(runs: dict[Way, Callable[[], object]]) -> dict[Way, float]:
    """Median processor milliseconds of each, run in turn."""
    seconds: dict[Way, list[float]] = {way: [] for way in runs}
    for _ in range(REPEATS):
        for way, run in runs.items():
            start = time.process_time()
            jax.block_until_ready(run())
            seconds[way].append(time.process_time() - start)
    return {way: 1e3 * statistics.median(times) for way, times in seconds.items()}


def compiled(function: Callable[..., jax.Array], *arguments: jax.Array) -> Callable[[], object]:
    """The function, compiled and run once."""
    program = jax.jit(function, compiler_options=compiler_options()).lower(*arguments).compile()
    jax.block_until_ready(program(*arguments))
    return lambda: program(*arguments)


def gradient(convolve: Callable[..., jax.Array], argument: int) -> Callable[..., jax.Array]:
    """`(images, kernel, grad)` to the gradient of one of the two arguments."""
    return lambda images, kernel, grad: jax.vjp(convolve, images, kernel)[1](grad)[argument]


def compare(what: Convolution, dtype: str) -> None:
    """Print three lines: forward, gradient of the images, gradient of the kernel."""
    image_shape, kernel_shape, stride, pads = what
    keys = jax.random.split(jax.random.key(0), 3)
    images = jax.random.normal(keys[0], image_shape, dtype)
    kernel = jax.random.normal(keys[1], kernel_shape, dtype)
    forward: dict[Way, Callable[[], object]] = {}
    by_images: dict[Way, Callable[[], object]] = {}
    by_kernel: dict[Way, Callable[[], object]] = {}
    for way in possible_on_cpu(image_shape, kernel_shape, stride, pads):

        def convolve(images: jax.Array, kernel: jax.Array, way: Way = way) -> jax.Array:
            return WAYS[way](images, kernel, stride=stride, pads=pads)

        grad = jax.random.normal(keys[2], jax.eval_shape(convolve, images, kernel).shape, dtype)
        forward[way] = compiled(convolve, images, kernel)
        by_images[way] = compiled(gradient(convolve, 0), images, kernel, grad)
        by_kernel[way] = compiled(gradient(convolve, 1), images, kernel, grad)
    way = way_on_cpu(image_shape, kernel_shape, stride, pads, jnp.dtype(dtype))
    kernel_way = kernel_way_on_cpu(image_shape, kernel_shape, stride, pads)
    label = f"{'x'.join(map(str, image_shape))} {kernel_shape[0]}x{kernel_shape[1]}/{stride[0]} to {kernel_shape[3]}"
    image_way: Way = "library" if way == "rows" else way
    for direction, runs, picked in (
        ("forward", forward, way),
        ("images", by_images, image_way),
        ("kernel", by_kernel, kernel_way),
    ):
        times = sorted(measure(runs).items(), key=lambda item: item[1])
        cells = "  ".join(f"{'*' if name == picked else ''}{name} {spent:.2f}" for name, spent in times)
        print(f"{label:32} {direction:8} {cells}", flush=True)


def main() -> None:
    """Print the table of one network."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network")
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    arguments = parser.parse_args()
    print(f"{device()}, {arguments.dtype}, milliseconds of processor time")
    for what in convolutions(arguments.network, arguments.size, arguments.batch):
        compare(what, arguments.dtype)


if __name__ == "__main__":
    main()

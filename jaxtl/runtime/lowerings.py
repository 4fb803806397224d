"""Convolutions, gradients of max-pools, and sums, lowered to what XLA computes fast.

Networks are written with ``nn.Conv``, ``nn.max_pool`` and ``x.mean((0, 1, 2))``. On a CPU, XLA is slow at some of their
shapes, above all where a map has fewer pixels than the kernel has taps; on an NVIDIA GPU it writes five numbers for
each window of a max-pool and scatters the gradient by them. ``use_fast_lowerings()`` registers lowering rules for these
platforms, as JAX registers its own, which compute the same function by other operations. Derivatives, ``vmap`` and
export are defined on the primitives, and are not affected. What a rule does not handle goes to JAX's own rule: groups,
other ranks, maps of symbolic size, and on a CPU other dtypes than float32.

``python -m benchmarks.train`` and ``python -m benchmarks.inference`` measure networks under these rules.
"""

import functools
import importlib.util
import math
import mmap
import operator
import os
import pathlib
import warnings
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.experimental.xla_metadata import set_xla_metadata
from jax.extend.core import primitives
from jax.interpreters import mlir

Rule = Callable[..., Any]

# XLA gives float32 convolutions to YNNPACK since jaxlib 0.10, which is slower than Eigen at nearly all shapes of the
# zoo. This value leaves it the dots.
FLAG = "--xla_cpu_experimental_ynn_fusion_type=LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT"

# JAX's table of rules, primitive, and the entry that ours replaced or None; empty: switched off.
_saved: list[tuple[dict[Any, Any], Any, Any]] = []


def use_fast_lowerings() -> None:
    """Make programs for CPUs and NVIDIA GPUs fast, in this process and from here on.

    Call it once, before anything is computed: XLA reads its flags, ``XLA_FLAGS`` in the environment, when the first
    backend starts. A flag that is set already stays. Further calls do nothing.

    Where this version of JAX has no known way to its own lowering rules, nothing is switched on, and a warning says so.
    """
    if _saved:
        return
    known = _jax_rules()
    if known is None:
        warnings.warn(
            f"JAX {jax.__version__} gives no way to its own lowering rules, which the fast ones need to fall back on, "
            "so that networks run at XLA's own speed. Results are the same.",
            stacklevel=2,
        )
        return
    for platform, primitive, rule, jax_rule, table in known:
        _saved.append((table, primitive, table.get(primitive)))
        mlir.register_lowering(primitive, functools.partial(rule, jax_rule), platform=platform)
    set_xla_flag(FLAG)
    jax.clear_caches()  # of programs that were lowered by the other rules


def use_jax_lowerings() -> None:
    """Undo ``use_fast_lowerings``, for tests and comparisons; a backend that has started keeps XLA's flag."""
    if not _saved:
        return
    for table, primitive, before in _saved:
        del table[primitive]
        if before is not None:
            table[primitive] = before
    _saved.clear()
    flags = os.environ.get("XLA_FLAGS", "").split()
    os.environ["XLA_FLAGS"] = " ".join(flag for flag in flags if flag != FLAG)
    jax.clear_caches()


def _jax_rules() -> list[tuple[str, Any, Rule, Rule, dict[Any, Any]]] | None:
    """Each platform and primitive with our rule, JAX's rule, and JAX's table of rules for this platform alone.

    The tables have no public name. This is the one place that knows them; ``None`` where this version has them not.
    """
    try:
        found = []
        for (platform, name), rule in _RULES.items():
            for_one, for_all = mlir._platform_specific_lowerings[platform], mlir._lowerings
            primitive = getattr(primitives, name)
            jax_rule = (for_one[primitive] if primitive in for_one else for_all[primitive]).rule
            found.append((platform, primitive, rule, jax_rule, for_one))
    except (AttributeError, KeyError, TypeError):
        return None
    return found if hasattr(mlir, "lower_fun") and hasattr(mlir, "register_lowering") else None


def set_xla_flag(flag: str) -> None:
    """Add ``--name=value`` to ``XLA_FLAGS``, where this XLA knows it: an unknown one would end the process.

    A flag of that name that is set already stays.
    """
    flags, (name, value) = os.environ.get("XLA_FLAGS", ""), flag.removeprefix("--").split("=")
    package = importlib.util.find_spec("jaxlib")
    if name in flags or package is None or package.origin is None:
        return
    for library in pathlib.Path(package.origin).parent.glob("*.so"):
        with library.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            # The name of a declared flag is a text of its own. That of a dropped one may be left inside other texts.
            if content.find(f"\0{name}\0".encode()) >= 0 and content.find(value.encode()) >= 0:
                os.environ["XLA_FLAGS"] = f"{flags} {flag}".strip()
                return


class _Axis(NamedTuple):
    """One spatial axis of a convolution or of a max-pool, whose windows have taps as a kernel has.

    Output i sees pixel y by tap ``(y * image_dilation + low - i * stride) / kernel_dilation``, where that is one.

    Attributes:
      size: pixels of the image.
      taps: of the kernel.
      out: pixels of the output.
      stride: from one output to the next.
      low, high: padding at both ends; negative numbers cut pixels away.
      image_dilation: from one pixel to the next, as in the gradient of a strided convolution's images.
      kernel_dilation: from one tap to the next, as in the gradient of a strided convolution's kernel.
    """

    size: int
    taps: int
    out: int
    stride: int
    low: int
    high: int
    image_dilation: int = 1
    kernel_dilation: int = 1

    def seen(self) -> int:
        """The number of pairs of an output and a pixel that have a tap."""
        steps = (
            y * self.image_dilation + self.low - i * self.stride for y in range(self.size) for i in range(self.out)
        )
        return sum(step % self.kernel_dilation == 0 and 0 <= step // self.kernel_dilation < self.taps for step in steps)

    def window(self) -> range:
        """The taps by which the first output sees a pixel, without image dilation."""
        taps = [tap for tap in range(self.taps) if 0 <= tap * self.kernel_dilation - self.low < self.size]
        return range(taps[0], taps[-1] + 1) if taps else range(0)


class _Convolution(NamedTuple):
    """A convolution of images ``[B, H, W, C]`` by a kernel ``[h, w, C, O]``, both in any layout.

    Its gradients are convolutions too: that of the images by the transposed kernel, and that of the kernel one whose
    batch are the channels, whose channels are the batch, and whose kernel is the gradient of the output.

    Attributes:
      axes: its spatial axes, rows and columns.
      numbers: which dimensions of images, kernel and output are what.
      precision: of its products.
    """

    axes: Sequence[_Axis]
    numbers: lax.ConvDimensionNumbers
    precision: Any


def _convolution_rule(jax_rule: Rule, ctx: Any, images: Any, kernel: Any, **params: Any) -> Any:
    conv = _described(ctx, params)
    for suits, way in _WAYS:
        if conv is not None and suits(conv):
            return mlir.lower_fun(functools.partial(way, conv), multiple_results=False)(ctx, images, kernel)
    return jax_rule(ctx, images, kernel, **params)


def _described(ctx: Any, params: dict[str, Any]) -> _Convolution | None:
    """The convolution that is lowered; ``None`` if it is of a kind that no way here knows."""
    (images, kernel), (output,), numbers = ctx.avals_in, ctx.avals_out, params["dimension_numbers"]
    lhs, rhs, out = numbers
    sizes = [size for i, size in enumerate((*images.shape, *kernel.shape)) if i != lhs[0]]  # the batch may be a symbol
    if (
        len(lhs) != 4
        or params["feature_group_count"] != 1
        or params["batch_group_count"] != 1
        or any(each.dtype != jnp.float32 for each in (images, kernel, output))
        or not all(isinstance(size, int) for size in sizes)
    ):
        return None
    steps = zip(*(params[name] for name in ("window_strides", "padding", "lhs_dilation", "rhs_dilation")), strict=True)
    axes = [
        _Axis(images.shape[lhs[i]], kernel.shape[rhs[i]], output.shape[out[i]], stride, low, high, gap, spread)
        for i, (stride, (low, high), gap, spread) in enumerate(steps, start=2)
    ]
    return _Convolution(axes, numbers, params["precision"])


def _in_flax_layout(way: Callable[[_Convolution, jax.Array, jax.Array], jax.Array]) -> Rule:
    """A way that is written for ``[B, H, W, C]``, ``[h, w, C, O]`` and an output ``[B, H, W, O]``, for all layouts."""

    @functools.wraps(way)
    def call(conv: _Convolution, images: jax.Array, kernel: jax.Array) -> jax.Array:
        (b, c, *pixels), (o, i, *taps), (out_b, out_o, *outputs) = conv.numbers
        out = way(conv, lax.transpose(images, (b, *pixels, c)), lax.transpose(kernel, (*taps, i, o)))
        return lax.transpose(out, np.argsort((out_b, *outputs, out_o)))

    return call


def _has_one_output(conv: _Convolution) -> bool:
    return all(axis.out == axis.image_dilation == 1 and len(axis.window()) > 0 for axis in conv.axes)


def _one_output(conv: _Convolution, images: jax.Array, kernel: jax.Array) -> jax.Array:
    """A dot over all that the one output pixel sees; the gradient of a 1x1 kernel is of this kind."""
    lhs, rhs, (batch, features, *pixel) = conv.numbers
    for axis, of_image, of_kernel in zip(conv.axes, lhs[2:], rhs[2:], strict=True):
        window, step = axis.window(), axis.kernel_dilation
        images = _every(images, of_image, window.start * step - axis.low, step, len(window))
        kernel = _every(kernel, of_kernel, window.start, 1, len(window))
    over = sorted(zip(lhs[1:], rhs[1:], strict=True))  # in the order of memory, which takes no copy
    dimensions = [image for image, _ in over], [tap for _, tap in over]
    out = lax.dot_general(images, kernel, (dimensions, ((), ())), precision=conv.precision)
    return lax.expand_dims(out if batch < features else out.T, sorted(pixel))


def _is_pointwise(conv: _Convolution) -> bool:
    """A kernel of one tap, with steps or with a border, not with both."""
    return all(
        axis.taps == 1 and (axis.stride == 1 or (axis.low, axis.high, axis.image_dilation) == (0, 0, 1))
        for axis in conv.axes
    )


@_in_flax_layout
def _pointwise(conv: _Convolution, images: jax.Array, kernel: jax.Array) -> jax.Array:
    """A dot over the channels."""
    strided = lax.slice(images, (0, 0, 0, 0), images.shape, (1, *(axis.stride for axis in conv.axes), 1))
    out = lax.dot_general(strided, kernel[0, 0], (((3,), (0,)), ((), ())), precision=conv.precision)
    rows, columns = ((axis.low, axis.high, axis.image_dilation - 1) for axis in conv.axes)
    return _padded(out, {1: rows, 2: columns})


def _is_dense(conv: _Convolution) -> bool:
    """Fewer pixels than taps, which XLA computes in plain loops, and most pairs of an output and a pixel have a tap."""
    pixels, taps = math.prod(axis.size for axis in conv.axes), math.prod(axis.taps for axis in conv.axes)
    pairs = pixels * math.prod(axis.out for axis in conv.axes)
    return pixels < taps and pairs <= 16 and 2 * math.prod(axis.seen() for axis in conv.axes) >= pairs


@_in_flax_layout
def _dense(conv: _Convolution, images: jax.Array, kernel: jax.Array) -> jax.Array:
    """A dense layer from all pixels to all outputs."""
    rows, columns = conv.axes
    dilated = _padded(kernel, {0: (0, 0, rows.kernel_dilation - 1), 1: (0, 0, columns.kernel_dilation - 1)})

    def border(axis: _Axis, dimension: int, output: int) -> tuple[int, int, int]:
        """What puts the tap by which an output sees a pixel at the place of that pixel."""
        first = axis.low - output * axis.stride
        return -first, first + (axis.size - 1) * axis.image_dilation + 1 - dilated.shape[dimension], 0

    seen = []  # for each output, the taps of all pixels: [H, W, C, O]
    for i in range(rows.out):
        for j in range(columns.out):
            laid = _padded(dilated, {0: border(rows, 0, i), 1: border(columns, 1, j)})
            seen.append(lax.slice(laid, (0, 0, 0, 0), laid.shape, (rows.image_dilation, columns.image_dilation, 1, 1)))
    matrix = lax.concatenate(seen, 3)
    out = lax.dot_general(images, matrix, (((1, 2, 3), (0, 1, 2)), ((), ())), precision=conv.precision)
    return out.reshape(images.shape[0], rows.out, columns.out, kernel.shape[3])


def _is_col2im(conv: _Convolution) -> bool:
    """The gradient of a strided convolution's images, or of the kernel where maps are tiny."""
    taps = math.prod(axis.taps for axis in conv.axes)
    strided = taps <= 9 and any(axis.image_dilation > 1 for axis in conv.axes)
    tiny = taps * math.prod(axis.size for axis in conv.axes) <= 16
    return (strided or tiny) and all(axis.stride == 1 for axis in conv.axes)


@_in_flax_layout
def _col2im(conv: _Convolution, images: jax.Array, kernel: jax.Array) -> jax.Array:
    """A dot for what each pixel gives by each tap, then their sums where they belong."""
    given = lax.dot_general(images, kernel, (((3,), (2,)), ((), ())), precision=conv.precision)  # [B, H, W, h, w, O]
    rows, columns = conv.axes
    parts = [[given[:, :, :, i, j] for j in range(columns.taps)] for i in range(rows.taps)]
    return _summed(parts, *((axis.low, -axis.kernel_dilation, axis.image_dilation, axis.out) for axis in conv.axes))


# The first that suits is taken; all other convolutions are left to XLA, which computes them by Eigen.
_WAYS: tuple[tuple[Callable[[_Convolution], bool], Rule], ...] = (
    (_has_one_output, _one_output),
    (_is_pointwise, _pointwise),
    (_is_dense, _dense),
    (_is_col2im, _col2im),
)


def _max_pool_gradient_rule(jax_rule: Rule, ctx: Any, grad: Any, images: Any, *, on_cpu: bool, **params: Any) -> Any:
    """The gradient of a max-pool of ``[B, H, W, C]`` goes to the first largest pixel of each window.

    XLA on a CPU would compute the winners again for each tap that asks for them, if these were not in a call that it
    does not inline. XLA on a GPU makes one kernel of all taps, which it does not in such a call.
    """
    of_grad, of_images = ctx.avals_in
    window, strides, padding = (params[name] for name in ("window_dimensions", "window_strides", "padding"))
    spatial = len(window) == 4 and all(window[i] == strides[i] == 1 and padding[i] == (0, 0) for i in (0, 3))
    sizes = (*of_images.shape[1:], *of_grad.shape[1:])
    known = (of_grad.dtype == jnp.float32 or not on_cpu) and all(isinstance(size, int) for size in sizes)
    if not (spatial and known and params["select_prim"].name == "ge" and math.prod(window) < 128):
        return jax_rule(ctx, grad, images, **params)
    rows, columns = (
        _Axis(of_images.shape[i], window[i], of_grad.shape[i], strides[i], low=padding[i][0], high=padding[i][1])
        for i in (1, 2)
    )
    way = functools.partial(_max_pool_gradient, rows, columns, on_cpu)
    return mlir.lower_fun(way, multiple_results=False)(ctx, grad, images)


def _max_pool_gradient(rows: _Axis, columns: _Axis, on_cpu: bool, grad: jax.Array, images: jax.Array) -> jax.Array:
    """The gradient of each window goes to its winning tap, which is found again."""
    padded = _padded(images, {1: (rows.low, rows.high, 0), 2: (columns.low, columns.high, 0)}, -jnp.inf)
    by_rows = [_every(padded, 1, i, rows.stride, rows.out) for i in range(rows.taps)]
    most, *others = [_every(row, 2, j, columns.stride, columns.out) for row in by_rows for j in range(columns.taps)]
    winner = lax.full_like(most, 0, jnp.int8)
    for tap, pixels in enumerate(others, start=1):
        winner = lax.select(most >= pixels, winner, lax.full_like(winner, tap))
        most = lax.max(most, pixels)

    def to_winners(winner: jax.Array, grad: jax.Array) -> jax.Array:
        # By lax alone: what jnp calls by a jit of its own would not be inlined here either.
        taps = [lax.eq(winner, lax.full_like(winner, tap)) for tap in range(rows.taps * columns.taps)]
        parts = [lax.select(won, grad, lax.full_like(grad, 0)) for won in taps]
        by_row = [parts[i : i + columns.taps] for i in range(0, len(parts), columns.taps)]
        return _summed(by_row, *((-axis.low, 1, axis.stride, axis.size) for axis in (rows, columns)))

    if not on_cpu:
        return to_winners(winner, grad)
    with set_xla_metadata(inlineable="false"):
        return jax.jit(to_winners)(winner, grad)


# XLA adds up fewer numbers as fast. One long dot would round more than XLA's own sum; two short ones round less.
LEAST_SUM, LONGEST_DOT = 4096, 1024


def _sum_rule(jax_rule: Rule, ctx: Any, x: Any, **params: Any) -> Any:
    """A sum over all axes but the last, as in batch norm and in the gradient of a bias: two dots with ones."""
    (of_x,) = ctx.avals_in
    *leading, channels = of_x.shape or (1,)
    if (
        tuple(params["axes"]) != tuple(range(len(leading)))
        or not all(isinstance(size, int) for size in of_x.shape)
        or of_x.dtype != jnp.float32
        or of_x.size < LEAST_SUM
    ):
        return jax_rule(ctx, x, **params)
    n = math.prod(leading)
    parts = next(d for d in range(math.isqrt(n), 0, -1) if n % d == 0)
    if n // parts > LONGEST_DOT:  # a large prime, for example
        return jax_rule(ctx, x, **params)

    def in_parts(x: jax.Array) -> jax.Array:
        sums = lax.dot(jnp.ones(n // parts, x.dtype), x.reshape(n // parts, parts * channels))
        return lax.dot(jnp.ones(parts, x.dtype), sums.reshape(parts, channels))

    return mlir.lower_fun(in_parts, multiple_results=False)(ctx, x)


_RULES: dict[tuple[str, str], Rule] = {
    ("cpu", "conv_general_dilated_p"): _convolution_rule,
    ("cpu", "select_and_scatter_add_p"): functools.partial(_max_pool_gradient_rule, on_cpu=True),
    ("cpu", "reduce_sum_p"): _sum_rule,
    ("cuda", "select_and_scatter_add_p"): functools.partial(_max_pool_gradient_rule, on_cpu=False),
}


def _every(x: jax.Array, dimension: int, first: int, step: int, count: int) -> jax.Array:
    """``count`` places along a dimension, ``first``, ``first + step``, ..."""
    return lax.slice_in_dim(x, first, first + (count - 1) * step + 1, step, dimension)


def _padded(x: jax.Array, borders: dict[int, tuple[int, int, int]], value: float = 0.0) -> jax.Array:
    """Places before, after and between, for some dimensions."""
    return lax.pad(x, jnp.array(value, x.dtype), [borders.get(i, (0, 0, 0)) for i in range(x.ndim)])


# Where along an axis a tap lays its pixels: the first at ``first + tap * shift``, each ``step`` further, of ``length``.
Places = tuple[int, int, int, int]


def _summed(parts: list[list[jax.Array]], rows: Places, columns: Places) -> jax.Array:
    """The sum of what each tap gives, ``[B, h, w, C]``, at its places.

    Along the columns for each row of taps, then along the rows: all taps at once XLA computes element by element.
    """

    def along(dimension: int, places: Places, taps: list[jax.Array]) -> jax.Array:
        start, shift, step, length = places
        laid = []
        for tap, given in enumerate(taps):
            first = start + tap * shift
            end = first + (given.shape[dimension] - 1) * step + 1
            laid.append(_padded(given, {dimension: (first, length - end, step - 1)}))
        return functools.reduce(operator.add, laid)

    return along(1, rows, [along(2, columns, taps) for taps in parts])

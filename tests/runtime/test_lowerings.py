import functools
import os
import subprocess
import sys
import warnings

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.extend.core import primitives
from jax.interpreters import mlir

from jaxtl.runtime import lowerings

# Rows and columns of images, kernel size, stride, padding, channels and features; all of a kind that the zoo has.
CONVOLUTIONS = [
    pytest.param((size, size), kernel, stride, pad, 4, 6, id=f"{kernel}x{kernel}/{stride} at {size}")
    for kernel, stride, pad, sizes in (
        (1, 1, 0, (1, 4)),
        (1, 2, 0, (2, 4)),
        (3, 1, 1, (1, 2, 4, 8)),
        (3, 2, 1, (1, 2, 4, 8)),
    )
    for size in sizes
] + [
    pytest.param((16, 16), 7, 2, 3, 3, 8, id="7x7/2 with 3 channels"),
    pytest.param((4, 4), 7, 2, 3, 3, 8, id="7x7/2 at 4"),
    pytest.param((5, 7), 3, 2, 1, 4, 6, id="odd"),
    pytest.param((3, 3), 3, 1, 1, 4, 6, id="3x3 at 3"),
    pytest.param((1, 8), 3, 1, 1, 4, 6, id="3x3 at 1x8"),
    pytest.param((4, 4), 5, 1, 2, 4, 6, id="5x5 at 4"),
    pytest.param((5, 5), 2, 1, 0, 4, 6, id="2x2 without padding"),
    pytest.param((6, 6), 1, 1, 1, 4, 6, id="1x1 with padding"),
    pytest.param((6, 6), 1, 2, 1, 4, 6, id="1x1/2 with padding"),
    pytest.param((8, 8), 4, 4, 0, 3, 6, id="patches"),
]
POOLS = [
    pytest.param((8, 8), 2, 2, 0, id="2x2"),
    pytest.param((5, 7), 2, 2, 0, id="2x2 odd"),
    pytest.param((8, 8), 3, 2, 1, id="3x3/2"),
    pytest.param((5, 7), 3, 2, 1, id="3x3/2 odd"),
    pytest.param((6, 6), 3, 1, 1, id="3x3/1"),
    pytest.param((7, 7), 2, 3, 0, id="2x2/3"),
    pytest.param((1, 1), 3, 2, 1, id="one pixel"),
]


@pytest.fixture(autouse=True)
def switched_off(monkeypatch):
    """The lowerings are on in all other tests."""
    lowerings.use_jax_lowerings()
    monkeypatch.delenv("XLA_FLAGS", raising=False)
    yield
    monkeypatch.undo()
    lowerings.use_fast_lowerings()


def noise(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape, np.float32))


def convolve(images, kernel, stride, pad):
    layout = ("NHWC", "HWIO", "NHWC")
    return lax.conv_general_dilated(
        images, kernel, (stride, stride), ((pad, pad), (pad, pad)), dimension_numbers=layout
    )


def max_pool(images, size, stride, pad):
    return nn.max_pool(images, (size, size), (stride, stride), ((pad, pad), (pad, pad)))


def network(images, kernel, other):
    """All three primitives that have rules, with tiny maps."""
    maps = max_pool(convolve(images, kernel, 1, 1), 2, 2, 0)
    maps = convolve(maps - maps.mean((0, 1, 2)), other, 1, 1)
    return maps.mean((1, 2))


@pytest.fixture
def example():
    return noise(64, 4, 4, 3), noise(3, 3, 3, 32), noise(3, 3, 32, 8)


def calculus(function, *arguments):
    """Value, gradients, and a Hessian-vector product by forward mode over reverse mode."""
    tangents = tuple(noise(*x.shape, seed=7) for x in arguments)
    gradients = jax.grad(lambda *arguments: (function(*arguments) ** 3).sum(), argnums=tuple(range(len(arguments))))
    found, second = jax.jvp(gradients, arguments, tangents)
    return {"value": function(*arguments), "gradients": found, "Hessian-vector product": second}


def of_each(function, images, kernel):
    """The gradients of each image by itself."""
    gradients = jax.grad(lambda image, kernel: (function(image[None], kernel) ** 3).sum(), argnums=(0, 1))
    return {"gradients": jax.vmap(gradients, (0, None))(images, kernel)}


def compare(function, *arguments, what=calculus):
    """Assert that all is as without the lowerings; return the texts of the programs without and with them."""
    program = functools.partial(what, function)
    off = jax.jit(program).lower(*arguments)
    lowerings.use_fast_lowerings()
    on = jax.jit(program).lower(*arguments)
    found, wanted = (lowered.compile()(*arguments) for lowered in (on, off))
    for (path, leaf), want in zip(jax.tree.leaves_with_path(found), jax.tree.leaves(wanted), strict=True):
        tolerance = 1e-5 * max(float(abs(want).max()), 1e-3)
        np.testing.assert_allclose(leaf, want, rtol=0, atol=tolerance, err_msg=jax.tree_util.keystr(path))
    return off.as_text(), on.as_text()


@pytest.mark.parametrize(("size", "kernel", "stride", "pad", "channels", "features"), CONVOLUTIONS)
def test_convolutions_and_all_their_derivatives_are_those_of_jax(size, kernel, stride, pad, channels, features):
    convolution = functools.partial(convolve, stride=stride, pad=pad)
    compare(convolution, noise(3, *size, channels), noise(kernel, kernel, channels, features))


@pytest.mark.parametrize("layout", [("NCHW", "OIHW", "NCHW"), ("HWNC", "HWOI", "CHWN")])
@pytest.mark.parametrize("size", [1, 2, 4])
def test_other_layouts_are_understood(layout, size):
    sizes = {"N": 3, "H": size, "W": size, "C": 4}
    taps = {"O": 6, "I": 4, "H": 3, "W": 3}
    batch = layout[0].index("N")
    images = noise(*(sizes[each] for each in layout[0]))
    kernel = noise(*(taps[each] for each in layout[1]))

    def convolution(images, kernel):
        images = jnp.moveaxis(images, 0, batch)
        return lax.conv_general_dilated(images, kernel, (2, 2), ((1, 1), (1, 1)), dimension_numbers=layout)

    compare(convolution, jnp.moveaxis(images, batch, 0), kernel)


@pytest.mark.parametrize(("size", "window", "stride", "pad"), POOLS)
def test_max_pools_and_all_their_derivatives_are_those_of_jax_with_ties_too(size, window, stride, pad):
    images = jnp.round(noise(3, *size, 5))  # most windows have several largest pixels
    compare(functools.partial(max_pool, size=window, stride=stride, pad=pad), images)


@pytest.mark.parametrize("shape", [(8, 8, 8, 16), (128, 7, 64), (4096, 2), (1021, 9), (1031 * 2, 3), (5, 4099)])
def test_sums_over_leading_axes_and_their_derivatives_are_those_of_jax(shape):
    compare(lambda x: x.mean(range(x.ndim - 1)), noise(*shape))


def test_a_long_sum_rounds_no_more_than_that_of_jax():
    x = 3 + noise(32, 32, 32, 8)
    wanted = np.asarray(x, np.float64).mean((0, 1, 2))
    lowerings.use_fast_lowerings()
    assert abs(jax.jit(lambda x: x.mean((0, 1, 2)))(x) - wanted).max() < 5e-6


def test_slow_convolutions_of_tiny_maps_are_gone_and_others_are_left_to_xla():
    tiny, kernel = noise(3, 2, 2, 4), noise(3, 3, 4, 6)
    small = functools.partial(convolve, stride=1, pad=1)
    off, on = compare(small, tiny, kernel)
    assert "stablehlo.convolution" in off and "stablehlo.convolution" not in on
    assert "stablehlo.convolution" in jax.jit(small).lower(noise(3, 8, 8, 4), kernel).as_text()


@pytest.mark.parametrize("size", [1, 2, 4])
def test_gradients_of_each_example_are_those_of_jax(size):
    convolution = functools.partial(convolve, stride=1, pad=1)
    compare(convolution, noise(3, size, size, 4), noise(3, 3, 4, 6), what=of_each)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float64])
def test_other_dtypes_are_left_to_jax(example, dtype):
    def pooled(images, kernel):
        return max_pool(convolve(images, kernel, 1, 1), 2, 2, 0)[:, 0, 0].astype(jnp.float32).max()

    with jax.enable_x64(dtype == jnp.float64):
        inputs = [x.astype(dtype) for x in (noise(3, 2, 2, 4), noise(3, 3, 4, 6))]
        off = jax.jit(jax.grad(pooled)).lower(*inputs).as_text()
        lowerings.use_fast_lowerings()
        assert jax.jit(jax.grad(pooled)).lower(*inputs).as_text() == off


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, jnp.float16, jnp.float64])
def test_a_gpu_scatters_the_gradient_of_a_max_pool_no_more(dtype):
    def pooled(images):
        return max_pool(images, 3, 2, 1).astype(jnp.float32).sum()

    with jax.enable_x64(dtype == jnp.float64):
        traced = jax.jit(jax.grad(pooled)).trace(noise(3, 8, 8, 4).astype(dtype))
        platforms = ("cuda", "rocm")
        off = {platform: traced.lower(lowering_platforms=(platform,)).as_text() for platform in platforms}
        lowerings.use_fast_lowerings()
        on = {platform: traced.lower(lowering_platforms=(platform,)).as_text() for platform in platforms}
    assert "select_and_scatter" in off["cuda"] and "select_and_scatter" not in on["cuda"]
    assert on["rocm"] == off["rocm"]
    assert "inlineable" not in on["cuda"]  # XLA on a GPU would not fuse what is in such a call


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
@pytest.mark.parametrize(("size", "window", "stride", "pad"), POOLS)
def test_the_gradient_of_a_max_pool_in_half_precision(monkeypatch, dtype, size, window, stride, pad):
    """By the rule for GPUs, on the CPU."""
    images = jnp.round(noise(3, *size, 5)).astype(dtype)
    pool = functools.partial(max_pool, size=window, stride=stride, pad=pad)
    grad = noise(*pool(images).shape).astype(dtype)
    _, pull_back = jax.vjp(pool, images)
    wanted = jax.jit(pull_back)(grad)[0]
    name = "select_and_scatter_add_p"
    monkeypatch.setattr(lowerings, "_RULES", {("cpu", name): lowerings._RULES["cuda", name]})
    lowerings.use_fast_lowerings()
    lowered = jax.jit(pull_back).lower(grad)
    assert "select_and_scatter" not in lowered.as_text()
    found = lowered.compile()(grad)[0]
    tolerance = 4 * float(jnp.finfo(dtype).eps)  # where windows overlap, sums are rounded in another order
    np.testing.assert_allclose(found.astype(np.float32), wanted.astype(np.float32), rtol=tolerance, atol=tolerance)


def test_groups_are_left_to_jax():
    kernel = noise(3, 3, 1, 4)

    def depthwise(images):
        layout = ("NHWC", "HWIO", "NHWC")
        return lax.conv_general_dilated(images, kernel, (1, 1), "SAME", dimension_numbers=layout, feature_group_count=4)

    compare(depthwise, noise(3, 2, 2, 4))


def test_switched_off_nothing_of_the_lowerings_is_left(example):
    train = jax.grad(lambda *inputs: network(*inputs).sum(), argnums=(0, 1, 2))
    tables = {name: {**mlir._platform_specific_lowerings[name]} for name in ("cpu", "cuda")}

    def text():
        return jax.jit(train).lower(*example).as_text()

    before, jaxpr = text(), str(jax.make_jaxpr(train)(*example))
    lowerings.use_fast_lowerings()
    lowerings.use_fast_lowerings()  # the second call finds it done
    assert text() != before
    assert str(jax.make_jaxpr(train)(*example)) == jaxpr
    assert os.environ["XLA_FLAGS"] == lowerings.FLAG
    lowerings.use_jax_lowerings()
    lowerings.use_jax_lowerings()
    assert text() == before
    assert {name: mlir._platform_specific_lowerings[name] for name in tables} == tables
    assert not os.environ["XLA_FLAGS"]


def test_a_program_of_before_is_compiled_again(example):
    jitted = jax.jit(network)
    jitted(*example)
    lowerings.use_fast_lowerings()
    assert jitted._cache_size() == 0


@pytest.mark.parametrize("platforms", [("cpu",), ("cpu", "cuda")])
def test_an_exported_program_needs_nothing_of_this_module(example, platforms):
    wanted = network(*example)
    lowerings.use_fast_lowerings()
    exported = jax.export.export(jax.jit(network), platforms=platforms)(*example)
    assert "custom_call" not in exported.mlir_module()
    data = exported.serialize()
    lowerings.use_jax_lowerings()
    np.testing.assert_allclose(jax.export.deserialize(data).call(*example), wanted, atol=1e-4)


@pytest.mark.parametrize("platforms", [("cpu",), ("cpu", "cuda")])
def test_the_batch_may_be_a_symbol(example, platforms):
    images, *kernels = example
    (b,) = jax.export.symbolic_shape("b")
    symbolic = jax.ShapeDtypeStruct((b, *images.shape[1:]), jnp.float32)
    lowerings.use_fast_lowerings()

    def forward_and_backward(images):
        return jax.value_and_grad(lambda images: jnp.sin(network(images, *kernels)).sum())(images)

    exported = jax.export.export(jax.jit(forward_and_backward), platforms=platforms)(symbolic)
    for found, wanted in zip(exported.call(images[:5]), forward_and_backward(images[:5]), strict=True):
        np.testing.assert_allclose(found, wanted, atol=1e-4)


def test_without_a_way_to_the_rules_of_jax_it_stays_off_with_one_warning(example, monkeypatch):
    before = jax.jit(network).lower(*example).as_text()
    monkeypatch.setattr(lowerings, "_jax_rules", lambda: None)
    with pytest.warns(UserWarning, match=f"JAX {jax.__version__} gives no way") as told:
        lowerings.use_fast_lowerings()
    assert len(told) == 1
    assert jax.jit(network).lower(*example).as_text() == before
    assert "XLA_FLAGS" not in os.environ


@pytest.mark.parametrize("missing", ["_lowerings", "_platform_specific_lowerings", "lower_fun", "register_lowering"])
def test_a_jax_without_one_of_the_names_is_noticed(monkeypatch, missing):
    monkeypatch.delattr(mlir, missing)
    assert lowerings._jax_rules() is None


def test_a_jax_with_another_kind_of_table_is_noticed(monkeypatch):
    monkeypatch.setattr(mlir, "_lowerings", {primitives.reduce_sum_p: lambda *arguments: None})
    assert lowerings._jax_rules() is None


def test_a_flag_of_the_user_stays_and_others_are_kept(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_experimental_ynn_fusion_type=individual_convolution")
    lowerings.use_fast_lowerings()
    assert os.environ["XLA_FLAGS"] == "--xla_cpu_experimental_ynn_fusion_type=individual_convolution"
    lowerings.use_jax_lowerings()
    monkeypatch.setenv("XLA_FLAGS", "--xla_force_host_platform_device_count=2")
    lowerings.use_fast_lowerings()
    assert os.environ["XLA_FLAGS"] == f"--xla_force_host_platform_device_count=2 {lowerings.FLAG}"
    lowerings.use_jax_lowerings()
    assert os.environ["XLA_FLAGS"] == "--xla_force_host_platform_device_count=2"


@pytest.mark.parametrize("unknown", ["--xla_flag_of_another_time=YES", "--xla_cpu_max_is=AVX"])
def test_an_xla_that_does_not_know_the_flag_is_not_told(monkeypatch, unknown):
    monkeypatch.setattr(lowerings, "FLAG", unknown)  # the second one is a part of a name that it knows
    lowerings.use_fast_lowerings()
    assert "XLA_FLAGS" not in os.environ


SCRIPT = """
import os
import jax
from jax.extend.core import primitives
from jax.interpreters import mlir
table = mlir._platform_specific_lowerings["cpu"]
before = table[primitives.conv_general_dilated_p]
from jaxtl.runtime import lowerings
assert table[primitives.conv_general_dilated_p] is before and "XLA_FLAGS" not in os.environ, "importing changes nothing"
lowerings.use_fast_lowerings()
assert table[primitives.conv_general_dilated_p] is not before
def convolve(x, k):
    return jax.lax.conv_general_dilated(x, k, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
x, k = jax.numpy.ones((8, 16, 16, 64)), jax.numpy.ones((3, 3, 64, 64))
print("ynn" in jax.jit(convolve).lower(x, k).compile().as_text())
"""


def test_in_a_process_of_its_own_xla_knows_the_flag_and_leaves_convolutions_to_eigen():
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=False)
    assert (done.stdout.strip(), done.returncode) == ("False", 0), done.stderr


def test_no_warning_where_all_is_well():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        lowerings.use_fast_lowerings()

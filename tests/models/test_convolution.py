import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export, lax

from jaxtl.models import build_model
from jaxtl.models.convolution import WAYS, convolve, way_on_cpu
from jaxtl.models.layers import convolve_and_pool

ZOO = ["cnn", "bn_cnn", "resnet18", "resnet50", "resnet18_cifar", "densenet121", "vgg11", "cifar_resnet20"]

# What the library itself gives in another order of summation; bfloat16 rounds the result and each of two products.
BOUND = {jnp.float32: 1e-5, jnp.bfloat16: 2**-7}

# (image, kernel, stride, padding): one or more of every way, then what no network of the zoo has.
CASES = [
    ((3, 5, 6, 4), (1, 1, 4, 7), 1, 0),
    ((3, 5, 6, 4), (1, 1, 4, 7), 2, 0),
    ((3, 1, 1, 4), (3, 3, 4, 7), 1, 1),
    ((3, 2, 2, 4), (3, 3, 4, 7), 1, 1),
    ((3, 2, 1, 4), (3, 3, 4, 7), 1, 1),
    ((3, 2, 2, 4), (3, 3, 4, 7), 2, 1),
    ((3, 4, 4, 4), (7, 7, 4, 5), 2, 3),
    ((3, 2, 6, 4), (3, 3, 4, 7), 1, 1),
    ((3, 4, 4, 4), (3, 3, 4, 7), 2, 1),
    ((3, 3, 4, 4), (3, 3, 4, 7), 2, 1),
    ((3, 8, 9, 3), (3, 3, 3, 7), 1, 1),
    ((3, 8, 9, 1), (3, 3, 1, 7), 1, 1),
    ((3, 8, 9, 5), (3, 3, 5, 7), 1, 1),
    ((3, 9, 8, 3), (7, 7, 3, 64), 2, 3),
    ((3, 5, 4, 2), (1, 1, 2, 3), 1, 1),  # a border around single taps
    ((3, 3, 3, 4), (3, 3, 4, 7), 1, 0),
    ((2, 5, 4, 128), (3, 3, 128, 129), 1, 1),  # by rows in bfloat16
    ((2, 6, 5, 128), (3, 3, 128, 128), 2, 1),
    ((3, 5, 5, 4), (2, 4, 4, 7), 3, 2),
]


def draw(shape, dtype, seed):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), dtype)


def library(images, kernel, stride, border):
    pads = ((border, border),) * 2
    return lax.conv_general_dilated(images, kernel, (stride,) * 2, pads, dimension_numbers=("NHWC", "HWIO", "NHWC"))


def ours(images, kernel, stride, border):
    return convolve(images, kernel, (stride,) * 2, ((border, border),) * 2)


def assert_same(case, dtype):
    """Values and both gradients, from the rounded arguments, of the library in float32 and of ours in ``dtype``."""
    image, kernel, stride, border = case
    arguments = draw(image, dtype, 0), draw(kernel, dtype, 1)
    h, w = ((image[1 + axis] + 2 * border - kernel[axis]) // stride + 1 for axis in range(2))
    grad = draw((image[0], h, w, kernel[3]), dtype, 2)

    @jax.jit
    def run(images, kernel, grad):
        wide = [x.astype(jnp.float32) for x in (images, kernel, grad)]
        answers = []
        for convolution, x, y, dy in ((ours, images, kernel, grad), (library, *wide)):
            out, vjp = jax.vjp(functools.partial(convolution, stride=stride, border=border), x, y)
            answers.append((out, *vjp(dy)))
        return answers

    found, expected = run(*arguments, grad)
    for what, theirs in zip(found, expected, strict=True):
        assert what.dtype == dtype
        assert what.shape == theirs.shape
        error = jnp.abs(what.astype(jnp.float32) - theirs).max() / jnp.abs(theirs).max()
        assert error <= BOUND[dtype], (case, error)


@pytest.mark.parametrize("dtype", BOUND)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_values_and_gradients_are_the_librarys(case, dtype):
    assert_same(case, dtype)


def test_the_cases_take_every_way():
    taken = [way_on_cpu(image, kernel, (s, s), ((p, p), (p, p)), jnp.bfloat16) for image, kernel, s, p in CASES]
    assert set(taken) == set(WAYS)
    assert taken[:10] == ["dot"] * 2 + ["dense"] * 5 + ["im2col"] * 3


def convolutions(name, size):
    """The distinct convolutions of a network: image, kernel, stride, border, with a batch of 2 and fewer channels."""
    found = {}

    def watch(call, args, kwargs, context):
        out = call(*args, **kwargs)
        if isinstance(context.module, nn.Conv) and context.method_name == "__call__":
            assert context.module.conv_general_dilated in (convolve, convolve_and_pool)  # as all of the zoo
            kh, kw, C, features = context.module.variables["params"]["kernel"].shape
            stride = context.module.strides or 1
            few = min(C, 8)
            image = (2, *args[0].shape[1:3], few)
            found[image, (kh, kw, few, min(features, 6)), stride, context.module.padding[0][0]] = None
        return out

    with nn.intercept_methods(watch):
        jax.eval_shape(build_model(name, 10).init, jax.random.key(0), jnp.zeros((1, size, size, 3)))
    return list(found)


def test_all_convolutions_of_the_zoo_are_the_librarys():
    cases = dict.fromkeys(case for name in ZOO for case in convolutions(name, 32))
    assert len(cases) > 20
    for case in cases:
        assert_same(case, jnp.float32)


@pytest.mark.parametrize("options", [{"rhs_dilation": (2, 2)}, {"feature_group_count": 2}, {"precision": "highest"}])
def test_what_is_not_plain_is_left_to_the_library(options):
    features_in = 4 // options.get("feature_group_count", 1)
    x, kernel = draw((2, 6, 6, 4), jnp.float32, 0), draw((3, 3, features_in, 4), jnp.float32, 1)
    numbers = ("NHWC", "HWIO", "NHWC")
    expected = lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=numbers, **options)
    found = convolve(x, kernel, (1, 1), "SAME", dimension_numbers=numbers, **options)
    np.testing.assert_array_equal(found, expected)


def test_accelerators_get_the_librarys_convolution_and_nothing_else():
    arguments = draw((2, 2, 2, 4), jnp.float32, 0), draw((3, 3, 4, 5), jnp.float32, 1)

    def run(convolution, platform):
        # The value and both gradients take a convolution each, in whatever order they are written.
        step = jax.value_and_grad(lambda *args: convolution(*args, 1, 1).sum(), argnums=(0, 1))
        return jax.jit(step).trace(*arguments).lower(lowering_platforms=(platform,)).as_text()

    for platform in ("cuda", "tpu"):
        for operation in ("stablehlo.convolution", "stablehlo.dot_general"):
            assert run(ours, platform).count(operation) == run(library, platform).count(operation)
    assert run(ours, "cpu").count("stablehlo.convolution") == 1  # the gradient of the kernel


@pytest.mark.parametrize("case", [CASES[i] for i in (1, 3, 5, 8, 10)], ids=str)
def test_an_exported_program_keeps_the_batch_open(case):
    image, kernel, stride, border = case
    (batch,) = export.symbolic_shape("batch")
    weights = draw(kernel, jnp.float32, 1)
    program = export.export(jax.jit(lambda x: ours(x, weights, stride, border)), platforms=("cpu", "cuda", "tpu"))(
        jax.ShapeDtypeStruct((batch, *image[1:]), jnp.float32)
    )
    for size in (1, 4):
        x = draw((size, *image[1:]), jnp.float32, 0)
        expected = library(x, weights, stride, border)
        np.testing.assert_allclose(program.call(x), expected, atol=1e-5 * float(jnp.abs(expected).max()))

"""What XLA is told when it compiles a network: on a CPU, to leave convolutions to Eigen."""

import functools
import os

import jax

_NAME = "xla_cpu_experimental_ynn_fusion_type"


@functools.cache
def compiler_options() -> dict[str, str]:
    """Options for ``jax.jit(network, compiler_options=compiler_options())``, those of all programs of this package.

    Returns:
      On a CPU the option by which XLA gives dots alone to YNNPACK, and no convolutions; ``{}`` where XLA does not know
      it or computes elsewhere. Results differ as those of two orders of summation do. JAX takes options for the
      outermost ``jit`` alone: on a CPU a step of this package cannot be called within another ``jit``.

    XLA of jaxlib 0.10.2 gives float32 convolutions to YNNPACK, which is slower at nearly all shapes of the zoo than the
    Eigen kernels that it used before. An option of this name in ``XLA_FLAGS`` counts more than this one:
    ``XLA_FLAGS=--xla_cpu_experimental_ynn_fusion_type=individual_dot,individual_convolution`` before a benchmark gives
    XLA's own choice. On two cores with AVX-512, at 32 pixels and batch 128, a train step of ``cnn`` was 1.5 times and
    one of ``resnet18`` 1.4 times as fast with Eigen (``python -m benchmarks.train``).
    """
    options = {_NAME: "LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT"}
    if jax.default_backend() != "cpu" or _NAME in os.environ.get("XLA_FLAGS", ""):  # who sets it knows why
        return {}
    try:
        jax.jit(lambda: 0, compiler_options=options).lower().compile()
    except jax.errors.JaxRuntimeError:  # another version of XLA
        return {}
    return options

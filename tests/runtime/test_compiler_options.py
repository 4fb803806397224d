import jax
import jax.numpy as jnp
import pytest

from jaxtl.runtime.compiler_options import compiler_options


@pytest.fixture(autouse=True)
def fresh():
    compiler_options.cache_clear()
    yield
    compiler_options.cache_clear()


def test_a_program_compiles_with_the_options_and_gives_the_same():
    images, kernel = jnp.linspace(-1, 1, 2 * 8 * 8 * 32).reshape(2, 8, 8, 32), jnp.ones((3, 3, 32, 32)) / 9

    def convolution(images, kernel):
        layout = ("NHWC", "HWIO", "NHWC")
        return jax.lax.conv_general_dilated(images, kernel, (1, 1), "SAME", dimension_numbers=layout)

    ours = jax.jit(convolution, compiler_options=compiler_options())(images, kernel)
    assert jnp.allclose(ours, jax.jit(convolution)(images, kernel), atol=1e-4)


def test_an_xla_that_does_not_know_the_option_is_told_nothing(monkeypatch):
    def refuse(*arguments, **options):
        raise jax.errors.JaxRuntimeError("INVALID_ARGUMENT: No such compile option")

    monkeypatch.setattr(jax.stages.Lowered, "compile", refuse)
    assert compiler_options() == {}


def test_other_platforms_than_a_cpu_are_told_nothing(monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert compiler_options() == {}

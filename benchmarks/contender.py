"""What is measured: one framework's version of one task, ready to step."""

import functools
import importlib
import os
import time
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxtl.errors import UserError
from jaxtl.runtime.lowerings import FLAG, use_fast_lowerings, use_jax_lowerings

PEERS_COMMAND = 'pip install "jaxtl[peers]"'


class Task(NamedTuple):
    """The work that all contenders do.

    Attributes:
      what: ``"inference"``: logits of a batch; ``"train"``: forward, backward and update by SGD with momentum.
      model: one of ``jaxtl.list_models()``.
      size: height and width of the images.
      batch: images a step.
      dtype: of the computation; trained parameters are float32.
      classes: number of logits.
      seed: of weights and images.
      augment: the policy of another train step, ``"none"`` for no such step; see ``auto_augment`` of a phase.
    """

    what: Literal["inference", "train"]
    model: str
    size: int
    batch: int
    dtype: Literal["float32", "bfloat16"] = "float32"
    classes: int = 1000
    seed: int = 0
    augment: str = "none"


LEARNING_RATE, MOMENTUM = 1e-3, 0.9

# What the flag of jaxtl.runtime.lowerings sets, as XLA has it by default.
_DEFAULT = "LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT,LIBRARY_FUSION_TYPE_INDIVIDUAL_CONVOLUTION"
XLAS_CHOICE: dict[str, str | bool] = {FLAG.removeprefix("--").split("=")[0]: _DEFAULT}


class Contender(NamedTuple):
    """One side of a comparison.

    Attributes:
      name: what tables call it.
      step: starts one step, which may go on after it returns.
      wait: returns when all steps that were started are done.
      compile_s: seconds from the traced function to the program; ``None`` where nothing is compiled ahead.
      program_bytes: what the program takes on its device, by the compiler: arguments, results and temporaries.
      text: gives the program as XLA writes it; ``None`` where XLA has no part in it.
    """

    name: str
    step: Callable[[], None]
    wait: Callable[[], None]
    compile_s: float | None = None
    program_bytes: int | None = None
    text: Callable[[], str] | None = None


class NoSuchNetError(UserError):
    """The peer has no version of this network: it is left out, and the others are measured."""


def images_and_labels(task: Task) -> tuple[np.ndarray, np.ndarray]:
    """Normalised images, float32 ``[B, H, W, 3]``, and int32 labels ``[B]``: noise, the same for every contender."""
    rng = np.random.default_rng(task.seed)
    images = rng.standard_normal((task.batch, task.size, task.size, 3), np.float32)
    return images, rng.integers(0, task.classes, task.batch, np.int32)


def compiled(name: str, function: jax.stages.Wrapped, *arguments: Any, carries: bool, plain: bool = False) -> Contender:
    """A contender from a jitted function.

    Args:
      name: what tables call it.
      function: jitted; where it carries, it may donate its first argument.
      *arguments: on the device.
      carries: the result takes the place of the first argument in the next step.
      plain: as users without jaxtl have it: by JAX's own lowering rules and XLA's own choice of libraries.
    """
    start = time.perf_counter()
    if plain:
        changed = FLAG in os.environ.get("XLA_FLAGS", "")
        use_jax_lowerings()
        program = function.lower(*arguments).compile(XLAS_CHOICE if changed else None)
        use_fast_lowerings()
    else:
        program = function.lower(*arguments).compile()
    compile_s = time.perf_counter() - start
    first, rest = arguments[0], arguments[1:]
    result: Any = None

    def step() -> None:
        nonlocal first, result
        result = program(first, *rest)
        if carries:
            first = result

    need = program.memory_analysis()
    program_bytes = None
    if need is not None:
        program_bytes = (
            need.argument_size_in_bytes
            + need.output_size_in_bytes
            + need.temp_size_in_bytes
            - need.alias_size_in_bytes  # donated arguments, whose place the results take
        )
    return Contender(
        name, step, lambda: jax.block_until_ready(result), compile_s, program_bytes, lambda: program.as_text() or ""
    )


def matmul(dtype: str) -> tuple[Contender, int]:
    """The yardstick: a square matrix product, and its floating-point operations.

    It sums and answers in float32. Like the convolutions of a network it runs at jax's default precision, which for
    float32 on an NVIDIA GPU is TF32.
    """
    n = 1024 if jax.default_backend() == "cpu" else 8192
    a = jax.device_put(np.random.default_rng(0).standard_normal((n, n), np.float32).astype(jnp.dtype(dtype)))
    product = jax.jit(functools.partial(jnp.matmul, preferred_element_type=jnp.float32))
    return compiled("matmul", product, a, a, carries=False), 2 * n**3


def need(package: str, peer: str) -> Any:
    """A peer's package, imported.

    Raises:
      UserError: it is not installed.
    """
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError as error:
        raise UserError(f"The peer {peer} needs {error.name}, which is not installed here: {PEERS_COMMAND}.") from error

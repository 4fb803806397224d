"""A trained network as one ONNX program with its weights and its preprocessing, by jax2onnx.

While jax2onnx traces a function, it replaces functions of Flax and JAX by its own, which do not take all arguments that
networks pass. So the network is traced before. Then pooling and padding, which jax2onnx translates only as its own
functions, become calls of these. https://github.com/enpasos/jax2onnx
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.export
import jax.numpy as jnp
import numpy as np
from jax.extend.core import Jaxpr, Literal

from jaxtl.errors import UserError
from jaxtl.export.program import probabilities_of
from jaxtl.runs.finished import LoadedRun


def export_onnx(run: LoadedRun) -> tuple[bytes, Callable[[np.ndarray], Any]]:
    """The program of ``probabilities_of``, and a function that runs it by onnxruntime.

    Its input is ``images``, its output ``probabilities``; the batch size is free at every call.

    Raises:
      UserError: a package is missing, or the network has an operation that jax2onnx does not translate.
    """
    try:
        import jax2onnx
        import onnxruntime
    except ImportError as error:
        raise UserError(f"The format onnx needs {error.name}; install it with pip install 'jaxtl[onnx]'.") from error
    (batch,) = jax.export.symbolic_shape("batch")
    shape = jax.ShapeDtypeStruct((batch, *run.image_shape), jnp.uint8)
    traced = jax.make_jaxpr(probabilities_of(run))(shape)

    def program(images: jax.Array) -> Any:
        with jax.ensure_compile_time_eval():  # what depends on no image is computed now
            return _evaluate(traced.jaxpr, traced.consts, [images])[0]

    try:
        model = jax2onnx.to_onnx(program, [shape], input_names=["images"], output_names=["probabilities"])
    except Exception as error:  # each of its translations raises errors of its own
        found = re.search(r"primitive '([^']+)'", str(error))
        what = f"the operation {found[1]!r}" if found else f"this network ({str(error).splitlines()[0].rstrip('.')})"
        raise UserError(f"jax2onnx does not translate {what}; choose the format stablehlo.") from error
    content = bytes(model.SerializeToString())
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    return content, lambda images: session.run(None, {"images": images})[0]


def _evaluate(jaxpr: Jaxpr, constants: Sequence[Any], arguments: Sequence[Any]) -> list[Any]:
    """Evaluate a traced function, pooling and padding by the functions that jax2onnx replaces.

    https://docs.jax.dev/en/latest/notebooks/Writing_custom_interpreters_in_Jax.html
    """
    values = dict(zip((*jaxpr.constvars, *jaxpr.invars), (*constants, *arguments), strict=True))

    def read(variables: Sequence[Any]) -> list[Any]:
        return [of.val if isinstance(of, Literal) else values[of] for of in variables]

    for eqn in jaxpr.eqns:
        inputs, params = read(eqn.invars), eqn.params
        inner = params.get("jaxpr", params.get("call_jaxpr"))
        if inner is not None:
            outputs = _evaluate(inner.jaxpr, inner.consts, inputs)
        elif eqn.primitive.name in _TRANSLATED:
            outputs = [_TRANSLATED[eqn.primitive.name](*inputs, params)]
        else:
            outputs = eqn.primitive.bind(*inputs, **params)
            outputs = outputs if eqn.primitive.multiple_results else [outputs]
        values |= zip(eqn.outvars, outputs, strict=True)
    return read(jaxpr.outvars)


def _max_pool(x: Any, params: Mapping[str, Any]) -> Any:
    padded = jnp.pad(x, params["padding"], constant_values=-jnp.inf) if np.any(params["padding"]) else x
    return nn.max_pool(padded, window_shape=params["window_dimensions"][1:3], strides=params["window_strides"][1:3])


def _sum_pool(x: Any, params: Mapping[str, Any]) -> Any:
    size, strides = params["window_dimensions"][1:3], params["window_strides"][1:3]
    return nn.avg_pool(x, window_shape=size, strides=strides) * float(np.prod(size))


def _pad(x: Any, value: Any, params: Mapping[str, Any]) -> Any:
    return jnp.pad(x, [(low, high) for low, high, _ in params["padding_config"]], constant_values=float(value))


_TRANSLATED: dict[str, Callable[..., Any]] = {
    "reduce_window_max": _max_pool,
    "reduce_window_sum": _sum_pool,
    "pad": _pad,
}

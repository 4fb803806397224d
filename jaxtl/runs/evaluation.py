"""A finished run on images that it may not be meant for: size and channels are brought to the network's."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from jaxtl.data.augment import channels, compose, normalise, resize
from jaxtl.data.dataset import Dataset
from jaxtl.errors import UserError
from jaxtl.runs.finished import LoadedRun
from jaxtl.runtime.mesh import data_mesh
from jaxtl.train.evaluate import Evaluation, folded, make_evaluator
from jaxtl.train.examples import place


def make_evaluation(run: LoadedRun, image_size: tuple[int, int], *, batch_size: int) -> Callable[[Dataset], Evaluation]:
    """A function ``dataset -> Evaluation``, after the network was asked whether it takes images of that size.

    Images of another size are resized on the device, as the run resizes its own: bilinearly, both sides to the size,
    whatever the proportions. Then they are normalised by the run's mean and standard deviation.

    Args:
      run: a finished run.
      image_size: (height, width) that the network sees.
      batch_size: images a step.

    Raises:
      UserError: the network cannot take images of that size.
    """
    _refuse_size(run, image_size)
    data = run.config["data"]
    steps = channels(run.image_shape[2]), resize(*image_size), normalise(data["mean"], data["std"])

    def evaluate(dataset: Dataset) -> Evaluation:
        mesh = data_mesh(batch_size)
        model, variables = folded(run.model, run.variables, channels=run.image_shape[2], mesh=mesh)
        examples = place(dataset, mesh)
        return make_evaluator(model, examples, compose(*steps), batch_size=batch_size, mesh=mesh)(variables)

    return evaluate


def _refuse_size(run: LoadedRun, image_size: tuple[int, int]) -> None:
    name, (height, width) = run.config["model"]["name"], image_size
    if min(image_size) < run.model.least_size:
        least = run.model.least_size
        raise UserError(
            f"The network {name} of {run.folder} cannot run at {height} x {width} pixels: it needs at least {least} x "
            f"{least}; choose a larger --size."
        )
    images = jax.ShapeDtypeStruct((1, height, width, run.image_shape[2]), jnp.float32)
    try:
        jax.eval_shape(lambda variables, x: run.model.apply(variables, x, train=False), run.variables, images)
    except UserError:
        raise
    except Exception as error:  # a layer whose weights have another shape: flax's error is of no narrower public type
        H, W, _ = run.input_shape
        raise UserError(
            f"The network {name} of {run.folder} cannot run at {height} x {width} pixels, because its weights are made "
            f"for {H} x {W}; leave out --size."
        ) from error

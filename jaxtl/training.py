"""One run up to its test: data -> model -> phases; or the rest of it, where its folder was left."""

import contextlib
import pathlib
import signal
import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
from jax.sharding import Mesh

from jaxtl.config.data import load_splits, preprocessing
from jaxtl.config.model import create, settled_plan, whitened
from jaxtl.data.augment import Transform
from jaxtl.data.prepare import Splits
from jaxtl.errors import UserError
from jaxtl.models import Classifier
from jaxtl.report.console import RunConsole
from jaxtl.runs.folder import RunFolder
from jaxtl.runtime.environment import describe, device
from jaxtl.runtime.interrupts import stop_on_signals
from jaxtl.runtime.mesh import data_mesh
from jaxtl.runtime.processes import broadcast_arrays, gather_ints, is_main_process, main_process_first
from jaxtl.train.checkpoint import Checkpoints
from jaxtl.train.features import FeatureCache
from jaxtl.train.loop import Fitted, fit
from jaxtl.train.progress import Progress
from jaxtl.transfer.phases import Phase


class Trained(NamedTuple):
    """What training leaves for the test.

    Attributes:
      model: the network.
      plan: the phases, their stages named.
      splits: the images; training saw ``train`` and ``validation`` alone.
      fitted: the variables to test, and how they came about.
      preprocess: resize and normalisation.
      mesh: the devices that it ran on.
      features: those that were kept, and may be of use again.
      spent_before: seconds that earlier processes of the same run took.
    """

    model: Classifier
    plan: tuple[Phase, ...]
    splits: Splits
    fitted: Fitted
    preprocess: Transform
    mesh: Mesh
    features: FeatureCache
    spent_before: float


@contextlib.contextmanager
def train(
    config: Mapping[str, Any],
    folder: RunFolder,
    weights: str | pathlib.Path | None,
    console: RunConsole,
    load: Callable[[Mapping[str, Any]], Splits] | None = None,
) -> Iterator[Trained]:
    """Data -> model -> phases: one run up to its test, or the rest of it where the folder was left.

    A context, in which a signal still lets what is under way come to its end.

    Args:
      config: of one run, complete: one of ``jaxtl.config.variants``.
      folder: where checkpoints and history go.
      weights: what the network starts from; ``None``: random variables.
      console: is told of everything, epoch by epoch.
      load: gives the images of the config's data fields; by default they are loaded anew.

    Raises:
      UserError: for a mistake in the weights or the data.
      jaxtl.train.phase.DivergedError: the loss is not a number any more.
      jaxtl.runtime.interrupts.Interrupted: on SIGTERM or Ctrl-C, after everything is saved.
    """
    console.say(f"\n{config['name']}, on {device()}")
    plan = tuple(Phase(**phase) for phase in config["phases"])
    with main_process_first():
        # The model first: a mistake in the weights shows before any data is fetched. One process reads them for all.
        model, variables = create(config, weights if is_main_process() else None)
        plan, remarks = settled_plan(plan, model, variables["params"])
        splits = load(config["data"]) if load else load_splits(config["data"], console.on_decoded)
        variables = whitened(config, variables, splits.train)
    variables = broadcast_arrays(variables)
    _refuse_other_images(splits)
    if splits.validation is None and any(phase.needs_validation for phase in plan):
        raise UserError(
            f"data.validation={config['data']['validation']} holds out none of the {len(splits.train)} training "
            "images, but a phase needs some; take more images, or set keep='last' and patience=0."
        )
    # Not before: a mistake so far leaves the folder free for the command that mends it.
    folder.begin(describe(), {"image_shape": splits.train.image_shape, "class_names": splits.train.class_names})
    held = splits.validation.ids if splits.validation else splits.train.ids[:0]
    folder.write_split(splits.train.ids, held, splits.test.ids)
    folder.write_remarks(splits.remarks)
    console.remarks(splits.remarks, str(folder.remarks))
    console.parameters(variables["params"])
    for remark in remarks:
        console.say(remark)

    preprocess, batch_size = preprocessing(config["data"]), config["batch_size"]
    mesh = data_mesh(batch_size)
    if mesh.size < jax.device_count():
        console.say(f"Batches of {batch_size} are shared evenly by {mesh.size} of {jax.device_count()} devices.")
    with contextlib.closing(Checkpoints(folder.checkpoints)) as checkpoints:
        # The checkpoint is what counts: lines written after it belong to epochs that will be run again.
        saved = Progress(**(checkpoints.last_progress() or {}))
        spent_before = saved.compile_s + saved.features_s + saved.seconds
        spent_before += sum(line["seconds"] for line in saved.history)
        folder.write_history(saved.history)
        if saved.total_step:
            console.say(f"Going on after epoch {len(saved.history)}, from step {saved.total_step}.")
        console.keep_line = folder.append_line
        # Elsewhere the signals keep their usual effect: whatever else is written appears whole or not at all.
        with stop_on_signals(signal.SIGTERM, signal.SIGINT) as stop:
            features = FeatureCache(model, preprocess, batch_size=batch_size, mesh=mesh, observer=console, stop=stop)
            fitted = fit(
                model,
                variables,
                plan,
                splits.train,
                splits.validation,
                preprocess=preprocess,
                batch_size=batch_size,
                seed=config["seed"],
                mesh=mesh,
                features=features,
                checkpoints=checkpoints,
                checkpoint_every_s=config["checkpoint_every_s"],
                observer=console,
                stop=stop,
            )
            yield Trained(model, plan, splits, fitted, preprocess, mesh, features, spent_before)


def _refuse_other_images(splits: Splits) -> None:
    """See to it that all processes of the run have the same images, as far as names and labels tell.

    Raises:
      UserError: they do not.
    """
    parts = [part for part in (splits.train, splits.validation, splits.test) if part is not None]
    content = b"".join(array.tobytes() for part in parts for array in (part.ids, part.labels))
    sums = gather_ints([zlib.crc32(content) >> 1])  # 31 bits
    if (sums != sums[0]).any():
        raise UserError(
            "The processes of this run do not see the same images; give all hosts the same files under data.dir."
        )

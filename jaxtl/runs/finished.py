"""A finished run, loaded to classify images: its network, its weights, its preprocessing."""

import concurrent.futures
import dataclasses
import functools
import numbers
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec
from PIL import Image

from jaxtl.config import with_defaults
from jaxtl.config.data import preprocessing
from jaxtl.config.tree import plain
from jaxtl.create import LARGEST_SIDE
from jaxtl.data.augment import Transform
from jaxtl.data.decode import Readable, Undecodable, read_image
from jaxtl.data.image_files import shown
from jaxtl.errors import UserError, expect
from jaxtl.models import Classifier, build_model, list_models
from jaxtl.runtime.compile_cache import keep_compiled
from jaxtl.runtime.environment import cores
from jaxtl.runtime.files import user_path
from jaxtl.runtime.mesh import data_mesh
from jaxtl.runtime.run_files import RunFiles
from jaxtl.train.calibration import HIGHEST, LOWEST, choose_threshold
from jaxtl.train.checkpoint import read_best
from jaxtl.train.evaluate import folded

UNSURE = "unsure"  # the answer where no class is probable enough


@dataclasses.dataclass(frozen=True, eq=False)
class Predictions:
    """Predicted classes of N images; ``predictions[i]`` is a list of (class, probability), the most probable first.

    Where the most probable class has less than ``threshold``, the list begins with ``("unsure", its probability)``.

    Attributes:
      names: what each image is called: its path, or its number.
      class_names: K names.
      classes: int32 ``[N, k]``, indices into ``class_names``, the most probable first; -1 where the image could not be
        read.
      probability: float32 ``[N, k]``, their calibrated softmax probabilities, in [0, 1]; NaN where the image could not
        be read.
      faults: N reasons why an image could not be read, empty where it could.
      threshold: the least probability with which an image is answered; 0 where no error rate was stated.
    """

    names: tuple[str, ...]
    class_names: tuple[str, ...]
    classes: np.ndarray
    probability: np.ndarray
    faults: tuple[str, ...]
    threshold: float = 0.0

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, i: int) -> list[tuple[str, float]]:
        pairs = zip(self.classes[i], self.probability[i], strict=True)
        answers = [(self.class_names[k], float(p)) for k, p in pairs if k >= 0]
        return [(UNSURE, answers[0][1]), *answers[:-1]] if self.unsure[i] else answers

    def __iter__(self) -> Iterator[list[tuple[str, float]]]:
        return (self[i] for i in range(len(self)))

    @functools.cached_property
    def unsure(self) -> np.ndarray:
        """bool ``[N]``, which images are too uncertain to be answered."""
        return np.round(self.probability[:, 0].astype(float), 6) < self.threshold  # rounded as in the file of a run

    def chosen(self, indices: np.ndarray) -> "Predictions":
        """The predictions of some images, by their indices, int ``[M]``."""
        names, faults = (tuple(column[i] for i in indices) for column in (self.names, self.faults))
        classes, probability = self.classes[indices], self.probability[indices]
        return Predictions(names, self.class_names, classes, probability, faults, self.threshold)

    def __str__(self) -> str:
        lines = []
        for name, answers, fault in zip(self.names, self, self.faults, strict=True):
            lines.append(f"{name}: {fault or ', '.join(f'{of} {100 * p:.1f} %' for of, p in answers)}")
        return "\n".join(lines)


class LoadedRun(NamedTuple):
    """A finished run in memory.

    Attributes:
      folder: where it lies.
      name: its title.
      config: its resolved config.
      model: the classifier.
      variables: the weights that were tested, on the default device.
      class_names: K names, in the order of the logits.
      image_shape: (H, W, C) of its images as they were read: uint8, what ``read`` gives and ``preprocess`` takes.
      input_shape: (H, W, C) of what the network takes, after ``preprocess``.
      preprocess: resize and normalisation, ``preprocess(key, images)``; the key is not used.
      temperature: what logits are divided by before the softmax, fitted on the validation images.
    """

    folder: Path
    name: str
    config: dict[str, Any]
    model: Classifier
    variables: dict[str, Any]
    class_names: tuple[str, ...]
    image_shape: tuple[int, int, int]
    input_shape: tuple[int, int, int]
    preprocess: Transform
    temperature: float = 1.0

    def read(self, image: Readable, size: tuple[int, int] | None = None) -> np.ndarray:
        """An image as the run's own were read, uint8 ``image_shape``, or of another ``size`` (height, width).

        Raises:
          jaxtl.data.decode.Undecodable: see ``jaxtl.data.decode.read_image``.
        """
        H, W, C = self.image_shape
        image = user_path(image) if isinstance(image, str) else image
        return read_image(image, size or (H, W), fit=self.config["data"]["fit"], channels=C)

    def check_fit(self, preprocess: Transform, images: jax.ShapeDtypeStruct, why: str) -> None:
        """Check, by shapes alone, that the network takes preprocessed images.

        Raises:
          UserError: it does not; ``why`` is the message.
        """

        def logits(variables: Any, images: jax.Array) -> jax.Array:
            return jnp.asarray(self.model.apply(variables, preprocess(jax.random.key(0), images), train=False))

        try:
            jax.eval_shape(logits, self.variables, images)
        except UserError:
            raise
        except Exception as error:  # a layer whose weights have another shape: Flax's error has no public type
            raise UserError(why) from error

    def threshold(self, max_error: float) -> float:
        """The least confidence to answer with, so that of the answers on validation images at most a share is wrong.

        Args:
          max_error: the share, in [0, 1).

        Raises:
          UserError: it is not a share; the run has no predictions of validation images; or no confidence is high
            enough.
        """
        expect("max_error", max_error, numbers.Real, "a number: 0.02 for 2 %")
        if not 0 <= max_error < 1:
            raise UserError(f"max_error is {max_error}, but must be a share below 1: 0.02 for 2 %.")
        files = RunFiles(self.folder)
        with files.explained(files.VALIDATION):
            lines = files.predictions(files.VALIDATION) if (files.path / files.VALIDATION).exists() else []
            right = [line["true"] == line["predicted"] for line in lines]
            found = choose_threshold([float(line["probability"]) for line in lines], right, max_error)
        if found is None:
            why = "it has no predictions of validation images; train it with some (data.validation)"
            if lines:
                why = "its most confident predictions of validation images are wrong more often; allow a higher rate"
            raise UserError(f"The run {self.folder} cannot keep an error rate of {100 * max_error:g} %: {why}.")
        return found

    def predict(
        self,
        images: Readable | Sequence[Readable],
        *,
        top: int = 5,
        batch_size: int = 64,
        max_error: float | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> Predictions:
        """Classify images.

        The network is compiled once, for one batch size: the last batch is padded. Memory holds two batches of images,
        whatever their number.

        Args:
          images: N image files by their paths, or their contents, or arrays, see ``jaxtl.data.decode.read_image``; one
            array uint8 ``[N, H, W, C]``; or a single image.
          top: how many classes to keep of each image, at least 1.
          batch_size: images a step, at least 1; fewer where there are fewer images. All devices that can share it
            evenly compute.
          max_error: the share of wrong answers to allow, in [0, 1): images below the confidence that kept the
            validation images below it are unsure. ``None`` answers all images.
          progress: is told (images done, images in all) after each batch.

        Returns:
          Classes and probabilities; an image that cannot be read has no classes and a reason in ``faults``.

        Raises:
          UserError: ``batch_size`` or ``top`` is below 1, or an argument has another type; see ``threshold``.
        """
        for what, count in (("batch_size", batch_size), ("top", top)):
            expect(what, count, (int, np.integer), "a whole number")
            if count < 1:
                raise UserError(f"{what} is {count}, but must be at least 1.")
        chosen = _as_list(images)
        threshold = 0.0 if max_error is None else self.threshold(max_error)
        N, k = len(chosen), min(top, len(self.class_names))
        batch_size = min(batch_size, N) or 1
        classes, probability = np.full((N, k), -1, np.int32), np.full((N, k), np.nan, np.float32)
        faults: list[str] = []
        mesh = data_mesh(batch_size)
        split = NamedSharding(mesh, PartitionSpec("data"))
        model, variables = folded(self.model, self.variables, channels=self.input_shape[2], mesh=mesh)
        step = _make_step(model, self.preprocess, self.temperature, k)
        for found in self._decoded(chosen, batch_size):
            read = [i for i, image in enumerate(found) if isinstance(image, np.ndarray)]
            if read:
                batch = np.zeros((batch_size, *self.image_shape), np.uint8)
                batch[read] = [found[i] for i in read]
                best, share = (np.asarray(x)[read] for x in step(variables, jax.device_put(batch, split)))
                at = len(faults) + np.array(read)
                classes[at], probability[at] = best, share
            faults += ["" if isinstance(image, np.ndarray) else image for image in found]
            if progress:
                progress(len(faults), N)
        names = tuple(shown(x) if isinstance(x, str | os.PathLike) else f"image {i}" for i, x in enumerate(chosen))
        return Predictions(names, self.class_names, classes, probability, tuple(faults), threshold)

    def _decoded(self, images: Sequence[Readable], batch_size: int) -> Iterator[list[np.ndarray | str]]:
        """Decode batches of images, one batch ahead; an image that cannot be read is the reason, a string."""

        def decode(image: Readable) -> np.ndarray | str:
            try:
                return self.read(image)
            except (Undecodable, UserError) as error:
                return str(error)

        # Threads suffice: Pillow lets go of the interpreter while it decodes.
        with concurrent.futures.ThreadPoolExecutor(cores()) as pool:
            ahead = [pool.submit(decode, image) for image in images[:batch_size]]
            while ahead:
                images = images[batch_size:]
                begun, ahead = ahead, [pool.submit(decode, image) for image in images[:batch_size]]
                yield [future.result() for future in begun]


def _as_list(images: Readable | Sequence[Readable]) -> Sequence[Readable]:
    """One image as a list of one."""
    if isinstance(images, str | os.PathLike | bytes | Image.Image):
        return [images]
    expect("images", images, Iterable, "an image or a list of them: paths, contents of files, or arrays")
    images = np.asarray(images) if hasattr(images, "__array__") else images  # of pandas, JAX or PyTorch
    is_one = isinstance(images, np.ndarray) and (
        images.ndim in (0, 2) or (images.ndim == 3 and images.shape[-1] in (1, 3, 4))
    )
    return [images] if is_one else list(images)  # type: ignore[list-item]  # an array


def _make_step(model: Classifier, preprocess: Transform, temperature: float, k: int) -> Any:
    """The jitted step ``(variables, images) -> (classes [B, k], probability [B, k])``."""
    unused_key = jax.random.key(0)

    def step(variables: Any, images: jax.Array) -> tuple[jax.Array, jax.Array]:
        logits = jnp.asarray(model.apply(variables, preprocess(unused_key, images), train=False))
        probability, classes = jax.lax.top_k(jax.nn.softmax(logits / temperature), k)
        return classes.astype(jnp.int32), probability

    return jax.jit(step)


def load_run(folder: str | os.PathLike[str]) -> LoadedRun:
    """Read a finished run.

    Raises:
      UserError: the folder is not a finished run, or a file of it is missing, damaged or does not fit the others.
    """
    folder = user_path(folder)
    files = RunFiles(folder)
    if why := files.unfinished():
        raise UserError(f"The run folder {folder} cannot be used: {why}; give the folder of a finished run.")
    summary, content = files.summary() or {}, files.config()
    with files.explained(files.SUMMARY):
        class_names = tuple(str(line["class"]) for line in summary["test"]["per_class"])
        temperature = float(summary.get("calibration", {}).get("temperature", 1))  # older runs have none
        if not LOWEST <= temperature <= HIGHEST:
            raise ValueError(f"its temperature is {temperature}")
    with files.explained(files.CONFIG):
        config = with_defaults(plain(content["config"]))
        settings, data = config["model"], config["data"]
        name = settings["name"]
        if name not in list_models():
            raise UserError(
                f"The run {folder} has the network {name!r}, which is not registered in this process; in Python, call "
                f"jaxtl.register_model({name!r}, build) first, and jaxtl.load_run after it."
            )
        model = build_model(settings["name"], len(class_names), settings["dtype"], **settings.get("options", {}))
        preprocess = preprocessing(data)
        height, width, channels = content["data"]["image_shape"]
        if (names := content["data"].get("class_names")) and names != [*class_names]:
            raise ValueError(f"its classes are not those of {files.SUMMARY}")
        size = data["size"]
        for side in (height, width, size or 1):
            if not (isinstance(side, int) and 0 < side <= LARGEST_SIDE) or channels not in (1, 3):
                raise ValueError(f"its images would be {height} x {width} x {channels} or {size}")
    keep_compiled()
    variables = jax.device_put(read_best(files.checkpoints, files.tested()))
    name = str(summary.get("name") or folder.name)
    shapes = (height, width, channels), (size or height, size or width, channels)
    run = LoadedRun(folder, name, config, model, variables, class_names, *shapes, preprocess, temperature)
    run.check_fit(
        preprocess,
        jax.ShapeDtypeStruct((1, *run.image_shape), jnp.uint8),
        f"The weights in {files.checkpoints} do not fit the network {settings['name']} for {len(class_names)} classes "
        f"that {files.CONFIG} and {files.SUMMARY} describe: one of them is damaged or of another run; restore it, or "
        "run the experiment again in a new folder.",
    )
    return run

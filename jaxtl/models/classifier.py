"""A classifier is a chain of named stages: the backbone's, then pooling, then the head."""

from collections.abc import Callable, Collection

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from jaxtl.errors import UserError

HEAD = "head"

# A stage is any module called as ``stage(x, train)``; the factory makes it inside the parent's scope.
StageFactory = Callable[[], nn.Module]
Train = bool | Collection[str]


class Classifier(nn.Module):
    """Backbone stages, pooling and head under their own names.

    The name of a stage is also the top-level key of its parameters and statistics, ``variables["params"]["stage1"]``,
    so that "train these stages, freeze those" is a split of a dictionary.

    Attributes:
      backbone: pairs (stage name, factory of the stage's module), in the order of the forward pass.
      pool: maps the last stage's output to features ``[B, F]``.
      head_factory: makes the module that maps features to logits, called as ``head(features, train)``;
        ``None`` makes the model return features.
      least_size: least height and width of an image, in pixels.
    """

    backbone: tuple[tuple[str, StageFactory], ...]
    pool: Callable[[jax.Array], jax.Array]
    head_factory: StageFactory | None
    least_size: int = 1

    def setup(self) -> None:
        """Bind every stage under its own name."""
        for name, factory in self.backbone:
            setattr(self, name, factory())
        if self.head_factory is not None:
            setattr(self, HEAD, self.head_factory())

    @property
    def stage_names(self) -> tuple[str, ...]:
        """The names of all stages in the order of the forward pass, the head last."""
        names = tuple(name for name, _ in self.backbone)
        return names if self.head_factory is None else (*names, HEAD)

    def __call__(self, images: jax.Array, *, train: Train = False) -> jax.Array:
        """Class scores.

        Args:
          images: ``[B, H, W, C]``, float, normalised.
          train: ``True`` runs every stage in training mode (dropout drops, batch norm uses and updates batch
            statistics), ``False`` none, and a collection of names from ``stage_names`` those stages alone.

        Returns:
          Logits ``[B, num_classes]``, float32; features ``[B, F]`` where the model has no head.

        Raises:
          UserError: if the images are not a batch of the network's channels, or smaller than it can take; or ``train``
            names what is not a stage.
        """
        return self.classify(self.features(images, train=train), train=train)

    def classify(self, features: jax.Array, *, train: Train = False) -> jax.Array:
        """The head's logits of features ``[B, F]``; ``__call__`` is this after ``features``."""
        if self.head_factory is None:
            return features
        head = getattr(self, HEAD)
        return jnp.asarray(head(features, HEAD in training_stages(train, self.stage_names)), jnp.float32)

    def features(self, images: jax.Array, *, train: Train = False) -> jax.Array:
        """What the head sees: ``[B, F]``, pooled; arguments as in ``__call__``."""
        last = list(self.stages(images, train=train).values())[-1:]
        return self.pool(last[0] if last else images)

    def stages(self, images: jax.Array, *, train: Train = False) -> dict[str, jax.Array]:
        """The output of every backbone stage, by name: maps ``[B, H, W, C]``, or ``[B, F]`` of a dense stage."""
        in_training = training_stages(train, self.stage_names)
        self._check(images.shape)
        maps: dict[str, jax.Array] = {}
        x = images
        for name, _ in self.backbone:
            x = maps[name] = getattr(self, name)(x, name in in_training)
        return maps

    def _check(self, shape: tuple[int, ...]) -> None:
        """Refuse images of a shape that the network cannot take."""
        if len(shape) != 4:
            way_out = "add the batch axis with images[None]" if len(shape) == 3 else "give it that shape"
            raise UserError(f"The images have shape {shape}, but a network takes a batch [B, H, W, C]; {way_out}.")
        first = self.variables.get("params", {}).get(self.backbone[0][0], {}) if self.backbone else {}
        kernels = [leaf for _, leaf in sorted(traverse_util.flatten_dict(first).items()) if leaf.ndim == 4]
        C = kernels[0].shape[2] if kernels else shape[3]
        if shape[3] != C:
            is_nchw = shape[1] == C
            way_out = "move them there with images.transpose(0, 2, 3, 1)" if is_nchw else f"give images of {C} channels"
            raise UserError(
                f"The images have shape {shape}, but this network takes {C} channels in the last axis; {way_out}."
            )
        if min(shape[1:3]) < self.least_size:
            raise UserError(
                f"The images are {shape[1]} x {shape[2]} pixels, but this network needs at least {self.least_size} x "
                f"{self.least_size}; resize them first."
            )

    def from_stage(self, maps: jax.Array, stage: str) -> jax.Array:
        """Class scores in inference mode from the output of a backbone stage, as ``stages`` returns it."""
        names = [name for name, _ in self.backbone]
        for name in names[names.index(stage) + 1 :]:
            maps = getattr(self, name)(maps, False)
        return self.classify(self.pool(maps))


def training_stages(train: Train, stage_names: Collection[str]) -> frozenset[str]:
    """The stages in training mode, for ``train`` as ``Classifier.__call__`` takes it.

    Raises:
      UserError: for anything but a bool or a collection of these names: a stage that is not there would freeze all.

    >>> sorted(training_stages(("head",), ("stem", "head")))
    ['head']
    """
    if isinstance(train, bool | np.bool_):
        return frozenset(stage_names if train else ())
    if isinstance(train, Collection) and not isinstance(train, str) and all(name in stage_names for name in train):
        return frozenset(train)
    raise UserError(
        f"train is {train!r}, but it is True for all stages, False for none, or a tuple of some of the model's: "
        f"{', '.join(stage_names)}."
    )

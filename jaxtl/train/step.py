"""The train step and the evaluation step: gather, augment, normalise, forward, backward, update, all inside one jit."""

from collections.abc import Collection
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh

from jaxtl.data.augment import Transform
from jaxtl.data.feed import Order
from jaxtl.data.mix import Mix
from jaxtl.models.classifier import Classifier
from jaxtl.runtime.mesh import replicated
from jaxtl.train.metrics import Metrics
from jaxtl.train.state import TrainState, moving_average
from jaxtl.transfer.partition import Variables, merge_variables


def cross_entropy(logits: jax.Array, labels: jax.Array, label_smoothing: float = 0.0) -> jax.Array:
    """Cross-entropy of each example, natural logarithm.

    Args:
      logits: float ``[B, K]``.
      labels: classes, int32 ``[B]``, or soft labels that sum to 1, float ``[B, K]``.
      label_smoothing: share of the target that is spread evenly over all K classes (Szegedy et al. 2016, and
        ``torch.nn.CrossEntropyLoss``).

    Returns:
      float32 ``[B]``.
    """
    if not label_smoothing and labels.ndim == 1:
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels)
    targets = jax.nn.one_hot(labels, logits.shape[-1]) if labels.ndim == 1 else labels
    return optax.softmax_cross_entropy(logits, optax.smooth_labels(targets, label_smoothing))


def weighted(losses: jax.Array, targets: jax.Array, class_weights: np.ndarray | None) -> jax.Array:
    """Losses times the weights of their classes; soft targets have the mixed weight."""
    if class_weights is None:
        return losses
    weights = jnp.asarray(class_weights)
    return losses * (weights[targets] if targets.ndim == 1 else targets @ weights)


def make_train_step(
    model: Classifier,
    optimizer: optax.GradientTransformation,
    transform: Transform,
    mix: Mix | None = None,
    *,
    train: bool | Collection[str] = True,
    label_smoothing: float = 0.0,
    class_weights: np.ndarray | None = None,
    ema: float = 0.0,
    method: str = "__call__",
    mesh: Mesh,
) -> jax.stages.Wrapped:
    """The jitted step ``(state, frozen, inputs, labels, order, key) -> state``; the state is donated.

    Args:
      model: the classifier.
      optimizer: for the trained parameters alone.
      transform: augmentation and normalisation, uint8 images in, float32 out.
      mix: mixes the images of a batch after that, and their labels; ``None`` leaves them alone.
      train: the stages in training mode (dropout, batch statistics).
      label_smoothing: see ``cross_entropy``.
      class_weights: float32 ``[K]``, what the loss of an image of each class is multiplied by before the mean over the
        images of the batch is taken, as in Keras; a mixed image has the mixed weight; ``None``: 1.
      ema: decay of the moving average, see ``jaxtl.train.state.moving_average``; 0: none.
      method: of the model, from a batch to logits; ``"classify"`` where the inputs are features.
      mesh: devices to run on.

    The step takes the batch ``order[state.step % steps]`` of inputs that lie on the device, images as uint8
    ``[N, H, W, C]`` or features ``[N, F]``. Gradients are taken for ``state.trained`` alone; ``frozen`` holds the
    ``params`` and ``batch_stats`` that the step leaves as they are. All it draws comes from ``key`` and ``state.step``,
    so that a step can be repeated bit by bit. Of mixed images the loss is that of the soft labels, and accuracy and
    confusion count the heavier label of each.
    """

    def train_step(
        state: TrainState, frozen: Variables, inputs: jax.Array, labels: jax.Array, order: Order, key: jax.Array
    ) -> TrainState:
        row = state.step % order.indices.shape[0]
        indices, mask = order.indices[row], order.mask[row]
        targets = labels[indices]
        augment_key, dropout_key, mix_key = jax.random.split(jax.random.fold_in(key, state.step), 3)
        batch, counted = transform(augment_key, inputs[indices]), targets
        if mix is not None:
            soft = jax.nn.one_hot(targets, state.metrics.confusion.counts.shape[0])
            batch, targets = mix(mix_key, batch, soft)
            counted = targets.argmax(-1)

        def loss_fn(trained: dict[str, Any]) -> tuple[jax.Array, tuple[jax.Array, dict[str, Any]]]:
            variables = merge_variables({"params": trained, "batch_stats": state.batch_stats}, frozen)
            use: dict[str, Any] = {"method": method, "mutable": ["batch_stats"], "rngs": {"dropout": dropout_key}}
            logits, updates = model.apply(variables, batch, train=train, **use)
            losses = weighted(cross_entropy(logits, targets, label_smoothing), targets, class_weights)
            mean = jnp.where(mask, losses, 0).sum() / mask.sum()
            moved = updates.get("batch_stats", {})
            return mean, (logits, {stage: moved[stage] for stage in state.batch_stats})

        (_, (logits, batch_stats)), grads = jax.value_and_grad(loss_fn, has_aux=True)(state.trained)
        updates, opt_state = optimizer.update(grads, state.opt_state, state.trained)
        trained, step = optax.apply_updates(state.trained, updates), state.step + 1
        moved = {"params": trained, "batch_stats": batch_stats}
        # Without label smoothing and weights, so that the curves of training and validation show the same quantity.
        losses = cross_entropy(logits, targets)
        measured = Metrics.single_from_model_output(loss=losses, logits=logits, labels=counted, mask=mask)
        metrics = state.metrics.merge(measured)
        average = moving_average(state.average, moved, ema, opt_state, step) if ema else {}
        return TrainState(
            step=step, trained=trained, batch_stats=batch_stats, opt_state=opt_state, average=average, metrics=metrics
        )

    return jax.jit(train_step, donate_argnums=0, out_shardings=replicated(mesh))


def make_eval_step(
    model: Classifier, transform: Transform, *, method: str = "__call__", mesh: Mesh
) -> jax.stages.Wrapped:
    """The jitted step ``(variables, inputs, labels, order, row, metrics) -> (metrics, logits)``.

    Args:
      model: the classifier, run in inference mode.
      transform: resize and normalisation; its key is not used.
      method: see ``make_train_step``.
      mesh: devices to run on.

    ``metrics`` is donated and comes back with the batch ``order[row]`` added; logits are float32 ``[B, K]``.
    """
    unused_key = jax.random.key(0)

    def eval_step(
        variables: Variables,
        inputs: jax.Array,
        labels: jax.Array,
        order: Order,
        row: jax.Array,
        metrics: Metrics,
    ) -> tuple[Metrics, jax.Array]:
        indices, mask = order.indices[row], order.mask[row]
        targets = labels[indices]
        batch = transform(unused_key, inputs[indices])
        logits = jnp.asarray(model.apply(variables, batch, train=False, method=method))
        losses = cross_entropy(logits, targets)
        measured = Metrics.single_from_model_output(loss=losses, logits=logits, labels=targets, mask=mask)
        return metrics.merge(measured), logits

    return jax.jit(eval_step, donate_argnums=5, out_shardings=replicated(mesh))

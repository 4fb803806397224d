"""Keras 3 on its JAX backend, with the networks of ``keras.applications``.

Keras's stateless calls run in one jitted function, as its guide to custom training loops in JAX writes it: ``fit`` and
``predict`` would add copies from the host to every step. bfloat16 is the policy ``mixed_bfloat16`` in training
(variables in float32) and ``bfloat16`` in inference.
"""

import os
from typing import Any

import jax

from benchmarks.contender import LEARNING_RATE, MOMENTUM, Contender, NoSuchNetError, Task, compiled, images_and_labels
from benchmarks.contender import need as need_package

NETS = {
    **{f"resnet{depth}": f"ResNet{depth}" for depth in (50, 101, 152)},
    **{f"vgg{depth}": f"VGG{depth}" for depth in (16, 19)},
    **{f"densenet{depth}": f"DenseNet{depth}" for depth in (121, 169, 201)},
}


def contender(task: Task) -> Contender:
    """See the package.

    Its ResNets are the paper's first version, whose bottlenecks stride at the first 1x1 convolution and whose
    convolutions have biases: a little less work than ours.

    Raises:
      NoSuchNetError: ``keras.applications`` does not have the network, or not at this size.
    """
    if task.model not in NETS:
        raise NoSuchNetError(f"keras.applications has no {task.model}, so that it is measured without this peer.")
    if task.model.startswith("vgg") and task.size != 224:
        raise NoSuchNetError(
            f"The dense layers of Keras's {task.model} grow with the image, so that it is another network than ours "
            f"at {task.size} pixels and is left out; at 224 they are the same."
        )
    os.environ["KERAS_BACKEND"] = "jax"  # read once, when Keras is imported
    keras = need_package("keras", "keras")
    keras.utils.set_random_seed(task.seed)
    reduced = "bfloat16" if task.what == "inference" else "mixed_bfloat16"
    keras.config.set_dtype_policy("float32" if task.dtype == "float32" else reduced)
    model = getattr(keras.applications, NETS[task.model])(
        weights=None, classes=task.classes, classifier_activation=None, input_shape=(task.size, task.size, 3)
    )
    images, labels = jax.device_put(images_and_labels(task))

    def values(variables: Any) -> list[jax.Array]:
        return [variable.value for variable in variables]

    if task.what == "inference":

        def forward(state: Any, images: jax.Array) -> jax.Array:
            logits, _ = model.stateless_call(*state, images, training=False)
            return logits.astype("float32")

        variables = values(model.trainable_variables), values(model.non_trainable_variables)
        return compiled("Keras", jax.jit(forward), variables, images, carries=False, plain=True)

    optimizer = keras.optimizers.SGD(LEARNING_RATE, MOMENTUM)
    optimizer.build(model.trainable_variables)
    criterion = keras.losses.SparseCategoricalCrossentropy(from_logits=True)

    def loss_fn(trainable: Any, fixed: Any, images: jax.Array, labels: jax.Array) -> tuple[jax.Array, Any]:
        logits, fixed = model.stateless_call(trainable, fixed, images, training=True)
        return criterion(labels, logits), fixed

    def train_step(state: Any, images: jax.Array, labels: jax.Array) -> Any:
        trainable, fixed, moments = state
        (_, fixed), grads = jax.value_and_grad(loss_fn, has_aux=True)(trainable, fixed, images, labels)
        trainable, moments = optimizer.stateless_apply(moments, grads, trainable)
        return trainable, fixed, moments

    state = tuple(values(v) for v in (model.trainable_variables, model.non_trainable_variables, optimizer.variables))
    return compiled("Keras", jax.jit(train_step, donate_argnums=0), state, images, labels, carries=True, plain=True)

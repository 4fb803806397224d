"""Three train steps and an evaluation over a mesh; `test_several_devices.py` runs it on one device and on eight."""

import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from outcomes import Recorder

from jaxtl.data.augment import compose, horizontal_flip, normalise, pad_and_crop
from jaxtl.data.dataset import Dataset
from jaxtl.data.feed import epoch_order
from jaxtl.data.mix import random_mix
from jaxtl.models import build_model
from jaxtl.runtime.interrupts import StopFlag
from jaxtl.runtime.mesh import data_mesh, put_order, replicated
from jaxtl.train.checkpoint import flatten
from jaxtl.train.evaluate import make_evaluator
from jaxtl.train.examples import loss_weights, place
from jaxtl.train.extract import Extractor, Views
from jaxtl.train.features import FeatureCache
from jaxtl.train.optimizer import make_optimizer
from jaxtl.train.state import init_state
from jaxtl.train.step import make_train_step
from jaxtl.transfer import Phase
from jaxtl.transfer.augmentation import Augmentation
from jaxtl.transfer.partition import layer_depths, merge_variables, split_variables

BATCH = 16
TRAINED = ("stage1", "head")


def compute(mesh: Mesh) -> dict[str, Any]:
    """What training and evaluation give, by path; batch norm, dropout, a frozen stage and ragged batches included."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (37, 8, 8, 1)).astype(np.uint8)  # batches of 16, 16 and 5
    data = Dataset(images, rng.integers(0, 3, 37).astype(np.int32), ("a", "b", "c"))
    model = build_model("cnn", 3, blocks=((3,), (3,)), hidden=(), norm="after_pool", block_dropout=0.2)
    variables = jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, 8, 8, 1)))
    moving, frozen = split_variables(variables, trained=TRAINED, in_training=TRAINED)
    # SGD, as Adam's first steps blow up rounding where a gradient is all but zero.
    depths = layer_depths(variables["params"], model.stage_names)
    phase = Phase(optimizer="sgd", clip_norm=1.0, accumulate=2, layer_decay=0.5)
    optimizer = make_optimizer(phase, lambda step: 0.1, steps_per_epoch=3, depths=depths)
    preprocess = normalise([0.5], [0.5])
    transform = compose(horizontal_flip(), pad_and_crop(1), preprocess)
    options = {"label_smoothing": 0.1, "class_weights": loss_weights("balanced", data), "ema": 0.5}
    step = make_train_step(model, optimizer, transform, random_mix(0.4, 1.0), train=TRAINED, **options, mesh=mesh)
    cache = FeatureCache(Extractor(model, preprocess, BATCH, mesh, Recorder(), StopFlag()))
    kept = cache.of(variables, "training", data, Views(2, 0, Augmentation(flip=True, crop=1))).examples
    everywhere = replicated(mesh)
    state = init_state(moving["params"], moving["batch_stats"], optimizer, 3, everywhere, averaged=True)
    frozen, pixels, labels = jax.device_put((frozen, data.images, data.labels), everywhere)
    order = put_order(epoch_order(len(data), BATCH, (0,), balanced=data.labels), mesh)
    assert len(order.indices.sharding.device_set) == mesh.size
    for _ in range(3):
        state = step(state, frozen, pixels, labels, order, jax.random.key(0))
    assert step._cache_size() == 1
    found = make_evaluator(model, place(data, mesh), preprocess, batch_size=BATCH, mesh=mesh)(
        merge_variables({"params": state.trained, "batch_stats": state.batch_stats}, frozen)
    )
    return {
        "devices": mesh.size,
        "features": np.asarray(kept.inputs)[: 2 * len(data)],
        "train_loss": state.metrics.compute()["loss"],
        "train_confusion": state.metrics.compute()["confusion"],
        "loss": found.loss,
        "confusion": found.confusion,
        "predicted": found.predicted,
        "probability": found.probability,
        **flatten({"trained": state.trained, "batch_stats": state.batch_stats, "average": state.average}),
    }


if __name__ == "__main__":
    np.savez(sys.argv[1], **compute(data_mesh(BATCH)))

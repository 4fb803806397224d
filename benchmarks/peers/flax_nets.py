"""Networks written plainly in Flax, as one writes them from the papers: ``nn.Conv``, ``nn.BatchNorm``, ``nn.max_pool``.

They have the parameters of jaxtl's; the padding ``"SAME"`` is what Flax gives by default.
"""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp


class SmallCNN(nn.Module):
    """Two convolutions, one hidden dense layer."""

    classes: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Images to logits."""
        for width in (32, 64):
            x = nn.max_pool(nn.relu(nn.Conv(width, (3, 3), dtype=self.dtype)(x)), (2, 2), (2, 2))
        x = nn.relu(nn.Dense(256, dtype=self.dtype)(x.reshape(x.shape[0], -1)))
        return nn.Dense(self.classes, dtype=self.dtype)(nn.Dropout(0.5, deterministic=not train)(x))


class ResNet(nn.Module):
    """ResNet V1.5."""

    classes: int
    depths: tuple[int, ...]
    bottleneck: bool
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Images to logits."""
        conv = functools.partial(nn.Conv, use_bias=False, dtype=self.dtype)
        norm = functools.partial(nn.BatchNorm, use_running_average=not train, momentum=0.9, dtype=self.dtype)
        x = nn.relu(norm()(conv(64, (7, 7), (2, 2))(x)))
        x = nn.max_pool(x, (3, 3), (2, 2), padding="SAME")
        for i, depth in enumerate(self.depths):
            for j in range(depth):
                width, stride = 64 * 2**i, (2, 2) if i and not j else (1, 1)
                if self.bottleneck:
                    y = nn.relu(norm()(conv(width, (1, 1))(x)))
                    y = nn.relu(norm()(conv(width, (3, 3), stride)(y)))
                    y = norm()(conv(4 * width, (1, 1))(y))
                else:
                    y = nn.relu(norm()(conv(width, (3, 3), stride)(x)))
                    y = norm()(conv(width, (3, 3))(y))
                if x.shape != y.shape:
                    x = norm()(conv(y.shape[-1], (1, 1), stride)(x))
                x = nn.relu(x + y)
        return nn.Dense(self.classes, dtype=self.dtype)(x.mean((1, 2)))


class VGG(nn.Module):
    """VGG at 224 pixels, where its dense layers see 7 x 7 maps."""

    classes: int
    depths: tuple[int, ...]
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Images to logits."""
        for i, depth in enumerate(self.depths):
            for _ in range(depth):
                x = nn.relu(nn.Conv(64 * 2 ** min(i, 3), (3, 3), dtype=self.dtype)(x))
            x = nn.max_pool(x, (2, 2), (2, 2))
        x = x.reshape(x.shape[0], -1)
        for _ in range(2):
            x = nn.Dropout(0.5, deterministic=not train)(nn.relu(nn.Dense(4096, dtype=self.dtype)(x)))
        return nn.Dense(self.classes, dtype=self.dtype)(x)


class DenseNet(nn.Module):
    """DenseNet-BC; a transition convolves and then averages, as the paper has it."""

    classes: int
    depths: tuple[int, ...]
    growth: int
    width: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Images to logits."""
        conv = functools.partial(nn.Conv, use_bias=False, dtype=self.dtype)
        norm = functools.partial(nn.BatchNorm, use_running_average=not train, momentum=0.9, dtype=self.dtype)
        x = nn.relu(norm()(conv(self.width, (7, 7), (2, 2))(x)))
        x = nn.max_pool(x, (3, 3), (2, 2), padding="SAME")
        for i, depth in enumerate(self.depths):
            for _ in range(depth):
                y = conv(4 * self.growth, (1, 1))(nn.relu(norm()(x)))
                y = conv(self.growth, (3, 3))(nn.relu(norm()(y)))
                x = jnp.concatenate([x, y], axis=-1)
            x = nn.relu(norm()(x))
            if i < len(self.depths) - 1:
                x = nn.avg_pool(conv(x.shape[-1] // 2, (1, 1))(x), (2, 2), (2, 2))
        return nn.Dense(self.classes, dtype=self.dtype)(x.mean((1, 2)))


_RESNETS = {
    "resnet18": ((2, 2, 2, 2), False),
    "resnet34": ((3, 4, 6, 3), False),
    "resnet50": ((3, 4, 6, 3), True),
    "resnet101": ((3, 4, 23, 3), True),
    "resnet152": ((3, 8, 36, 3), True),
}
_VGGS = {"vgg16": (2, 2, 3, 3, 3), "vgg19": (2, 2, 4, 4, 4)}
_DENSENETS = {
    "densenet121": ((6, 12, 24, 16), 32, 64),
    "densenet161": ((6, 12, 36, 24), 48, 96),
    "densenet169": ((6, 12, 32, 32), 32, 64),
    "densenet201": ((6, 12, 48, 32), 32, 64),
}
NETS: dict[str, Any] = {
    "cnn": SmallCNN,
    **{name: functools.partial(ResNet, depths=d, bottleneck=b) for name, (d, b) in _RESNETS.items()},
    **{name: functools.partial(VGG, depths=d) for name, d in _VGGS.items()},
    **{name: functools.partial(DenseNet, depths=d, growth=g, width=w) for name, (d, g, w) in _DENSENETS.items()},
}

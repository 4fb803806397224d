"""PyTorch with torchvision's networks, eager, channels last.

Float32 on a GPU may use TF32, as jax does by default. Inference in bfloat16 stores the weights in bfloat16 and runs in
inference mode; training in bfloat16 runs under autocast, with parameters in float32. Batch norm is not folded: who
writes ``model(images)`` does not fold it either.
"""

from typing import Any

import jax

from benchmarks.contender import (
    LEARNING_RATE,
    MOMENTUM,
    Contender,
    NoSuchNetError,
    Task,
    images_and_labels,
    need,
)
from jaxtl.errors import UserError


def contender(task: Task, *, compile_it: bool = False) -> Contender:
    """See the package.

    Args:
      task: the work.
      compile_it: by ``torch.compile``, and inference in bfloat16 by autocast too.

    Raises:
      UserError: jax has a GPU here and PyTorch has not.
    """
    torch = need("torch", "torchvision")
    device = device_of(torch)
    torch.manual_seed(task.seed)
    torch.backends.cudnn.benchmark = True  # tries its algorithms first, as XLA does
    torch.set_float32_matmul_precision("high")  # TF32 where there is one, as jax does; without effect on a CPU
    name = "PyTorch, compiled" if compile_it else "PyTorch"
    dtype = getattr(torch, task.dtype)
    model = net(task).to(device, memory_format=torch.channels_last)
    pixels, classes = images_and_labels(task)
    images = torch.from_numpy(pixels.transpose(0, 3, 1, 2)).to(device).contiguous(memory_format=torch.channels_last)
    labels = torch.from_numpy(classes).to(device, torch.int64)
    autocast = torch.autocast(device.type, dtype, enabled=task.dtype != "float32")
    forward: Any = torch.compile(model) if compile_it else model

    if task.what == "inference":
        model.eval()
        if not compile_it:
            model.to(dtype)

        @torch.inference_mode()
        def step() -> None:
            if not compile_it:
                forward(images.to(dtype)).float()
                return
            with autocast:
                forward(images).float()
    else:
        optimizer = torch.optim.SGD(model.parameters(), LEARNING_RATE, MOMENTUM)

        def step() -> None:
            optimizer.zero_grad(set_to_none=True)
            with autocast:
                loss = torch.nn.functional.cross_entropy(forward(images), labels)
            loss.backward()
            optimizer.step()

    return Contender(name, step, torch.cuda.synchronize if device.type == "cuda" else lambda: None)


def net(task: Task) -> Any:
    """The network with random weights.

    Raises:
      NoSuchNetError: torchvision does not have it.
    """
    torch, torchvision = need("torch", "torchvision"), need("torchvision", "torchvision")
    if task.model == "cnn":
        return small_cnn(torch.nn, task.size, task.classes)
    if task.model not in torchvision.models.list_models():
        raise NoSuchNetError(f"torchvision has no {task.model}, so that it is measured without this peer.")
    return torchvision.models.get_model(task.model, weights=None, num_classes=task.classes)


def small_cnn(nn: Any, size: int, classes: int) -> Any:
    """jaxtl's ``cnn`` as one writes it in PyTorch."""
    return nn.Sequential(
        nn.Conv2d(3, 32, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(64 * (size // 4) ** 2, 256),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.Linear(256, classes),
    )


def device_of(torch: Any) -> Any:
    """PyTorch's name of the device that jax computes on."""
    if jax.default_backend() == "cpu":
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise UserError(
            "jax computes on a GPU here, but this PyTorch sees none; install one built for it, or set "
            "JAX_PLATFORMS=cpu to compare on the CPU."
        )
    return torch.device("cuda")

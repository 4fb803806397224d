"""Convert a finished run to PyTorch: a state dict, and the lines of Python that load it.

torchvision's networks end in one linear layer. A head with hidden layers or an activation on the logits becomes a
``torch.nn.Sequential`` in its place, which the lines build.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxtl.errors import UserError
from jaxtl.models.classifier import HEAD
from jaxtl.weights.convert import StateDict, to_torch
from jaxtl.weights.names import torch_names

# jaxtl.models.heads.Activation as PyTorch writes them; Flax's gelu is the approximation by tanh.
_ACTIVATIONS = {
    "relu": "ReLU()",
    "gelu": "GELU(approximate='tanh')",
    "silu": "SiLU()",
    "tanh": "Tanh()",
    "sigmoid": "Sigmoid()",
}


def for_torch(
    name: str, variables: Mapping[str, Any], options: Mapping[str, Any], file: str
) -> tuple[StateDict, str, tuple[str, ...]]:
    """Convert a run's variables.

    Args:
      name: one of ``list_models()``.
      variables: ``params`` and ``batch_stats`` of the model, with its head.
      options: those of the model.
      file: name of the file that the lines load.

    Returns:
      The arrays by PyTorch's keys; the network they belong to, in words; and lines of Python that build the network,
      where torchvision has it, and load the file.

    Raises:
      UserError: if PyTorch's libraries have no such network, or theirs takes another number of channels.
    """
    names, params = torch_names(name), variables["params"]
    stem = params["stem"]
    channels = np.shape(stem["conv" if "conv" in stem else "conv1"]["kernel"])[2]
    if channels != 3:
        raise UserError(
            f"This {name} takes images of {channels} channel{'s' * (channels != 1)}, and PyTorch's takes 3; use "
            "another format, or train on RGB images."
        )
    backbone = {option: value for option, value in options.items() if option != "head"}
    build, fits = _network(name, backbone, np.shape(params[HEAD]["linear"]["kernel"])[1])
    head = options.get("head", "linear")
    layers = _layers({} if isinstance(head, str) else head, params[HEAD])
    if len(layers) == 1 and "bias" in params[HEAD]["linear"]:
        state_dict = to_torch(name, variables, **backbone)
    else:
        headless = {
            kind: {stage: leaf for stage, leaf in tree.items() if stage != HEAD} for kind, tree in variables.items()
        }
        state_dict = to_torch(name, headless, **backbone)
        for i, (_, arrays) in enumerate(layers):
            state_dict |= {f"{names.head}.{i}.{leaf}": array for leaf, array in arrays.items()}
        parent, _, index = names.head.partition(".")  # `classifier.6` is `classifier[6]` in Python
        place = f"{parent}[{index}]" if index else parent
        build += (f"model.{place} = torch.nn.Sequential({', '.join(f'torch.nn.{layer}' for layer, _ in layers)})",)
        fits += " with another head"
    load = (*build, f'model.load_state_dict(torch.load("{file}", weights_only=True))', "model.eval()")
    return state_dict, fits, ("import torch", *load)


def _layers(head: Mapping[str, Any], params: Mapping[str, Any]) -> list[tuple[str, StateDict]]:
    """The head's layers as PyTorch writes them, each with its arrays; dropout has no effect in inference."""
    linears = [f"hidden{i}" for i, _ in enumerate(head.get("hidden", ()), start=1)] + ["linear"]
    activations = [head.get("activation", "relu")] * (len(linears) - 1) + [head.get("final_activation", "none")]
    layers: list[tuple[str, StateDict]] = []
    for linear, activation in zip(linears, activations, strict=True):
        kernel = np.asarray(params[linear]["kernel"])
        arrays = {"weight": np.ascontiguousarray(kernel.T)}
        if "bias" in params[linear]:
            arrays["bias"] = np.asarray(params[linear]["bias"])
        without = "" if "bias" in arrays else ", bias=False"
        layers.append((f"Linear({kernel.shape[0]}, {kernel.shape[1]}{without})", arrays))
        if activation != "none":
            layers.append((_ACTIVATIONS[activation], {}))
    return layers


def _network(name: str, options: Mapping[str, Any], num_classes: int) -> tuple[tuple[str, ...], str]:
    """The lines that build a network, and its name in words."""
    changed = ", ".join(f"{option}={value!r}" for option, value in options.items() if option != "dropout")
    if name.startswith("cifar_resnet"):
        source = f"{name.removeprefix('cifar_')}() of https://github.com/akamaster/pytorch_resnet_cifar10"
    elif name.endswith("_cifar"):
        source = f"{name.removesuffix('_cifar')}() of https://github.com/huyvnphan/PyTorch_CIFAR10"
    elif not changed:
        call = f"torchvision.models.{name}(num_classes={num_classes})"
        return ("import torchvision", f"model = {call}"), call
    else:
        source = f"torchvision.models.{name}()"
    fits = f"{source} for {num_classes} classes" + (f", changed to {changed}" if changed else "")
    return (f"model = ...  # {fits}",), fits

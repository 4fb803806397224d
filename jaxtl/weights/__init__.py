"""Pretrained weights: where they come from, how they are read, and what they are called here."""

from jaxtl.weights.cards import WeightCard, card_for, weights_for
from jaxtl.weights.convert import from_keras, from_torch, to_keras, to_torch
from jaxtl.weights.formats.keras_file import read_keras_file, write_keras_file
from jaxtl.weights.formats.safetensors_file import save
from jaxtl.weights.formats.torch_file import read_torch_file
from jaxtl.weights.formats.torch_write import write_torch_file
from jaxtl.weights.hub import hub_card, hub_tags, to_timm, write_timm_folder
from jaxtl.weights.store import load

__all__ = [
    "WeightCard",
    "card_for",
    "from_keras",
    "from_torch",
    "hub_card",
    "hub_tags",
    "load",
    "read_keras_file",
    "read_torch_file",
    "save",
    "to_keras",
    "to_timm",
    "to_torch",
    "weights_for",
    "write_keras_file",
    "write_timm_folder",
    "write_torch_file",
]

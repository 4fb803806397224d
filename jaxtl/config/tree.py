"""Configs as plain trees: dictionaries of dictionaries with values at the leaves, and a tuple of them for the phases.

A path names a node: ``data.size``, ``phases.0.epochs``.
"""

import copy
import dataclasses
import os
import pathlib
from collections.abc import Container, Iterator, Mapping
from typing import Any

import numpy as np

Tree = dict[str, Any]


def plain(config: Any) -> Any:
    """Convert any mapping, also a ``ConfigDict``, to a dict, lists to tuples, and numbers of numpy to Python's.

    Equal configs then compare equal. A dataclass, such as a ``Phase``, is the mapping of its fields; a path is a text.
    """
    if dataclasses.is_dataclass(config) and not isinstance(config, type):
        config = dataclasses.asdict(config)
    if hasattr(config, "keys"):
        return {str(key): plain(config[key]) for key in config.keys()}  # noqa: SIM118 - a ConfigDict is not a Mapping
    if isinstance(config, list | tuple):
        return tuple(plain(value) for value in config)
    if isinstance(config, np.generic | np.ndarray):
        return plain(config.tolist())
    return os.fspath(config) if isinstance(config, pathlib.PurePath) else config


def merge(base: Mapping[str, Any], changes: Mapping[str, Any]) -> Tree:
    """``base`` with the leaves of ``changes``; a tuple, also that of the phases, is replaced as a whole.

    >>> merge({"seed": 0, "data": {"size": 0, "name": "cifar10"}}, {"data": {"size": 64}})
    {'seed': 0, 'data': {'size': 64, 'name': 'cifar10'}}
    """
    merged = copy.deepcopy(dict(base))
    for key, value in changes.items():
        nested = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = merge(merged[key], value) if nested else copy.deepcopy(value)
    return merged


def assign(tree: Any, path: str, value: Any) -> None:
    """Set the leaf at ``path``, in place; missing dictionaries on the way are created, also in place of one value.

    Raises:
      IndexError, ValueError: the path counts beyond the end of a tuple, or does not count.
    """
    *parents, leaf = path.split(".")
    for parent in parents:
        if isinstance(tree, dict) and isinstance(tree.get(parent), str | int):
            tree[parent] = {}
        tree = tree[int(parent)] if isinstance(tree, tuple) else tree.setdefault(parent, {})
    tree[leaf] = value


def leaves(tree: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """(path, value) of every leaf; a tuple of dictionaries counts as a node, any other as a leaf.

    >>> list(leaves({"seed": 0, "phases": ({"epochs": 3},), "data": {"mean": (0.5,)}}))
    [('seed', 0), ('phases.0.epochs', 3), ('data.mean', (0.5,))]
    """
    if isinstance(tree, Mapping) and (tree or not path):
        for key, value in tree.items():
            yield from leaves(value, f"{path}.{key}" if path else key)
    elif _is_node(tree):
        for i, value in enumerate(tree):
            yield from leaves(value, f"{path}.{i}")
    else:
        yield path, tree


def without(tree: Any, paths: Container[str], path: str = "") -> Any:
    """A copy without the leaves at ``paths``."""
    if isinstance(tree, Mapping):
        inner = {key: f"{path}.{key}" if path else key for key in tree}
        return {key: without(value, paths, inner[key]) for key, value in tree.items() if inner[key] not in paths}
    if _is_node(tree):
        return tuple(without(value, paths, f"{path}.{i}") for i, value in enumerate(tree))
    return tree


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """The fields in which two configs differ.

    >>> differences({"seed": 0, "data": {"size": 0}}, {"seed": 1, "data": {"size": 0}, "name": "run"})
    ['name: not set -> run', 'seed: 0 -> 1']
    """
    left, right = dict(leaves(plain(old))), dict(leaves(plain(new)))
    return [
        f"{path}: {left.get(path, 'not set')} -> {right.get(path, 'not set')}"
        for path in sorted(left.keys() | right.keys())
        if left.get(path) != right.get(path)
    ]


def _is_node(tree: Any) -> bool:
    return isinstance(tree, tuple) and bool(tree) and all(isinstance(value, Mapping) for value in tree)

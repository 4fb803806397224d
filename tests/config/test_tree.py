from ml_collections import ConfigDict

from jaxtl.config.tree import assign, differences, merge, plain, without


def test_plain_forgets_containers_and_keeps_values():
    config = ConfigDict({"a": {"b": [1, 2]}, "phases": ({"epochs": 1},)})
    assert plain(config) == {"a": {"b": (1, 2)}, "phases": ({"epochs": 1},)}


def test_merge_leaves_its_arguments_alone():
    base = {"a": {"b": [1]}}
    merge(base, {"a": {"c": 2}})["a"]["b"].append(3)
    assert base == {"a": {"b": [1]}}


def test_without_reaches_into_phases():
    assert without({"a": 1, "phases": ({"b": 1, "c": 2},)}, {"a", "phases.0.c"}) == {"phases": ({"b": 1},)}


def test_values_by_name_take_the_place_of_one_value():
    tree = {"per_class": 0, "phases": ({"class_weights": "none"},)}
    assign(tree, "per_class.cat", 5)
    assign(tree, "phases.0.class_weights.cat", 2.0)
    assert tree == {"per_class": {"cat": 5}, "phases": ({"class_weights": {"cat": 2.0}},)}


def test_differences_are_named_by_path():
    assert differences({"phases": [{"epochs": 1}]}, {"phases": ({"epochs": 2}, {"epochs": 2})}) == [
        "phases.0.epochs: 1 -> 2",
        "phases.1.epochs: not set -> 2",
    ]
    assert differences({"seed": 1, "mean": [0.5]}, {"mean": (0.5,), "seed": 1}) == []

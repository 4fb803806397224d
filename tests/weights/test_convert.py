import json

import ml_dtypes
import numpy as np
import pytest
from flax import traverse_util

from jaxtl.errors import UserError
from jaxtl.models import list_models
from jaxtl.weights.cards import CARDS
from jaxtl.weights.convert import family_of, from_torch, skeleton, to_torch
from jaxtl.weights.formats.torch_file import read_torch_file

# Narrow networks with every layer of the whole ones.
NARROW = {
    "resnet18": {"width": 2},
    "resnet50": {"width": 2},
    "resnet34_cifar": {"width": 2},
    "cifar_resnet20": {"width": 2},
    "densenet121": {"growth": 2, "width": 4},
    "densenet161_cifar": {"growth": 2, "width": 4},
    "vgg11": {"width": 1, "hidden": (5, 6)},
    "vgg16_bn": {"width": 1, "hidden": (5, 6)},
    "vgg19_bn_cifar": {"width": 1, "hidden": (5, 6)},
}


def random_variables(name: str, classes: int = 3, **options: object) -> dict:
    rng = np.random.default_rng(0)
    shapes = skeleton(name, classes, **options)
    return traverse_util.unflatten_dict({path: rng.normal(size=s).astype(np.float32) for path, s in shapes.items()})


def flat(variables) -> dict[str, np.ndarray]:
    return traverse_util.flatten_dict(variables, sep="/")


def assert_same(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert found.keys() == expected.keys()
    for key, array in expected.items():
        assert found[key].dtype == array.dtype, key
        np.testing.assert_array_equal(found[key], array, key)


def refusal(call, *arguments, **options) -> str:
    with pytest.raises(UserError) as info:
        call(*arguments, **options)
    return str(info.value)


@pytest.mark.parametrize("name", NARROW)
def test_there_and_back_is_exact(name):
    variables = random_variables(name, **NARROW[name])
    state_dict = to_torch(name, variables, **NARROW[name])
    back = from_torch(name, state_dict, **NARROW[name])
    assert_same(flat(back), flat(variables))
    assert_same(to_torch(name, back, **NARROW[name]), state_dict)
    assert all(array.flags.c_contiguous for array in [*state_dict.values(), *flat(back).values()])


@pytest.mark.parametrize("name", sorted({card.model for card in CARDS if "161" in card.model or "1" not in card.model}))
def test_every_leaf_has_a_key_of_its_own(name):
    shapes = skeleton(name, 10)
    state_dict = to_torch(name, traverse_util.unflatten_dict({p: np.empty(s, np.float32) for p, s in shapes.items()}))
    norms = sum(path[-1] == "var" for path in shapes)
    assert len(state_dict) == len(shapes) + norms


def test_layouts():
    variables = random_variables("resnet18", width=2)
    state_dict = to_torch("resnet18", variables, width=2)
    kernel = variables["params"]["stage2"]["block1"]["conv2"]["kernel"]
    weight = state_dict["layer2.0.conv2.weight"]
    assert weight[1, 3, 0, 2] == kernel[0, 2, 3, 1]
    np.testing.assert_array_equal(state_dict["fc.weight"], variables["params"]["head"]["linear"]["kernel"].T)
    norm = variables["params"]["stage2"]["block1"]["shortcut_norm"]["scale"]
    np.testing.assert_array_equal(state_dict["layer2.0.downsample.1.weight"], norm)
    mean = variables["batch_stats"]["stem"]["norm"]["mean"]
    np.testing.assert_array_equal(state_dict["bn1.running_mean"], mean)


@pytest.mark.parametrize("name", ["vgg11", "vgg11_bn_cifar"])
def test_vggs_first_dense_layer_reads_the_same_maps_in_another_order(name):
    options = NARROW["vgg11"]
    variables = random_variables(name, **options)
    weight = to_torch(name, variables, **options)["classifier.0.weight"]
    bins = 1 if name.endswith("cifar") else 7
    maps = np.random.default_rng(1).normal(size=(bins, bins, 8)).astype(np.float32)
    ours = maps.reshape(-1) @ variables["params"]["hidden"]["linear1"]["kernel"]
    np.testing.assert_allclose(weight @ maps.transpose(2, 0, 1).reshape(-1), ours, rtol=1e-4, atol=1e-4)


def test_counters_of_batches_are_dropped_and_written_back():
    variables = random_variables("cifar_resnet20", width=2)
    state_dict = to_torch("cifar_resnet20", variables, width=2)
    counters = {key: array for key, array in state_dict.items() if key.endswith("num_batches_tracked")}
    assert len(counters) == 19
    assert all(array.dtype == np.int64 and array.shape == () and array == 0 for array in counters.values())
    without = {key: array for key, array in state_dict.items() if key not in counters}  # as before PyTorch 0.4.1
    assert_same(flat(from_torch("cifar_resnet20", without, width=2)), flat(variables))
    stray = without | {"conv1.num_batches_tracked": np.array(0)}
    assert "conv1.num_batches_tracked has no place" in refusal(from_torch, "cifar_resnet20", stray, width=2)


def test_old_names_of_densenet():
    options = NARROW["densenet121"]
    variables = random_variables("densenet121", **options)
    new = to_torch("densenet121", variables, **options)
    old = {}
    for key, array in new.items():
        head, dot, tail = key.rpartition("denselayer")
        for layer in ("norm", "conv") if dot else ():
            tail = tail.replace(f".{layer}1.", f".{layer}.1.").replace(f".{layer}2.", f".{layer}.2.")
        old[head + dot + tail] = array
    assert "features.denseblock1.denselayer1.norm.1.weight" in old
    assert_same(flat(from_torch("densenet121", old, **options)), flat(variables))
    both = old | {"features.denseblock1.denselayer1.norm1.weight": np.zeros(4, np.float32)}
    assert "under an old and a new name" in refusal(from_torch, "densenet121", both, **options)


def test_without_a_last_layer_there_is_no_head():
    variables = random_variables("resnet18", classes=0, width=2)
    state_dict = to_torch("resnet18", variables, width=2)
    assert not any(key.startswith("fc") for key in state_dict)
    assert "head" not in from_torch("resnet18", state_dict, width=2)["params"]


def test_half_precision_becomes_single_and_double_stays():
    state_dict = to_torch("resnet18", random_variables("resnet18", width=2), width=2)
    for given, kept in ((np.float16, np.float32), (ml_dtypes.bfloat16, np.float32), (np.float64, np.float64)):
        cast = {key: array.astype(given) for key, array in state_dict.items() if array.dtype == np.float32}
        assert {array.dtype for array in flat(from_torch("resnet18", cast, width=2)).values()} == {np.dtype(kept)}


def test_every_problem_is_named_in_one_error():
    state_dict = to_torch("resnet18", random_variables("resnet18", width=2), width=2)
    del state_dict["layer4.1.bn2.running_var"]
    state_dict["layer1.0.conv1.weight"] = np.zeros((2, 2, 1, 1), np.float32)
    state_dict["bn1.bias"] = np.zeros(2, np.int64)
    state_dict["aux.weight"] = np.zeros(1, np.float32)
    message = refusal(from_torch, "resnet18", state_dict, width=2)
    assert message.startswith("The state dict does not fit resnet18: 100 of 102 keys fit: ")
    for problem in (
        "layer4.1.bn2.running_var is missing",
        "layer1.0.conv1.weight has shape (2, 2, 1, 1) where the model has (2, 2, 3, 3)",
        "bn1.bias has type int64, no floating-point numbers",
        "aux.weight has no place",
    ):
        assert problem in message

    variables = random_variables("resnet18", width=2)
    del variables["params"]["stem"]
    variables["params"]["stage1"]["block1"]["conv1"]["kernel"] = np.zeros((1, 1, 2, 2))
    variables["params"]["stage9"] = {"kernel": np.zeros(1)}
    message = refusal(to_torch, "resnet18", variables, width=2)
    for problem in (
        "params/stem/conv/kernel is missing",
        "params/stage1/block1/conv1/kernel has shape (1, 1, 2, 2) where the model has (3, 3, 2, 2)",
        "params/stage9/kernel has no place",
    ):
        assert problem in message


def test_weights_of_another_network_are_refused_with_every_problem_named():
    state_dict = to_torch("resnet18", random_variables("resnet18", width=2), width=2)
    message = refusal(from_torch, "resnet34_cifar", state_dict, width=2)
    assert "does not fit resnet34_cifar: 101 of 182 keys fit: layer1.2" in message
    assert message.count("is missing") == 80
    assert message.endswith("Take weights of the same architecture, and give the options that they were made with.")


class NoArray:
    """As a tensor on a GPU, or one that a gradient is asked of."""

    def __array__(self, *arguments, **options):
        raise RuntimeError("Can't call numpy() on Tensor that requires grad")


def test_a_state_dict_takes_whatever_is_an_array_and_names_the_rest():
    variables = random_variables("resnet18", width=2)
    state_dict = to_torch("resnet18", variables, width=2)
    lists = from_torch("resnet18", {key: array.tolist() for key, array in state_dict.items()}, width=2)
    np.testing.assert_array_equal(
        lists["params"]["head"]["linear"]["kernel"], variables["params"]["head"]["linear"]["kernel"]
    )
    message = refusal(from_torch, "resnet18", state_dict | {"bn1.bias": NoArray()}, width=2)
    assert "bn1.bias in the state dict is of type NoArray, which is no array (Can't call numpy()" in message
    for wrong in ("resnet18.pth", [1], {1: np.zeros(3)}):
        assert f"The state dict is of type {type(wrong).__name__}" in refusal(from_torch, "resnet18", wrong)
    assert "The variables are of type list" in refusal(to_torch, "resnet18", [1])


def test_heads_and_models_without_counterpart_are_refused():
    head = {"head": {"hidden": (4,)}, "width": 2}
    variables = random_variables("resnet18", **head)
    message = refusal(to_torch, "resnet18", variables, **head)
    assert "params/head/hidden1/kernel has no counterpart in PyTorch" in message
    assert "params/head/hidden1/kernel has no counterpart" in refusal(
        from_torch, "resnet18", to_torch("resnet18", random_variables("resnet18", width=2), width=2), **head
    )
    assert refusal(family_of, "bn_cnn").startswith("bn_cnn has no counterpart in PyTorch")
    assert "did you mean 'resnet18'?" in refusal(from_torch, "resnet19", {})


def test_every_model_with_a_card_exists():
    assert {card.model for card in CARDS} <= set(list_models())


# --- real files ---


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_real_tables_of_keys_and_shapes(shared_weights, name):
    table = json.loads((shared_weights / "torchvision_partial" / f"{name}_state_dict_shapes.json").read_text())
    variables = from_torch(name, {key: np.zeros(shape, np.float32) for key, shape in table.items()})
    back = to_torch(name, variables)
    assert {key: list(a.shape) for key, a in back.items() if not key.endswith("num_batches_tracked")} == table


@pytest.mark.parametrize("file", ["resnet20-12fca82f.th", "resnet32-d509ac18.th"])
def test_real_weights_come_back_bit_for_bit(shared_weights, file):
    state_dict = read_torch_file(shared_weights / "cifar10_resnet" / file)
    name = f"cifar_{file.partition('-')[0]}"
    back = to_torch(name, from_torch(name, state_dict))
    assert_same({key: back[key] for key in state_dict}, state_dict)
    assert all(key.endswith("num_batches_tracked") for key in back.keys() - state_dict.keys())

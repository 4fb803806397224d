import json

import ml_dtypes
import numpy as np
import pytest
from flax import traverse_util

from jaxtl.errors import UserError
from jaxtl.models import list_models
from jaxtl.weights.cards import CARDS
from jaxtl.weights.convert import from_keras, from_torch, skeleton, to_keras, to_torch
from jaxtl.weights.formats.torch_file import read_torch_file
from jaxtl.weights.names import KERAS_MODELS, keras_names, torch_names

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
    drawn = {leaf: rng.normal(size=shape).astype(np.float32) for leaf, shape in shapes.items()}
    return traverse_util.unflatten_dict(drawn, sep="/")


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
    flat = {leaf: np.empty(shape, np.float32) for leaf, shape in shapes.items()}
    state_dict = to_torch(name, traverse_util.unflatten_dict(flat, sep="/"))
    norms = sum(leaf.endswith("/var") for leaf in shapes)
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
        "bn1.bias has type int64, not floating-point numbers",
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


def test_weights_of_another_network_are_refused_in_few_words():
    state_dict = to_torch("resnet18", random_variables("resnet18", width=2), width=2)
    message = refusal(from_torch, "resnet34_cifar", state_dict, width=2)
    assert "does not fit resnet34_cifar: 101 of 182 keys fit: layer1.2" in message
    assert message.count("is missing") == 8
    assert "; and 72 more like this; " in message
    assert message.endswith("Take weights of the same architecture, and give the options that they were made with.")


@pytest.mark.parametrize("name", KERAS_MODELS)
def test_keras_there_and_back_is_exact(name):
    options = {"width": 1, "hidden": (5, 6)} if name.startswith("vgg") else {"width": 2}
    if name.startswith("densenet"):
        options["growth"] = 2
    variables = random_variables(name, **options)
    arrays = to_keras(name, variables, **options)
    assert len(arrays) == len(flat(variables))
    assert_same(flat(from_keras(name, arrays, **options)), flat(variables))


def test_what_keras_calls_a_layer():
    names = {path: keras_names(name).key(path) for name, path in (
        ("vgg16", "params/stage4/conv3/kernel"), ("vgg16", "params/hidden/linear1/bias"),
        ("densenet121", "params/stage1/layer2/norm1/bias"), ("densenet121", "batch_stats/stage1/transition/norm/var"),
        ("densenet121", "batch_stats/stage4/norm/mean"), ("densenet121", "params/head/linear/kernel"),
    )}  # fmt: skip
    assert list(names.values()) == [
        "block5_conv3/kernel", "fc1/bias", "conv2_block2_0_bn/beta", "pool2_bn/moving_variance", "bn/moving_mean",
        "predictions/kernel",
    ]  # fmt: skip
    assert "resnet50 has no counterpart in Keras's applications, which have vgg16," in refusal(keras_names, "resnet50")


def test_keras_takes_blue_first_where_its_mean_is_subtracted():
    for name, turned in (("vgg16", True), ("densenet121", False)):
        options = {"width": 1, "hidden": ()} if turned else {"width": 2, "growth": 2}
        variables = random_variables(name, **options)
        first = flat(variables)["params/stem/conv1/kernel" if turned else "params/stem/conv/kernel"]
        found = next(iter(to_keras(name, variables, **options).values()))
        np.testing.assert_array_equal(found, first[:, :, ::-1] if turned else first)


def test_keras_without_top():
    variables = random_variables("vgg16", classes=0, width=1, hidden=())
    arrays = to_keras("vgg16", variables, width=1, hidden=())
    assert list(arrays)[-1] == "block5_conv3/bias"
    assert_same(flat(from_keras("vgg16", arrays, width=1, hidden=())), flat(variables))
    assert "fc1/kernel is missing" in refusal(from_keras, "vgg16", arrays, width=1)


PREFIXES = ("model.", "_orig_mod.module.", "module._orig_mod.", "model._orig_mod.backbone.", "ema_model.module.")


@pytest.mark.parametrize("prefix", PREFIXES)
def test_a_prefix_with_which_all_keys_fit_is_taken_off_with_a_word(prefix):
    variables = random_variables("resnet18", width=2)
    state_dict = {prefix + key: array for key, array in to_torch("resnet18", variables, width=2).items()}
    with pytest.warns(UserWarning, match=f"The prefix '{prefix}' was taken off the keys of resnet18."):
        assert_same(flat(from_torch("resnet18", state_dict, width=2)), flat(variables))


def test_what_stands_beside_the_network_is_left_out_with_a_word():
    variables = random_variables("resnet18", width=2)
    network = to_torch("resnet18", variables, width=2)
    averaged = {"n_averaged": np.array(7), **{f"module.{key}": array for key, array in network.items()}}
    with pytest.warns(UserWarning, match=r"'module.' was taken off .*; other keys were left out \(1\): n_averaged"):
        assert_same(flat(from_torch("resnet18", averaged, width=2)), flat(variables))
    both = {f"online_model.{key}": np.zeros_like(array) for key, array in network.items()}
    both |= {f"ema_model.{key}": array for key, array in network.items()} | {"step": np.array(3)}
    with pytest.warns(UserWarning, match=r"'ema_model.' was taken off .*; other keys were left out \(123\): online"):
        assert_same(flat(from_torch("resnet18", both, width=2)), flat(variables))


@pytest.mark.parametrize("wrapper", ["state_dict", "model", "model_ema"])
def test_the_state_dict_in_a_checkpoint_is_found(wrapper):
    variables = random_variables("resnet18", width=2)
    checkpoint = {"epoch": 3, wrapper: to_torch("resnet18", variables, width=2), "optimizer": {"state": {}}}
    assert_same(flat(from_torch("resnet18", checkpoint, width=2)), flat(variables))


def test_a_prefix_that_does_not_help_is_named():
    state_dict = to_torch("resnet18", random_variables("resnet18", width=2), width=2)
    message = refusal(from_torch, "cifar_resnet20", {f"model.{key}": array for key, array in state_dict.items()})
    assert message.startswith("The state dict (its keys all begin with 'model.') does not fit cifar_resnet20: 0 of ")
    assert len(message) < 2000


def test_keys_come_in_the_order_of_pytorch():
    keys = list(to_torch("resnet18", random_variables("resnet18", width=2), width=2))
    assert keys[:7] == ["conv1.weight", *(f"bn1.{leaf}" for leaf in BATCH_NORM), "layer1.0.conv1.weight"]
    assert keys[-2:] == ["fc.weight", "fc.bias"]


BATCH_NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


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
    assert "bn1.bias in the state dict is of type NoArray, which is not an array (Can't call numpy()" in message
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
    assert refusal(torch_names, "bn_cnn").startswith("bn_cnn has no counterpart in PyTorch")
    assert refusal(torch_names, "resnet50_v1").startswith("resnet50_v1 has no counterpart in PyTorch")
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

"""Networks of timm itself and ours give the same logits for the same weights, both ways.

It runs where torch and timm are installed: ``pip install timm``. ``make test-parity`` compares all networks.
"""

import warnings

import jax
import numpy as np
import pytest
from flax import traverse_util

import jaxtl
from jaxtl.weights import hub, hub_tags, write_timm_folder
from jaxtl.weights.convert import skeleton

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    torch = pytest.importorskip("torch", reason="torch and timm, whose networks ours are compared with, are missing")
    timm = pytest.importorskip("timm", reason="timm, whose networks ours are compared with, is not installed")

QUICK = ("resnet18", "densenet121")
NETWORKS = [pytest.param(name, marks=() if name in QUICK else pytest.mark.parity) for name in hub.timm_models()]
TOLERANCE = 1e-5


def difference(net, model, variables, size: int) -> float:
    """The largest difference of two networks' logits, of the largest logit."""
    images = np.random.default_rng(1).normal(size=(2, size, size, 3)).astype(np.float32)
    with torch.no_grad():
        theirs = net.eval()(torch.from_numpy(images.transpose(0, 3, 1, 2).copy())).numpy()
    ours = np.asarray(jax.jit(lambda v, x: model.apply(v, x, train=False))(variables, images))
    return float(np.abs(ours - theirs).max() / np.abs(theirs).max())


def drawn(rng, path: str, shape: tuple[int, ...]) -> np.ndarray:
    if path.endswith(("/scale", "/var")):
        return rng.uniform(0.5, 1.5, shape).astype(np.float32)
    fan_in = max(1, int(np.prod(shape[:-1])))
    return rng.normal(scale=(2 / fan_in) ** 0.5 if path.endswith("/kernel") else 0.1, size=shape).astype(np.float32)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_of_timm_is_ours(name, tmp_path):
    torch.manual_seed(0)
    net = timm.create_model(name, num_classes=9)
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 1.5)
    timm.models.save_for_hf(net, tmp_path, safe_serialization=True)
    model, variables = jaxtl.create_model(name, weights=f"local-dir:{tmp_path}", key=jax.random.key(0))
    assert difference(net, model, variables, 224) <= TOLERANCE
    assert difference(net, model, variables, 160) <= TOLERANCE


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_of_ours_is_timms(name, tmp_path):
    rng = np.random.default_rng(0)
    flat = {path: drawn(rng, path, shape) for path, shape in skeleton(name, 9).items()}
    variables = traverse_util.unflatten_dict(flat, sep="/")
    labels = [f"class {i}" for i in range(9)]
    write_timm_folder(name, variables, tmp_path, mean=(0.5,) * 3, std=(0.25,) * 3, resize=232, labels=labels)
    net = timm.create_model(f"local-dir:{tmp_path}", pretrained=True)
    data = timm.data.resolve_model_data_config(net)
    assert [list(data[key]) for key in ("mean", "std", "input_size")] == [[0.5] * 3, [0.25] * 3, [3, 224, 224]]
    assert timm.data.create_transform(**data).transforms[0].size == 232
    assert net.pretrained_cfg["label_names"] == labels
    model = jaxtl.models.build_model(name, 9)
    assert difference(net, model, variables, 224) <= TOLERANCE
    other = timm.create_model(f"local-dir:{tmp_path}", pretrained=True, num_classes=4)  # timm takes the head off
    assert other.get_classifier().weight.shape[0] == 4


def test_the_table_of_tags_is_timms():
    registry = {name for net in hub.timm_models() for name in timm.list_pretrained(f"{net}.*")}
    ours = {row["weights"].removeprefix("hf:timm/"): row for row in hub_tags()}
    assert set(ours) <= registry | {"resnet50.bamboo"}
    for name in set(ours) & registry:
        cfg = timm.models.get_pretrained_cfg(name)
        assert (ours[name]["licence"] or None) == cfg.license
        assert ours[name]["weights"] == f"hf:{cfg.hf_hub_id}"

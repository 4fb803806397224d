"""The hub as a source: a local server that answers as the Hugging Face hub does, and folders for timm."""

import http.server
import importlib
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import jax
import numpy as np
import pytest
from flax import traverse_util

import jaxtl
from jaxtl.config.model import check_normalisation
from jaxtl.errors import UserError
from jaxtl.weights import from_torch, hub, hub_card, hub_tags, store, to_timm, write_timm_folder
from jaxtl.weights.__main__ import main
from jaxtl.weights.convert import skeleton
from jaxtl.weights.formats.torch_file import read_torch_file

NAME, REPOSITORY, COMMIT = "resnet18", "timm/resnet18.a1_in1k", "0" * 40
SOURCE = f"hf:{REPOSITORY}"


def random_variables(name: str, classes: int) -> dict:
    rng = np.random.default_rng(0)
    shapes = skeleton(name, classes)
    return traverse_util.unflatten_dict({leaf: rng.random(of, np.float32) for leaf, of in shapes.items()}, sep="/")


def same(found, expected) -> bool:
    return jax.tree.all(jax.tree.map(np.array_equal, found, expected))


@pytest.fixture(scope="module")
def repository(tmp_path_factory) -> tuple[Path, dict]:
    """A folder as timm's repositories are, and the variables in it."""
    folder, variables = tmp_path_factory.mktemp("repository"), random_variables(NAME, 7)
    labels = [f"class {i}" for i in range(7)]
    mean, std = (0.5, 0.4, 0.3), (0.1, 0.2, 0.3)
    write_timm_folder(NAME, variables, folder, mean=mean, std=std, resize=232, interpolation="bicubic", labels=labels)
    return folder, variables


class Handler(http.server.BaseHTTPRequestHandler):
    def do_HEAD(self) -> None:
        self.answer(body=False)

    def do_GET(self) -> None:
        self.answer(body=True)

    def answer(self, body: bool) -> None:
        self.server.asked.append(self.path)
        path, _, rest = self.path[1:].partition("/resolve/")
        revision, _, file = rest.partition("/")
        files = self.server.repositories.get(path)
        if files is None:
            return self.refuse("RepoNotFound")
        if revision not in ("main", "v2", COMMIT):
            return self.refuse("RevisionNotFound")
        if file not in files:
            return self.refuse("EntryNotFound")
        content = files[file]
        self.send_response(200)
        self.send_header("ETag", f'"{hash(content):x}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if body:
            self.wfile.write(content)
        return None

    def refuse(self, code: str) -> None:
        self.send_response(404)
        self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *arguments: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch, repository, tmp_path) -> Iterator[http.server.ThreadingHTTPServer]:
    """A hub with one repository; ``huggingface_hub`` is told of it by its own variables, and its cache is empty."""
    constants = pytest.importorskip("huggingface_hub.constants", reason="huggingface_hub is not installed")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.repositories = {REPOSITORY: {path.name: path.read_bytes() for path in repository[0].iterdir()}}
        server.asked = []
        with monkeypatch.context() as variables:
            variables.setenv("no_proxy", "127.0.0.1")
            variables.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
            variables.setenv("HF_HOME", str(tmp_path / "hub"))
            variables.setenv("HF_HUB_DISABLE_XET", "1")
            variables.setenv("HF_HUB_DISABLE_PROGRESS_BARS", "1")
            importlib.reload(constants)
            thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
            thread.start()
            yield server
            server.shutdown()
            thread.join()
        importlib.reload(constants)


def refusal(call, *arguments, **options) -> str:
    with pytest.raises(UserError) as info:
        call(*arguments, **options)
    assert "\n" not in str(info.value)
    return str(info.value)


# --- from the hub ---


def test_a_network_comes_from_the_hub_with_its_head(server, repository):
    model, variables = jaxtl.create_model(NAME, weights=SOURCE, key=jax.random.key(0))
    assert same(variables, repository[1])
    assert model.apply(variables, np.zeros((1, 32, 32, 3), np.float32)).shape == (1, 7)
    _, fresh = jaxtl.create_model(NAME, 3, weights=f"{SOURCE}@v2", key=jax.random.key(0))
    assert fresh["params"]["head"]["linear"]["kernel"].shape == (512, 3)
    assert same(fresh["params"]["stage1"], variables["params"]["stage1"])
    assert any("/resolve/v2/" in path for path in server.asked)


def test_a_card_says_how_images_are_prepared(server):
    card = hub_card(SOURCE)
    assert (card.model, card.tag, card.classes) == (NAME, SOURCE, 7)
    assert (card.mean, card.std) == ((0.5, 0.4, 0.3), (0.1, 0.2, 0.3))
    assert (card.input_size, card.resize, card.interpolation) == (224, 232, "bicubic")
    assert card.labels[3] == "class 3"


def test_what_was_fetched_is_not_fetched_again(server, repository):
    store.load(NAME, SOURCE)
    fetched = len(server.asked)
    assert same(store.load(NAME, SOURCE), repository[1])
    assert len(server.asked) - fetched <= 2  # one question a file, whether it has changed
    server.repositories.clear()
    assert "there is no such repository" in refusal(store.load, NAME, f"{SOURCE}x")


def test_offline_the_cache_is_enough(server, repository, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    message = refusal(store.load, NAME, SOURCE)
    assert "the hub cannot be reached, and the file is not in the cache" in message
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    store.load(NAME, SOURCE)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    asked = len(server.asked)
    assert same(store.load(NAME, SOURCE), repository[1])
    assert len(server.asked) == asked


def test_what_the_hub_lacks_is_said_in_a_sentence(server):
    assert "there is no such repository, or it is private" in refusal(hub_card, "hf:timm/none")
    assert "has no such revision" in refusal(hub_card, f"{SOURCE}@v9")
    assert "not the name of a repository" in refusal(hub_card, "hf:a/b/c")
    assert "not the name of a repository" in refusal(hub_card, "hf:")
    del server.repositories[REPOSITORY]["model.safetensors"]
    server.repositories[REPOSITORY]["pytorch_model.bin"] = b""
    assert "the repository has no model.safetensors" in refusal(store.load, NAME, SOURCE)


def test_a_network_that_is_not_ours_is_refused_by_name(server):
    def answer(**changes) -> str:
        config = {"architecture": NAME, "pretrained_cfg": {"input_size": [3, 64, 64], "mean": [0] * 3, "std": [1] * 3}}
        source = f"o/n{len(server.repositories)}"  # a new one each time, for the cache keeps what it has
        server.repositories[source] = {"config.json": json.dumps(config | changes).encode()}
        return refusal(store.load, NAME, f"hf:{source}")

    assert "is a 'resnet50d', which is not one of our architectures; did you mean 'resnet50'?" in answer(
        architecture="resnet50d"
    )
    assert "is a 'vit_base', which is not one of our architectures; choose one of: densenet121" in answer(
        architecture="vit_base"
    )
    assert "is a resnet50, but the model is resnet18" in answer(architecture="resnet50")
    assert "names no architecture of timm" in answer(architecture=None)
    arguments = {"act_layer": "gelu", "drop_rate": 0.1, "global_pool": "avg", "in_chans": 1}
    assert "changed by act_layer='gelu', in_chans=1, which ours cannot be" in answer(model_args=arguments)
    for broken in ({"pretrained_cfg": 3}, {"pretrained_cfg": {}}, {"num_classes": "x"}, {"model_args": 1}):
        assert "cannot be used (" in answer(**broken)


def test_without_huggingface_hub_one_sentence_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "huggingface_hub", None)
    assert "pip install 'jaxtl[hub]'" in refusal(store.load, NAME, SOURCE)


# --- folders ---


def test_a_folder_of_timm_is_read_as_a_repository(repository):
    folder, variables = repository
    assert same(store.load(NAME, f"local-dir:{folder}"), variables)
    assert "There is no file" in refusal(store.load, NAME, f"local-dir:{folder}/none")


def test_vgg_has_convolutions_for_timm_and_comes_back(monkeypatch):
    rng = np.random.default_rng(0)
    narrow = {"width": 2, "hidden": (5, 6), "bins": 7}
    shapes = skeleton("vgg11_bn", 3, **narrow)
    variables = traverse_util.unflatten_dict({leaf: rng.random(of, np.float32) for leaf, of in shapes.items()}, sep="/")
    convert = hub.to_torch
    monkeypatch.setattr(hub, "to_torch", lambda name, variables: convert(name, variables, **narrow))
    arrays = to_timm("vgg11_bn", variables)
    assert arrays["pre_logits.fc1.weight"].shape == (5, 16, 7, 7)
    assert arrays["pre_logits.fc2.weight"].shape == (6, 5, 1, 1)
    assert arrays["head.fc.bias"].shape == (3,)
    assert same(from_torch("vgg11_bn", arrays, **narrow), variables)


def test_networks_that_timm_lacks_are_named():
    assert "timm has no cifar_resnet20; there are: densenet121" in refusal(to_timm, "cifar_resnet20", {})


def test_convert_writes_a_folder_for_timm(repository, tmp_path, capsys):
    folder, _ = repository
    assert main(["convert", NAME, str(folder / "model.safetensors"), "--to-timm", "--output", str(tmp_path / "x")]) == 0
    config = json.loads((tmp_path / "x" / "config.json").read_text())
    assert config["architecture"] == NAME
    assert config["pretrained_cfg"]["classifier"] == "fc"
    written, original = (read_torch_file(f / "model.safetensors") for f in (tmp_path / "x", folder))
    assert written.keys() == original.keys()


def test_convert_takes_what_an_export_says_of_its_images(repository, tmp_path):
    file = tmp_path / "model.safetensors"
    file.write_bytes((repository[0] / "model.safetensors").read_bytes())
    about = {
        "class_names": list("abcdefg"),
        "input": {"image_shape": [64, 64, 3], "mean": [0.5], "std": [0.1, 0.2, 0.3]},
    }
    (tmp_path / "model.json").write_text(json.dumps(about))
    assert main(["convert", NAME, str(file), "--to-timm"]) == 0
    card = hub_card(f"local-dir:{tmp_path / 'model.timm'}")
    assert (card.mean, card.std, card.labels) == ((0.5,) * 3, (0.1, 0.2, 0.3), tuple("abcdefg"))
    assert (card.input_size, card.resize) == (64, 64)


# --- the table ---


def test_the_table_of_the_hub_needs_no_network(capsys):
    assert main(["list", "resnet5*", "--hub"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [" ".join(line.split()) for line in lines if ".a1_in1k" in line] == [
        "hf:timm/resnet50.a1_in1k resnet50 81.214 288 apache-2.0"
    ]
    assert main(["list", "resnet50", "--hub", "--markdown"]) == 0
    heading, line, *rows = capsys.readouterr().out.splitlines()
    assert heading == "| weights | model | top-1 % | at pixels | licence |" and line == "|" + " --- |" * 5
    assert "| hf:timm/resnet50.a1_in1k | resnet50 | 81.214 | 288 | apache-2.0 |" in rows
    assert main(["list", "cnn", "--hub"]) == 2
    assert {row["model"] for row in hub_tags()} == set(hub.timm_models())
    assert all(row["weights"].startswith(f"hf:timm/{row['model']}.") for row in hub_tags())


def test_a_config_that_normalises_otherwise_is_warned(repository):
    folder, _ = repository
    data = {"mean": (0.5,), "std": (0.1, 0.2, 0.3)}
    with pytest.warns(UserWarning, match=r"data.mean is \(0.5,\), but the weights .* expect \(0.5, 0.4, 0.3\)") as told:
        check_normalisation(f"local-dir:{folder}", data)
    assert len(told) == 1

import dataclasses
import hashlib
import http.server
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import jax
import numpy as np
import pytest
import safetensors.numpy
from flax import traverse_util

from jaxtl.errors import UserError
from jaxtl.runtime import fetch as fetch_module
from jaxtl.weights import cards, store
from jaxtl.weights.__main__ import main
from jaxtl.weights.convert import skeleton, to_keras, to_torch
from jaxtl.weights.formats.keras_file import write_keras_file
from jaxtl.weights.formats.safetensors_file import save
from jaxtl.weights.formats.torch_file import read_torch_file

NAME, TAG, FILE = "cifar_resnet20", "cifar10", "resnet20-12fca82f.th"


@pytest.fixture(scope="module")
def variables() -> dict:
    rng = np.random.default_rng(0)
    leaves = {path: rng.normal(size=shape).astype(np.float32) for path, shape in skeleton(NAME, 10).items()}
    return traverse_util.unflatten_dict(leaves, sep="/")


@pytest.fixture(scope="module")
def original(writer, variables) -> bytes:
    """The publisher's file, of 1.1 MB."""
    windows, storages = writer.windows_of({f"module.{k}": v for k, v in to_torch(NAME, variables).items()})
    return writer.legacy_file(writer.dict_of({"state_dict": writer.described(windows, storages)}), storages)


class Server(http.server.ThreadingHTTPServer):
    """Serves ``body``; ``plan`` holds what befalls each request before all goes well."""

    body = b""
    requests = 0

    def handle_error(self, request, client_address) -> None:
        pass  # a client that has given up


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        server = self.server
        fate = server.plan.pop(0) if server.plan else "well"
        server.requests += 1
        if fate == "404":
            self.send_error(404)
            return
        body = bytes(len(server.body)) if fate == "wrong" else server.body
        asked = self.headers.get("Range")
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        rest = body[start:]
        self.wfile.write(rest if fate in ("well", "wrong") else rest[: len(rest) // 2])
        if fate == "stall":
            self.wfile.flush()
            server.released.wait(5)

    def log_message(self, format: str, *arguments: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch, original) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(fetch_module, "RETRY_PAUSES_S", (0.01, 0.01))
    with Server(("127.0.0.1", 0), Handler) as server:
        server.body, server.plan, server.released = original, [], threading.Event()
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.released.set()
        server.shutdown()
        thread.join()


@pytest.fixture
def card(monkeypatch, tmp_path, server, original) -> cards.WeightCard:
    """The only card, of a file that the server has; the cache is empty."""
    monkeypatch.setenv("JAXTL_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv(store.FOLDER_VARIABLE, raising=False)
    digest = hashlib.sha256(original).hexdigest()[:8]
    url = f"http://127.0.0.1:{server.server_port}/{FILE}"
    card = dataclasses.replace(cards.card_for(NAME, TAG), url=url, sha256=digest)
    monkeypatch.setattr(cards, "CARDS", (card,))
    return card


def load(**options) -> dict:
    return store.load(NAME, TAG, **options)


def assert_same(found, expected) -> None:
    found, expected = ({"": tree} if isinstance(tree, np.ndarray) else tree for tree in (found, expected))
    found, expected = traverse_util.flatten_dict(found), traverse_util.flatten_dict(expected)
    assert found.keys() == expected.keys()
    for path, array in expected.items():
        np.testing.assert_array_equal(found[path], array, "/".join(path))


def refusal(call, *arguments, **options) -> str:
    with pytest.raises(UserError) as info:
        call(*arguments, **options)
    assert "\n" not in str(info.value)
    return str(info.value)


def kept(tmp_path) -> list[str]:
    return sorted(path.name for path in (tmp_path / "cache").rglob("*") if path.is_file())


# --- download ---


def test_a_file_is_downloaded_once_and_kept(card, server, tmp_path, variables):
    assert_same(load(), variables)
    assert kept(tmp_path) == [FILE]
    assert_same(load(), variables)
    assert server.requests == 1


def test_a_broken_download_goes_on_where_it_broke(card, server, variables):
    server.plan = ["break", "break"]
    assert_same(load(), variables)
    assert server.requests == 3


def test_what_broke_for_good_is_not_trusted_and_a_later_run_goes_on(card, server, tmp_path, variables):
    server.plan = ["break"] * 3
    assert "the connection closed after" in refusal(load)
    assert kept(tmp_path) == [f"{FILE}.partial"]
    assert_same(load(), variables)
    assert kept(tmp_path) == [FILE]


def test_wrong_bytes_are_thrown_away(card, server, tmp_path, variables):
    server.plan = ["wrong"]
    assert f"instead of {card.sha256}: it was deleted" in refusal(load)
    assert kept(tmp_path) == []
    assert_same(load(), variables)


def test_a_404_gives_the_address_and_where_to_put_the_file(card, server, tmp_path):
    server.plan = ["404"]
    message = refusal(load)
    assert f"Cannot download {card.url}: the server answered 404" in message
    assert message.endswith(f"get the file by other means and put it at {store.download_path(card)}.")
    assert kept(tmp_path) == []


def test_a_server_that_falls_silent_is_given_up(card, server, tmp_path, monkeypatch):
    monkeypatch.setattr(fetch_module, "TIMEOUT_S", 0.2)
    server.plan = ["stall"] * 3
    assert "the server stayed silent for 0.2 s" in refusal(load)
    assert kept(tmp_path) == [f"{FILE}.partial"]


def test_offline_a_file_put_where_the_error_says_is_found(card, monkeypatch, server, tmp_path, original, variables):
    offline = dataclasses.replace(card, url="http://127.0.0.1:1/" + FILE)
    monkeypatch.setattr(cards, "CARDS", (offline,))
    message = refusal(load)
    assert message.startswith(f"Cannot reach {offline.url}")
    place = Path(message.rpartition("put it at ")[2].removesuffix("."))
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(original)
    assert_same(load(), variables)
    assert place.exists()  # what a person put there is theirs
    assert server.requests == 0


# --- folders ---


@pytest.mark.parametrize("place", [FILE, f"state_dicts/{FILE}", f"{NAME}/{FILE}"])
@pytest.mark.parametrize("by_variable", [True, False])
def test_a_file_in_a_named_folder_is_taken_and_left_there(
    card, server, tmp_path, monkeypatch, original, variables, place, by_variable
):
    path = tmp_path / "mine" / place
    path.parent.mkdir(parents=True)
    path.write_bytes(original)
    if by_variable:
        monkeypatch.setenv(store.FOLDER_VARIABLE, str(tmp_path / "mine"))
    assert_same(load(weights_dir=None if by_variable else tmp_path / "mine"), variables)
    assert path.exists()
    assert server.requests == 0


def test_a_wrong_file_in_a_named_folder_is_named(card, server, tmp_path, original):
    (tmp_path / FILE).write_bytes(original[:-1])
    message = refusal(load, weights_dir=tmp_path)
    assert f"{tmp_path / FILE} is not the file of {NAME} {TAG}: its SHA-256 begins with" in message
    assert server.requests == 0
    assert "There is no folder" in refusal(load, weights_dir=tmp_path / "none")


def test_a_damaged_file_in_the_cache_is_named(card, server):
    load()
    path = store.download_path(card)
    path.write_bytes(path.read_bytes()[:-5])
    assert f"{path} is not the expected file" in refusal(load)


def test_weights_of_this_project_lie_in_the_clone_in_half_precision(card, server, monkeypatch, tmp_path, variables):
    halves = jax.tree.map(lambda leaf: leaf.astype(np.float16), variables)
    save(halves, tmp_path / "ours.safetensors")
    digest = hashlib.sha256((tmp_path / "ours.safetensors").read_bytes()).hexdigest()[:8]
    ours = dataclasses.replace(card, file="ours.safetensors", url=None, sha256=digest)
    monkeypatch.setattr(cards, "CARDS", (ours,))
    assert "in the folder weights of jaxtl's repository: get it, and put ours.safetensors at" in refusal(load)
    monkeypatch.setattr(store, "IN_CLONE", tmp_path)
    found = load()
    assert_same(found, jax.tree.map(lambda leaf: leaf.astype(np.float32), halves))
    assert {str(leaf.dtype) for leaf in jax.tree.leaves(found)} == {"float32"}


def test_altered_numbers_in_a_file_of_ours_are_noticed(tmp_path, variables):
    path = tmp_path / "mine.safetensors"
    save(variables, path)
    raw = bytearray(path.read_bytes())
    raw[-2] ^= 0x40  # the file is as long as it was, and its header is whole
    path.write_bytes(raw)
    assert "altered or damaged: its tensors do not have the SHA-256" in refusal(store.load, NAME, path)


def test_a_file_in_a_named_folder_counts_more_than_the_cache(card, server, tmp_path, original):
    load()
    (tmp_path / FILE).write_bytes(original[:-1])
    assert "is not the file of" in refusal(load, weights_dir=tmp_path)


def test_weights_without_a_published_hash_are_not_downloaded(card, server, monkeypatch, tmp_path, original, variables):
    part = dataclasses.replace(card, url=None, sha256=None, archive="https://there.example/all.zip")
    monkeypatch.setattr(cards, "CARDS", (part,))
    message = refusal(load)
    assert "https://there.example/all.zip" in message
    assert str(store.download_path(part)) in message
    (tmp_path / "state_dicts").mkdir()
    (tmp_path / "state_dicts" / FILE).write_bytes(original)
    assert_same(load(weights_dir=tmp_path), variables)
    assert server.requests == 0


# --- paths ---


def test_files_of_ones_own(card, tmp_path, original, variables):
    path = tmp_path / "mine.pth"
    path.write_bytes(original)
    assert_same(store.load(NAME, path), variables)
    ours = tmp_path / "mine.safetensors"
    save(variables, ours)
    assert_same(store.load(NAME, str(ours)), variables)
    theirs = tmp_path / "theirs.safetensors"
    safetensors.numpy.save_file(to_torch(NAME, variables), theirs)
    assert_same(store.load(NAME, theirs), variables)


def test_files_of_another_model_and_missing_ones_are_named(card, tmp_path, original, variables):
    path = tmp_path / "mine.pth"
    path.write_bytes(original)
    message = refusal(store.load, "cifar_resnet32", path)
    assert message.startswith(f"{path}: The state dict does not fit cifar_resnet32: ")
    ours = tmp_path / "mine.safetensors"
    save(variables, ours)
    assert "params/stage1/block4/conv1/kernel is missing" in refusal(store.load, "cifar_resnet32", ours)
    assert "no such tag: the tags of cifar_resnet20 are: cifar10." in refusal(store.load, NAME, "imagenet1k_v1")
    assert "There is no file of weights" in refusal(store.load, NAME, tmp_path)


def test_a_tag_in_other_letters_and_an_empty_path_are_answered(card):
    assert "did you mean 'cifar10'?" in refusal(store.load, NAME, "CIFAR10")
    assert "weights is '', but it is a card's tag, a path, or None" in refusal(store.load, NAME, "")


def test_paths_may_begin_at_home_and_be_text(card, monkeypatch, tmp_path, variables):
    monkeypatch.setenv("HOME", str(tmp_path))
    save(variables, str(tmp_path / "mine.safetensors"))
    assert_same(store.load(NAME, "~/mine.safetensors"), variables)


def test_files_are_as_readable_as_any_other(tmp_path, variables):
    before = os.umask(0o022)
    try:
        save(variables, tmp_path / "mine.safetensors")
    finally:
        os.umask(before)
    assert (tmp_path / "mine.safetensors").stat().st_mode & 0o777 == 0o644


def test_a_cache_that_cannot_be_written_is_no_obstacle_to_files_that_are_here(
    card, monkeypatch, tmp_path, original, variables
):
    (tmp_path / FILE).write_bytes(original)
    monkeypatch.setenv("JAXTL_CACHE", str(tmp_path / FILE))
    assert_same(load(weights_dir=tmp_path), variables)
    assert "cannot be written" in refusal(save, variables, tmp_path / FILE / "out.safetensors")


def test_a_download_that_fails_says_where_the_file_was_looked_for(card, server, tmp_path):
    server.plan = ["404"]
    assert refusal(load, weights_dir=tmp_path).startswith(f"{FILE} is not in {tmp_path}. Cannot download")


# --- Keras ---


@pytest.fixture(scope="module")
def keras_file(tmp_path_factory) -> tuple[Path, dict]:
    """DenseNet-121 without its last layer, as Keras has it, and its variables."""
    pytest.importorskip("h5py", reason="h5py, which reads files of Keras, is not installed")
    rng = np.random.default_rng(0)
    leaves = {path: rng.random(shape, np.float32) for path, shape in skeleton("densenet121", 0).items()}
    variables = traverse_util.unflatten_dict(leaves, sep="/")
    path = tmp_path_factory.mktemp("keras") / "densenet121_weights_tf_dim_ordering_tf_kernels_notop.h5"
    write_keras_file(to_keras("densenet121", variables), path)
    return path, variables


def test_a_file_of_keras_is_known_by_its_content(keras_file, tmp_path):
    path, variables = keras_file
    renamed = tmp_path / "weights.pth"
    renamed.write_bytes(path.read_bytes())
    assert_same(store.load("densenet121", renamed), variables)
    message = refusal(store.load, "densenet169", renamed)
    assert message.startswith(f"{renamed}: The arrays do not fit densenet169: ")
    assert "resnet18 has no counterpart in Keras's applications" in refusal(store.load, "resnet18", renamed)


def test_a_card_of_keras_is_checked_by_md5(keras_file, monkeypatch, tmp_path):
    path, variables = keras_file
    monkeypatch.setenv("JAXTL_CACHE", str(tmp_path / "cache"))
    tag = "imagenet1k_keras_notop"
    assert "its MD5 begins with" in refusal(store.load, "densenet121", tag, weights_dir=path.parent)
    digest = hashlib.md5(path.read_bytes()).hexdigest()
    card = dataclasses.replace(cards.card_for("densenet121", tag), md5=digest)
    monkeypatch.setattr(cards, "CARDS", (card,))
    assert_same(store.load("densenet121", tag, weights_dir=path.parent), variables)


# --- commands ---


def test_list(capsys):
    assert main(["list", "densenet*"]) == 0
    shown = capsys.readouterr().out
    assert "densenet161" in shown
    assert "resnet18" not in shown
    assert "densenet161-8d451a50.pth" in shown, "a pipe has no width to cut names for"
    assert main(["list", "densenet*", "--markdown"]) == 0
    shown = capsys.readouterr().out
    assert "densenet161-8d451a50.pth" in shown
    assert "resnet18" not in shown
    for flags in ([], ["--markdown"]):
        assert main(["list", "nothing*", *flags]) == 2
        assert "No card is of a model that matches 'nothing*'" in capsys.readouterr().err


def test_fetch(card, server, capsys):
    assert main(["fetch", NAME]) == 0
    assert str(store.download_path(card)) in capsys.readouterr().out
    assert main(["fetch", NAME, "--tag", TAG]) == 0
    assert server.requests == 1
    assert main(["fetch", "bn_cnn"]) == 2
    assert "There are no weights for 'bn_cnn'" in capsys.readouterr().err
    assert main(["fetch", NAME, "--tag", "v9"]) == 2
    assert "it has: cifar10" in capsys.readouterr().err


def test_convert_there_and_back(tmp_path, capsys, original, variables):
    path = tmp_path / "mine.pth"
    path.write_bytes(original)
    assert main(["convert", NAME, str(path)]) == 0
    ours = tmp_path / "mine.jaxtl.safetensors"
    assert capsys.readouterr().out.strip() == str(ours)
    assert_same(store.read_weights(NAME, ours), variables)
    assert main(["convert", NAME, str(ours), "--to-torch", "--output", str(tmp_path / "back.safetensors")]) == 0
    back = read_torch_file(tmp_path / "back.safetensors")
    for key, array in to_torch(NAME, variables).items():
        np.testing.assert_array_equal(back[key], array)
    assert main(["convert", NAME, str(tmp_path / "none")]) == 2
    assert "There is no file" in capsys.readouterr().err
    assert main(["convert", NAME, str(tmp_path)]) == 2
    assert "is a folder; name the file in it" in capsys.readouterr().err
    assert main(["convert", "cifar_resnet21", str(path)]) == 2
    assert "did you mean 'cifar_resnet" in capsys.readouterr().err


def test_convert_replaces_nothing_unless_forced(tmp_path, capsys, original, variables):
    for version in ("v1", "v2"):
        path = tmp_path / f"r20.{version}.th"
        path.write_bytes(original)
        assert main(["convert", NAME, str(path)]) == 0
        assert capsys.readouterr().out.strip() == str(tmp_path / f"r20.{version}.jaxtl.safetensors")
    assert main(["convert", NAME, str(path)]) == 2
    assert "r20.v2.jaxtl.safetensors already; name another by --output, or" in capsys.readouterr().err
    assert main(["convert", NAME, str(path), "--output", str(path)]) == 2
    assert path.read_bytes() == original
    assert main(["convert", NAME, str(path), "--output", str(path), "--force"]) == 0
    assert_same(store.read_weights(NAME, path), variables)
    assert main(["convert", NAME, str(tmp_path / "r20.v1.jaxtl.safetensors"), "--to-torch"]) == 0
    assert (tmp_path / "r20.v1.torch.safetensors").exists()


def test_an_interrupted_fetch_is_no_traceback(card, monkeypatch, capsys):
    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(store, "fetch", interrupted)
    assert main(["fetch", NAME]) == 130
    assert capsys.readouterr().err.startswith("Stopped")


def test_what_the_system_refuses_is_a_sentence(card, monkeypatch, capsys):
    def refused(*arguments, **options):
        raise PermissionError(13, "Permission denied", "/there")

    monkeypatch.setattr(store, "fetch", refused)
    assert main(["fetch", NAME]) == 2
    assert capsys.readouterr().err == (
        "jaxtl: /there cannot be used (Permission denied); free some space, or correct the path or its permissions, "
        "and run the same command again.\n"
    )

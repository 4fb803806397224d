"""``python -m jaxtl.export`` on a run that was trained: each format is loaded back as its user would, and compared."""

import json
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util
from PIL import Image

import jaxtl
from jaxtl.data.augment import compose, normalise, resize
from jaxtl.data.image_files import is_image
from jaxtl.errors import UserError
from jaxtl.export import __main__ as export
from jaxtl.export.files import write_export
from jaxtl.export.program import export_program
from jaxtl.export.pytorch import for_torch
from jaxtl.models import build_model
from jaxtl.runs.finished import LoadedRun, load_run
from jaxtl.weights import from_torch, read_torch_file, write_torch_file
from jaxtl.weights.convert import skeleton

pytestmark = pytest.mark.usefixtures("compiled_once")

IMAGES = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 1), np.uint8)
ALL = {
    "model.safetensors",
    "model.stablehlo",
    "model.json",
    "load_example.py",
    "read_image.py",
}  # no PyTorch: it has no such network


@pytest.fixture
def call(capsys, monkeypatch):
    """``call(*arguments)`` gives (status, printed, complained)."""
    monkeypatch.setenv("COLUMNS", "300")

    def run(*arguments):
        capsys.readouterr()
        status = export.main([str(argument) for argument in arguments])
        return status, *capsys.readouterr()

    return run


def logits_of(run, images=IMAGES):
    ready = run.preprocess(jax.random.key(0), jnp.asarray(images))
    return np.asarray(run.model.apply(run.variables, ready, train=False))


def sentence(complained):
    """The one line of a complaint."""
    assert complained.startswith("jaxtl: ") and complained.endswith(".\n") and complained.count("\n") == 1
    return complained


def test_an_export_and_another_in_its_place(call, tiny_run):
    status, printed, complained = call("--run", tiny_run)
    assert (status, complained) == (0, "")
    assert {path.name for path in (tiny_run / "export").iterdir()} == ALL
    assert "model.pth" in printed and "not possible" in printed and "cnn has no counterpart in PyTorch" in printed
    about = json.loads((tiny_run / "export" / "model.json").read_text())
    assert about["class_names"] == list("0123456789") and about["input"]["image_shape"] == [8, 8, 1]
    assert about["files"].keys() == {"model.safetensors", "model.stablehlo"}
    assert about["files"]["model.stablehlo"]["largest_difference"] < 1e-5
    assert about["temperature"] == load_run(tiny_run).temperature
    status, _, _ = call("--run", tiny_run, "--format", "safetensors")
    assert status == 0
    assert {path.name for path in (tiny_run / "export").iterdir()} == {"model.safetensors", "model.json"}
    assert not list(tiny_run.glob(".export*")), "no draft is left"
    assert load_run(tiny_run).name == "tiny", "the run is as it was"


def test_safetensors_by_the_line_in_the_description(call, tiny_run, tmp_path, monkeypatch):
    assert call("--run", tiny_run, "--out", tmp_path / "out", "--format", "safetensors")[0] == 0
    about = json.loads((tmp_path / "out" / "model.json").read_text())
    monkeypatch.chdir(tmp_path / "out")
    scope = {}
    for line in about["files"]["model.safetensors"]["load"]:
        exec(line, scope)
    run = load_run(tiny_run)
    ready = run.preprocess(jax.random.key(0), jnp.asarray(IMAGES))
    found = scope["model"].apply(scope["variables"], ready, train=False)
    np.testing.assert_array_equal(found, logits_of(run))


# What imports jaxtl fails there, wherever it is installed.
STRANGER = """
import runpy, sys
import numpy as np
sys.modules["jaxtl"] = None
sys.argv = ["load_example.py", *sys.argv[1:]]
scope = runpy.run_path("load_example.py", run_name="__main__")
images = np.load(sys.argv[1])
np.savez("answers.npz", five=scope["program"].call(images), one=scope["program"].call(images[:1]))
assert not [name for name in sys.modules if name.startswith(("jaxtl.", "flax", "optax", "orbax"))]
"""


def photographs(folder):
    """Files of every kind that is converted, by their names."""
    random = np.random.default_rng(1)
    y, x = np.mgrid[0:300, 0:400]
    smooth = np.stack([x * 255 // 400, y * 255 // 300, 255 - x // 2], -1).astype(np.uint8)
    photo, exif = Image.fromarray(smooth), Image.Exif()
    exif[0x0112] = 6
    photo.save(folder / "large.jpg", quality=90)
    photo.save(folder / "turned.jpg", exif=exif)
    photo.save(folder / "turned.tif", exif=exif)
    Image.fromarray(random.integers(0, 65536, (9, 11), np.uint16)).save(folder / "sixteen.png")
    Image.fromarray(random.integers(0, 256, (9, 8, 4), np.uint8)).save(folder / "transparent.png")
    photo.convert("CMYK").save(folder / "cmyk.jpg")
    photo.quantize(16).save(folder / "palette.gif")
    photo.save(folder / "photo.webp")
    (folder / "broken.png").touch()
    return sorted({path.name for path in folder.iterdir() if is_image(path)} - {"broken.png"})


def test_the_program_runs_where_jaxtl_is_not(call, tiny_run, tmp_path):
    export_module = pytest.importorskip("jax.export")
    out = tmp_path / "out"
    assert call("--run", tiny_run, "--out", out, "--format", "stablehlo")[0] == 0
    run = load_run(tiny_run)
    expected = np.asarray(jax.nn.softmax(logits_of(run) / run.temperature))
    np.save(out / "images.npy", IMAGES)
    kinds = photographs(out)
    done = subprocess.run(
        [sys.executable, "-c", STRANGER, "images.npy", *kinds, "broken.png"],
        cwd=out,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0 and "broken.png: it is empty" in done.stderr, done.stderr
    with np.load(out / "answers.npz") as file:
        answers = dict(file)
    np.testing.assert_allclose(answers["five"], expected, atol=1e-5, rtol=0)
    np.testing.assert_allclose(answers["one"], expected[:1], atol=1e-5, rtol=0)
    lines = [f"{row.argmax()} {row.max():.2%}" for row in expected]
    predicted = run.predict([out / kind for kind in kinds], top=1)
    lines += [f"{answers[0][0]} {answers[0][1]:.2%}" for answers in predicted]
    assert [line.partition(": ")[2] for line in done.stdout.splitlines()] == lines

    program = export_module.deserialize(bytearray((out / "model.stablehlo").read_bytes()))
    assert program.platforms == ("cpu", "cuda", "tpu")
    text = program.mlir_module()
    calls = {part.split("(")[0] for part in text.split("custom_call ")[1:]}
    assert calls == {"@shape_assertion"}, "jax's own check of the batch, and nothing of this machine"
    with pytest.raises(ValueError, match="batch"):
        program.call(IMAGES[:0])


def test_mistakes_are_one_sentence_and_leave_nothing_behind(call, tiny_run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (theirs / "thesis.tex").write_text("all my work")
    (tmp_path / "file").touch()
    empty = tmp_path / "empty"
    empty.mkdir()
    before = sorted(tmp_path.rglob("*"))
    for arguments, expected in (
        (("--run", "nowhere"), "nowhere cannot be used: it does not exist"),
        (("--run", empty), "it is not a run folder"),
        (("--run", tiny_run, "--out", "out", "--format", "torch"), "cnn has no counterpart in PyTorch"),
        (("--run", tiny_run, "--out", "out", "--format", "tflite"), "--format names 'tflite'"),
        (("--run", tiny_run, "--out", theirs), "holds thesis.tex, which is not part of an export"),
        (("--run", tiny_run, "--out", tiny_run), "is not part of an export"),
        (
            ("--run", tiny_run, "--out", "file", "--format", "safetensors"),
            "file cannot be replaced by an export (Not a directory)",
        ),
        (("--run", tiny_run, "--out", "file/below", "--format", "safetensors"), "file/below"),
    ):
        status, _, complained = call(*arguments)
        assert status == 2 and expected in sentence(complained), (arguments, complained)
    assert sorted(tmp_path.rglob("*")) == before


def test_an_export_that_fails_leaves_the_earlier_one(call, tiny_run, tmp_path, monkeypatch):
    out = tmp_path / "out"
    assert call("--run", tiny_run, "--out", out, "--format", "safetensors")[0] == 0
    before = {path.name: path.read_bytes() for path in out.iterdir()}

    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("jaxtl.export.files.save", full)
    status, _, complained = call("--run", tiny_run, "--out", out, "--format", "safetensors")
    assert status == 2 and "No space left on device" in sentence(complained)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


# --- ONNX ---


def random_run(network, size=32, channels=3, image=24, **options):
    """A run of three classes that nobody trained, which resizes its images."""
    model = build_model(network, 3, "float32", **options)
    shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, size, size, channels)))
    rng = np.random.default_rng(0)

    def draw(path, leaf):
        around = 1.0 if path[-1].key in ("scale", "var") else 0.0
        return rng.normal(around, 0.1, leaf.shape).astype(leaf.dtype)

    variables = jax.tree.map_with_path(draw, shapes)
    config = {"model": {"name": network, "options": options, "dtype": "float32"}}
    config["data"] = {"mean": [0.5], "std": [0.25], "fit": "crop"}
    shapes = (image, image, channels), (size, size, channels)
    preprocess = compose(resize(size, size), normalise([0.5], [0.25]))
    return LoadedRun("run", "random", config, model, variables, ("a", "b", "c"), *shapes, preprocess, 1.5)


def test_a_program_divides_by_the_temperature():
    run = random_run("logistic_regression")
    images = np.random.default_rng(1).integers(0, 256, (7, *run.image_shape), np.uint8)
    expected = np.asarray(jax.nn.softmax(logits_of(run, images) / 1.5))
    program = jax.export.deserialize(bytearray(export_program(run)))
    np.testing.assert_allclose(program.call(images), expected, atol=1e-6)
    np.testing.assert_allclose(run.predict(images, top=1).probability[:, 0], expected.max(-1), atol=1e-6)


@pytest.mark.parametrize(
    ("network", "options"),
    [
        ("resnet18", {"width": 4, "head": {"hidden": (4,), "activation": "gelu", "final_activation": "sigmoid"}}),
        ("cifar_resnet20", {"width": 2}),
        ("vgg11_bn", {"width": 2, "hidden": (8, 8)}),
        ("densenet121_cifar", {"depths": (1, 1, 1, 1), "width": 4}),
        ("cnn", {"blocks": ((4,), (8,)), "hidden": (8,), "grid": 3}),
        ("logistic_regression", {}),
    ],
)
def test_an_onnx_program_predicts_what_the_run_predicts(network, options, tmp_path, monkeypatch):
    pytest.importorskip("jax2onnx")
    pytest.importorskip("onnxruntime")
    run = random_run(network, **options)
    write_export(run, ["onnx"], tmp_path)
    about = json.loads((tmp_path / "model.json").read_text())["files"]["model.onnx"]
    assert about["largest_difference"] < 1e-5
    monkeypatch.chdir(tmp_path)
    images = np.random.default_rng(1).integers(0, 256, (7, *run.image_shape), np.uint8)
    for batch in (images, images[:1]):
        scope = {"images": batch}
        for line in about["load"]:
            exec(line, scope)
        expected = run.predict(batch, top=3)
        found = scope["probabilities"]
        np.testing.assert_allclose(-np.sort(-found), expected.probability, atol=1e-4)
        assert np.ptp(found) > 1e-3, "it tells classes apart"
        np.testing.assert_array_equal(found.argmax(-1), expected.classes[:, 0])


def test_an_operation_without_translation_is_named(tmp_path):
    pytest.importorskip("jax2onnx")
    run = random_run("logistic_regression")

    def strange(key, images):
        ready = run.preprocess(key, images)
        return jax.pure_callback(np.sin, jax.ShapeDtypeStruct(ready.shape, ready.dtype), ready)

    sentence = "jax2onnx does not translate the operation 'pure_callback'; choose the format stablehlo."
    with pytest.raises(UserError, match=f"^{sentence}$"):
        write_export(run._replace(preprocess=strange), ["onnx"], tmp_path)


def test_an_onnx_program_that_computes_something_else_is_not_written(tmp_path, monkeypatch):
    pytest.importorskip("jax2onnx")
    monkeypatch.setattr("jaxtl.export.files.LARGEST_DIFFERENCE", -1.0)
    with pytest.raises(UserError, match="onnxruntime computes other probabilities than the run, by up to"):
        write_export(random_run("logistic_regression"), ["onnx"], tmp_path)
    assert not list(tmp_path.iterdir())


def test_without_the_packages_the_sentence_says_how_to_get_them(call, tiny_run, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "jax2onnx", None)
    status, _, complained = call("--run", tiny_run, "--out", tmp_path / "out", "--format", "onnx")
    assert status == 2 and "needs jax2onnx; install it with pip install 'jaxtl[onnx]'" in sentence(complained)
    assert not (tmp_path / "out").exists()


# --- PyTorch ---


def random_variables(name, **options):
    """Variables of three classes that nobody trained, and no initialiser either."""
    draw = np.random.default_rng(0).uniform
    shapes = skeleton(name, 3, **options)
    flat = {path: draw(0.5, 1.5, shape).astype(np.float32) * 0.1 for path, shape in shapes.items()}
    return traverse_util.unflatten_dict(flat, sep="/")


@pytest.mark.parametrize(
    ("name", "options", "fits"),
    [
        ("resnet18", {}, "torchvision.models.resnet18(num_classes=3)"),
        ("vgg11", {"width": 2, "hidden": (8, 8), "dropout": 0.1}, "torchvision.models.vgg11() for 3 classes, changed"),
        ("cifar_resnet20", {}, "resnet20() of https://github.com/akamaster/pytorch_resnet_cifar10 for 3 classes"),
        ("densenet121_cifar", {"depths": (1, 1, 1, 1), "width": 4}, "densenet121() of https://github.com/huyvnphan"),
    ],
)
def test_a_state_dict_holds_the_run_bit_by_bit(name, options, fits, tmp_path):
    variables = random_variables(name, **options)
    state_dict, network, _ = for_torch(name, variables, options, "model.pth")
    assert network.startswith(fits)
    write_torch_file(state_dict, tmp_path / "model.pth")
    back = from_torch(name, read_torch_file(tmp_path / "model.pth"), **options)
    jax.tree.map(np.testing.assert_array_equal, back, variables)


HEAD = {"hidden": (4,), "activation": "gelu", "dropout": 0.2, "final_activation": "sigmoid"}


def test_a_head_of_several_layers_becomes_a_sequential():
    variables = random_variables("vgg11", width=2, hidden=(8, 8), head=HEAD)
    state_dict, _, load = for_torch("vgg11", variables, {"width": 2, "hidden": (8, 8), "head": HEAD}, "model.pth")
    head = [key for key in state_dict if key.startswith("classifier.6.")]
    assert head == [f"classifier.6.{layer}" for layer in ("0.weight", "0.bias", "2.weight", "2.bias")]
    assert any(
        line == "model.classifier[6] = torch.nn.Sequential(torch.nn.Linear(8, 4), torch.nn.GELU(approximate='tanh'), "
        "torch.nn.Linear(4, 3), torch.nn.Sigmoid())"
        for line in load
    )


@pytest.mark.parametrize("name", ["cnn", "logistic_regression"])
def test_networks_that_pytorch_does_not_have(name):
    with pytest.raises(UserError, match=f"{name} has no counterpart in PyTorch"):
        for_torch(name, random_variables(name), {}, "model.pth")


def test_grey_images_are_none_of_torchvisions():
    variables = random_variables("resnet18", width=2)
    variables["params"]["stem"]["conv"]["kernel"] = np.zeros((7, 7, 1, 2), np.float32)
    with pytest.raises(UserError, match="takes images of 1 channel, and PyTorch's takes 3"):
        for_torch("resnet18", variables, {"width": 2}, "model.pth")


@pytest.mark.parametrize("options", [{}, {"head": HEAD}, {"head": {"bias": False}}])
def test_torchvision_answers_as_we_do(options, tmp_path, monkeypatch):
    torch = pytest.importorskip("torch")
    # Its import asks for two operators, which a wheel for another torch does not bring.
    for operator in ("nms", "qnms"):
        if not hasattr(torch.ops.torchvision, operator):
            signature = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
            torch.library.define(f"torchvision::{operator}", signature)
    pytest.importorskip("torchvision")
    model, variables = jaxtl.create_model("resnet18", 3, key=jax.random.key(0), **options)
    state_dict, _, load = for_torch("resnet18", variables, options, "model.pth")
    write_torch_file(state_dict, tmp_path / "model.pth")
    monkeypatch.chdir(tmp_path)
    scope = {}
    for line in load:
        exec(line, scope)
    images = np.random.default_rng(0).normal(size=(2, 64, 64, 3)).astype(np.float32)
    with torch.no_grad():
        found = scope["model"](torch.from_numpy(images.transpose(0, 3, 1, 2).copy())).numpy()
    np.testing.assert_allclose(found, model.apply(variables, images, train=False), atol=1e-5)

import numpy as np
import pytest
from flax import traverse_util
from PIL import Image

from jaxtl.data import Dataset
from jaxtl.errors import UserError
from jaxtl.weights import verify
from jaxtl.weights.__main__ import main
from jaxtl.weights.cards import card_for
from jaxtl.weights.convert import skeleton
from jaxtl.weights.formats.safetensors_file import save
from jaxtl.weights.store import load

CARD = card_for("resnet18", "imagenet1k_v1")
SYNSETS = [f"n{number:08d}" for number in range(1000)]


def one_hot(labels) -> np.ndarray:
    return np.eye(1000, dtype=np.float32)[labels] * 10


def by_brightness(images: np.ndarray) -> np.ndarray:
    """Logits of the class that is the mean pixel of the images, 0 to 255."""
    pixels = images * CARD.std + CARD.mean
    return one_hot(np.rint(pixels.mean((1, 2, 3)) * 255).astype(int))


@pytest.mark.parametrize(("size", "resized"), [((300, 400), (256, 341)), ((400, 300), (341, 256)), ((256, 256), None)])
def test_photographs_are_resized_and_cropped_as_torchvision_does(size, resized):
    rng = np.random.default_rng(0)
    image = Image.fromarray(rng.integers(0, 256, (*size[::-1], 3), np.uint8))
    found = verify.preprocess(image, CARD)
    assert found.shape == (224, 224, 3)
    assert found.dtype == np.float32
    whole = np.asarray(image.resize(resized, Image.Resampling.BILINEAR) if resized else image)
    top, left = round((whole.shape[0] - 224) / 2), round((whole.shape[1] - 224) / 2)
    np.testing.assert_allclose(
        found, (whole[top : top + 224, left : left + 224] / 255 - CARD.mean) / CARD.std, rtol=1e-5, atol=1e-5
    )


def test_grey_photographs_get_three_channels_and_small_images_no_resize():
    assert verify.preprocess(Image.new("L", (300, 500)), CARD).shape == (224, 224, 3)
    small = card_for("cifar_resnet20", "cifar10")
    assert verify.preprocess(Image.new("RGB", (32, 32)), small).shape == (32, 32, 3)


def test_reference_logits(tmp_path):
    def compare():
        [outcome] = verify.reference_logits(CARD, tmp_path)(by_brightness)
        return outcome

    with pytest.raises(UserError, match=r"There is no .*elefant.jpg and no .*resnet18_elefant_output_ref.npy"):
        compare()
    Image.new("RGB", (300, 200), (40, 40, 40)).save(tmp_path / "elefant.jpg", quality=100)
    stored = tmp_path / "resnet18_elefant_output_ref.npy"
    np.save(stored, one_hot([40]) + np.float32(0.005))
    check = compare()
    assert check.passed
    assert "largest difference 5.0e-04 of the largest logit, top-1 class 40 as stored" in check.found
    np.save(stored, one_hot([40]) + np.float32(0.1))
    assert not compare().passed
    np.save(stored, one_hot([41]))
    check = compare()
    assert not check.passed
    assert "top-1 class 40 instead of 41 stored" in check.found


def test_the_reference_picture_is_an_elephant(shared_weights):
    """What the stored logits say, without the weights that made them: the fixture and its reader agree."""
    folder = shared_weights / "reference_logits"
    synsets = (shared_weights / "imagenet_classes" / "imagenet_synsets.txt").read_text().split()
    assert synsets[386] == "n02504458"  # African elephant
    for model in ("resnet18", "resnet152", "vgg16", "vgg19"):
        stored = np.load(folder / f"{model}_elefant_output_ref.npy")
        card = card_for(model, "imagenet1k_v1")
        [check] = verify.reference_logits(card, folder)(lambda images, stored=stored: stored)
        assert check.passed
        assert "class 386 as stored" in check.found


def test_a_folder_of_photographs(tmp_path):
    def add(path, brightness):
        path.parent.mkdir(exist_ok=True)
        Image.new("RGB", (260, 240), (brightness,) * 3).save(path, quality=100)

    for i in range(25):
        add(tmp_path / "flat" / f"{SYNSETS[10 * i]}_{i}.JPEG", 10 * i)  # right
        add(tmp_path / SYNSETS[3] / f"{i}.png", 3 if i < 10 else 200)  # ten of them right
    add(tmp_path / "flat" / "no_label.jpg", 0)
    (tmp_path / "flat" / "notes.txt").write_text("no image")
    [check] = verify.imagenet_folder(CARD, tmp_path, SYNSETS, batch_size=8)(by_brightness)
    assert "70.00 % (35 of 50), published 69.76 %" in check.found
    assert check.passed
    [wrong] = verify.imagenet_folder(CARD, tmp_path, SYNSETS)(lambda images: one_hot([999] * len(images)))
    assert "0.00 % (0 of 50)" in wrong.found
    assert not wrong.passed


def test_folders_that_cannot_be_used_are_named(tmp_path):
    def message(synsets=SYNSETS):
        with pytest.raises(UserError) as info:
            verify.imagenet_folder(CARD, tmp_path / "images", synsets)(by_brightness)
        return str(info.value)

    assert "There is no folder" in message()
    (tmp_path / "images").mkdir()
    assert "holds no image whose name or folder begins with a synset" in message()
    assert "The list has 3 synsets, but resnet18 imagenet1k_v1 has 1000 classes" in message(SYNSETS[:3])
    (tmp_path / "images" / "n99999999_1.jpg").write_bytes(b"")
    assert "has the synset n99999999, which is not in the list" in message()
    (tmp_path / "images" / "n99999999_1.jpg").rename(tmp_path / "images" / f"{SYNSETS[0]}_1.jpg")
    assert "cannot be read as an image" in message()


def test_a_whole_test_set_must_agree_to_the_last_image():
    card = card_for("cifar_resnet20", "cifar10")
    labels = np.arange(10_000, dtype=np.int32) % 10
    images = np.zeros((10_000, 1, 1, 3), np.uint8)
    images[:, 0, 0, 0] = labels
    images[:827, 0, 0, 0] = (labels[:827] + 1) % 10
    test = Dataset(images, labels, tuple("abcdefghij"))

    def predict(batch):
        return np.eye(10)[np.rint((batch[:, 0, 0, 0] * card.std[0] + card.mean[0]) * 255).astype(int) % 10]

    stored = np.eye(10)[images[:, 0, 0, 0]]
    check, same = verify.whole_test_set(card, test, stored, batch_size=768)(predict)
    assert check.passed
    assert "91.73 % (9,173 of 10,000), published 91.73 %" in check.found
    assert same.passed
    assert not verify.whole_test_set(card, test, stored + 0.002)(predict)[1].passed
    images[827, 0, 0, 0] = (labels[827] + 1) % 10
    assert not verify.whole_test_set(card, test)(predict)[0].passed


# --- the command ---

NAME = "cifar_resnet20"


@pytest.fixture
def attempt(tmp_path, capsys, monkeypatch):
    """`verify` on two CIFAR-10 images and random weights, of which nothing may be computed: what it says on its way."""
    shapes = skeleton(NAME, 10)
    tree = traverse_util.unflatten_dict({leaf: np.ones(of, np.float32) for leaf, of in shapes.items()}, sep="/")
    save(tree, tmp_path / "mine.safetensors")
    two = Dataset(np.zeros((2, 32, 32, 3), np.uint8), np.zeros(2, np.int32), tuple("abcdefghij"))
    monkeypatch.setattr("jaxtl.weights.__main__.load_dataset", lambda *arguments, **options: two)
    monkeypatch.setattr(verify, "build_model", lambda *arguments: pytest.fail("something is computed"))

    def run(*flags, name=NAME, weights="mine.safetensors"):
        status = main(["verify", name, "--weights", str(tmp_path / weights), *map(str, flags)])
        shown = capsys.readouterr()
        assert status == 2
        assert shown.out == ""
        assert shown.err.count("\n") == 1
        return shown.err

    return run


def test_without_anything_to_compare_with_nothing_is_verified(attempt, tmp_path):
    assert "nothing to compare cifar_resnet20 with; give --cifar FOLDER, --reference FOLDER" in attempt()
    assert "--logits is of use only with --cifar" in attempt("--logits", tmp_path / "x.npz", "--reference", tmp_path)
    assert "--synsets is of use only with --images" in attempt("--synsets", tmp_path / "x", "--cifar", tmp_path)
    assert "--images is of use only with --synsets" in attempt("--images", tmp_path)
    assert "--cifar is for weights of CIFAR-10" in attempt("--cifar", tmp_path, name="resnet18")


def test_weights_of_other_classes_than_the_cards_are_named(attempt, tmp_path):
    shapes = skeleton(NAME, 5)
    tree = traverse_util.unflatten_dict({leaf: np.ones(of, np.float32) for leaf, of in shapes.items()}, sep="/")
    save(tree, tmp_path / "five.safetensors")
    message = attempt("--cifar", tmp_path, weights="five.safetensors")
    assert "five.safetensors has 5 classes, but the card cifar10 of cifar_resnet20 has 10" in message


def test_logits_that_cannot_be_compared_are_named_before_anything_is_computed(attempt, tmp_path):
    path = tmp_path / "logits.npz"

    def message():
        return attempt("--cifar", tmp_path, "--logits", path)

    assert "logits.npz cannot be read: No such file" in message()
    np.savez(path, other=np.zeros((2, 10), np.float32))
    assert "holds no array `logits`, but other" in message()
    np.savez(path, logits=np.zeros((2, 3), np.float32))
    assert "holds float32 of shape (2, 3), but the logits are float32 of shape (2, 10)" in message()
    header = b"\x93NUMPY\x01\x00\x10\x00"
    for garbage in (b"", b"garbage", b"PK\x03\x04 and no more", header + b"garbage", header + b"{'shape': (2, 10("):
        path.write_bytes(garbage)
        assert "is not a file of numpy.save or numpy.savez, or is damaged" in message()
    path = tmp_path / "logits.npy"
    np.save(path, np.array(["text"]))
    assert "holds <U4 of shape (1,)" in message()
    np.save(path, np.zeros((2, 10), np.float32))
    assert verify.stored_logits(path, (2, 10)).shape == (2, 10)


def test_references_and_synsets_that_cannot_be_read_are_named(attempt, tmp_path):
    Image.new("RGB", (30, 20)).save(tmp_path / "elefant.jpg")
    (tmp_path / f"{NAME}_elefant_output_ref.npy").write_bytes(b"garbage")
    assert "is not a file of numpy.save" in attempt("--reference", tmp_path)
    synsets = tmp_path / "synsets.txt"
    for content, fault in ((b"\xff\xfe\x00", "is not text"), (b"n00000001\ncat\n", "has 'cat' where a synset")):
        synsets.write_bytes(content)
        assert fault in attempt("--images", tmp_path, "--synsets", synsets)
    assert "cannot be read: Is a directory" in attempt("--images", tmp_path, "--synsets", tmp_path)


def test_the_command_says_what_it_lacks(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("JAXTL_CACHE", str(tmp_path / "cache"))
    assert main(["verify", "bn_cnn"]) == 2
    assert "There are no weights for 'bn_cnn'" in capsys.readouterr().err
    assert main(["verify", "cifar_resnet21"]) == 2
    assert "did you mean 'cifar_resnet" in capsys.readouterr().err


@pytest.mark.parity
@pytest.mark.parametrize(("depth", "digest", "error"), [(20, "12fca82f", 8.27), (32, "d509ac18", 7.37)])
def test_real_weights_reach_the_published_error_on_real_images(
    shared_weights, cifar10_dir, tmp_path, capsys, monkeypatch, depth, digest, error
):
    monkeypatch.setenv("JAXTL_CACHE", str(tmp_path / "cache"))
    folder = shared_weights / "cifar10_resnet"
    flags = ["--weights-dir", str(folder), "--cifar", str(cifar10_dir)]
    flags += ["--logits", str(folder / f"resnet{depth}-{digest}_test_logits.npz")]
    assert main(["verify", f"cifar_resnet{depth}", *flags]) == 0
    shown = capsys.readouterr().out
    assert f"{100 - error:.2f} % ({round(10_000 - 100 * error):,} of 10,000), published {100 - error:.2f} %" in shown
    assert shown.count("ok ") == 2


def test_our_own_weights_know_tiny_imagenet(shared_weights):
    pack = shared_weights.parent / "data" / "tiny_imagenet"
    if not pack.is_dir():
        pytest.skip(f"there is no {pack}")
    card = card_for("resnet18", "tiny_imagenet")
    # A class is a mosaic of ten images a row; the first row of each.
    rows = [Image.open(path).convert("RGB").crop((0, 0, 640, 64)) for path in sorted((pack / "val").glob("*.webp"))]
    images = np.concatenate([np.asarray(row).reshape(64, 10, 64, 3).swapaxes(0, 1)[:2] for row in rows])
    predict = verify.predictor(card, load("resnet18", "tiny_imagenet"), "the file")
    right = predict(verify.normalise(images, card)).argmax(-1) == np.repeat(np.arange(200), 2)
    assert abs(100 * right.mean() - card.top1) < 7.5  # three standard errors of 400 images

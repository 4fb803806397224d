"""`benchmarks.train` and `benchmarks.inference`: what they write is consistent with what they measured."""

import json
import statistics

import pytest

from benchmarks import inference, train
from benchmarks.peers import PEERS

TINY = ["--model", "cnn", "--batch", "4", "--repeats", "2", "--seconds", "0", "--peer", "flax"]


def run(main, folder, *words):
    json_file, chart = folder / "found.json", folder / "chart.png"
    assert main([*TINY, *words, "--json", str(json_file), "--plot", str(chart)]) == 0
    assert chart.read_bytes().startswith(b"\x89PNG")
    found = json.loads(json_file.read_text())
    assert found["environment"]["device"]
    (case,) = found["cases"]
    return case


def check_case(case):
    for line in case["contenders"].values():
        assert line["images_per_s"] == pytest.approx(case["batch"] / statistics.median(line["step_s"]))
        assert line["lowest_images_per_s"] <= line["images_per_s"] <= line["highest_images_per_s"]
        assert line["gflops_per_s"] == pytest.approx(line["images_per_s"] * case["gflops_per_image"])
        assert line["share_of_matmul"] == pytest.approx(line["gflops_per_s"] / case["matmul_gflops_per_s"])
        assert 0 < line["share_of_matmul"] <= 1.5
        assert line["compile_s"] > 0
    ours, theirs = (case["contenders"][name]["step_s"] for name in (case["ours"], "plain Flax"))
    ratio = case["ratios"]["plain Flax"]
    assert ratio["median"] == pytest.approx(statistics.median(theirs) / statistics.median(ours))
    assert ratio["lowest"] <= ratio["highest"]
    assert case["peak_memory"]["bytes"] > 10e6
    assert case["peak_memory"]["of"] in ("device", "process")


@pytest.mark.bench
def test_training(tmp_path, capsys):
    case = run(train.main, tmp_path, "--augment", "trivialaugment")
    check_case(case)
    assert list(case["contenders"]) == ["jaxtl", "plain Flax", "jaxtl, augmented", "jaxtl, trivialaugment"]
    assert case["gflops_per_image"] == pytest.approx(3 * 0.0133, rel=0.1)  # README: 0.01 of a forward pass
    out = capsys.readouterr().out
    assert f"jaxtl runs at {case['ratios']['plain Flax']['median']:.2f} times the speed of plain Flax" in out
    assert "top1_agreement" not in case


@pytest.mark.bench
def test_inference_in_bfloat16(tmp_path, capsys):
    case = run(inference.main, tmp_path, "--dtype", "bfloat16")
    check_case(case)
    assert list(case["contenders"]) == ["jaxtl", "plain Flax"]
    assert 0 <= case["top1_agreement"] <= 1
    assert case["top1_images"] == inference.LEAST_COMPARED
    assert "bfloat16 names the class that float32 names" in capsys.readouterr().out


def test_an_unknown_network_is_a_sentence(capsys):
    assert train.main(["--model", "resnet19"]) == 2
    assert "did you mean" in capsys.readouterr().err


def test_a_missing_package_is_a_sentence(monkeypatch, capsys):
    monkeypatch.setitem(PEERS, "keras", ("keras_", ("no_such_package",)))
    assert inference.main(["--model", "cnn", "--peer", "keras"]) == 2
    err = capsys.readouterr().err
    assert "needs no_such_package, which is not installed here" in err
    assert 'pip install "jaxtl[peers]"' in err

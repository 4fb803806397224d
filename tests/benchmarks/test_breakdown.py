"""`benchmarks.breakdown`: kinds, their sum, and a trace of a small program."""

import json

import pytest

from benchmarks import breakdown

TEXT = """
HloModule jit_step
%fused (p: f32[2]) -> f32[2] {
  ROOT %add.1 = f32[2]{0} add(%p, %p)
}
ENTRY %main {
  %dot.3 = f32[2,2]{1,0} dot(%a, %b), lhs_contracting_dims={1}
  %call.9 = (f32[2]{0}, s32[]) call(%a), to_apply=%inner
  ROOT transpose_copy_fusion.4 = (f32[2]{0}, f32[2]{0}) fusion(%a), kind=kLoop
}
"""


def test_instructions_that_hold_others_are_left_out():
    assert breakdown.instructions(TEXT) == {"add.1", "dot.3", "transpose_copy_fusion.4"}


def test_kinds_add_up_to_the_wall_time():
    found = breakdown.by_kind(10.0, {"dot.3": 2.0, "dot_general.1": 1.0, "multiply_add_fusion": 4.0})
    assert found == {breakdown.ELEMENTWISE: 4.0, "dots": 3.0, breakdown.NOT_TRACED: 3.0}


@pytest.mark.bench
@pytest.mark.parametrize("what", ["train", "inference"])
def test_a_trace(what, tmp_path, capsys):
    path = tmp_path / "found.json"
    words = ["--what", what, "--model", "cnn", "--size", "32", "--batch", "4", "--steps", "2", "--json", str(path)]
    assert breakdown.main(words) == 0
    found = json.loads(path.read_text())
    assert found["kinds_ms"]["dots"] > 0
    assert min(found["kinds_ms"].values()) >= 0
    assert "cnn at 32, batch 4, float32" in capsys.readouterr().out


def test_a_net_that_is_not_there_is_a_sentence(capsys):
    assert breakdown.main(["--model", "no_such_net"]) == 2
    assert "There is no model" in capsys.readouterr().err

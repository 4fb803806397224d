"""What CI and the Makefile promise is there: make passes over a phony target without a rule, and says nothing."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_every_phony_target_and_every_step_of_ci_has_a_rule():
    makefile = (ROOT / "Makefile").read_text()
    phony = re.search(r"^\.PHONY:((?:.*\\\n)*.*)$", makefile, re.MULTILINE)
    named = {*phony[1].replace("\\", "").split(), *re.findall(r"^\s*make (\S+)", (ROOT / ".ci/run").read_text(), re.M)}
    assert len(named) > 10
    assert named <= set(re.findall(r"^([\w-]+):", makefile, re.MULTILINE))

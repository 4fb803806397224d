"""What CI and the Makefile promise is there: make passes over a phony target without a rule, and says nothing."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_every_phony_target_and_every_step_of_ci_has_a_rule():
    makefile = (ROOT / "Makefile").read_text()
    phony = re.search(r"^\.PHONY:((?:.*\\\n)*.*)$", makefile, re.MULTILINE)
    steps = " ".join(re.findall(r"^\s*(?:\w+=\S+ )?make (.+)", (ROOT / ".ci/run").read_text(), re.MULTILINE))
    named = {*phony[1].replace("\\", "").split(), *(word for word in steps.split() if word[0] != "-")}
    assert len(named) > 10 and "test-newest" in steps
    assert named <= set(re.findall(r"^([\w-]+):", makefile, re.MULTILINE))


def test_the_list_of_targets_names_each_once():
    makefile = (ROOT / "Makefile").read_text()
    listed = re.findall(r"^([a-z-]+):.*## ", makefile, re.MULTILINE)
    assert sorted(listed) == sorted(re.findall(r"^([a-z][\w-]*):", makefile, re.MULTILINE))

import datetime
import os
import subprocess

import jax
import pytest

from jaxtl.runtime import environment


def git(folder, *arguments):
    identity = ("-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "commit.gpgsign=false")
    subprocess.run(["git", "-C", str(folder), *identity, *arguments], check=True, capture_output=True)


@pytest.fixture
def source(tmp_path, monkeypatch):
    """A folder that stands for the source of jaxtl."""
    monkeypatch.setattr(environment, "__file__", str(tmp_path / "environment.py"))
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    (tmp_path / "environment.py").write_text("x = 1")
    return tmp_path


def test_versions_device_and_commit_are_told():
    told = environment.describe()
    assert told["jax"] == jax.__version__
    assert told.keys() == {*environment.PACKAGES, "python", "device", "commit"}
    assert all(isinstance(value, str) and value for value in told.values())


def test_date_and_command_are_told(monkeypatch):
    monkeypatch.setattr("sys.orig_argv", ["/usr/bin/python", "-m", "jaxtl.main", "--workdir", "my runs/x"])
    told = environment.invocation()
    assert told["command"].endswith(" -m jaxtl.main --workdir 'my runs/x'")
    assert datetime.datetime.fromisoformat(told["date"]).tzinfo is not None


def test_a_cpu_is_told_by_its_name_and_cores():
    if jax.default_backend() == "cpu":
        assert f"{os.cpu_count()} cores" in environment.device()


def test_the_commit_tells_of_changes(source):
    git(source, "init", "--quiet")
    git(source, "add", ".")
    git(source, "commit", "--quiet", "-m", "first")
    clean = environment.commit()
    assert len(clean) == 12
    (source / "environment.py").write_text("x = 2")
    assert environment.commit() == f"{clean}+changes"


def test_without_git_or_a_repository_the_commit_is_unknown(source, monkeypatch):
    assert environment.commit() == "unknown"
    monkeypatch.setenv("PATH", "")
    assert environment.commit() == "unknown"

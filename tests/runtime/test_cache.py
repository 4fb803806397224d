from pathlib import Path

from jaxtl.runtime.cache import cache_dir


def test_the_most_particular_variable_wins(monkeypatch):
    monkeypatch.setenv("HOME", "/home/someone")
    monkeypatch.setenv("XDG_CACHE_HOME", "/shared")
    monkeypatch.setenv("JAXTL_CACHE", "~/mine")
    assert cache_dir() == Path("/home/someone/mine")
    monkeypatch.setenv("JAXTL_CACHE", "")
    assert cache_dir() == Path("/shared/jaxtl")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_dir() == Path("/home/someone/.cache/jaxtl")

import pytest

from jaxtl.errors import UserError
from jaxtl.report.compared_runs import find_runs


@pytest.fixture
def find(tmp_path):
    """``find(*names, with_baselines=False)`` among the folders below ``tmp_path``: (runs, what was said)."""

    def call(*names, with_baselines=False):
        said = []
        folders = [tmp_path / name for name in names]
        runs = find_runs(folders, with_baselines=with_baselines, ignored=tmp_path / "comparison", say=said.append)
        return runs, [line.replace(f"{tmp_path}/", "") for line in said]

    return call


def test_runs_come_in_the_order_they_are_named(find, tmp_path, write_run):
    for name in ("a", "b", "c"):
        write_run(tmp_path / name, name=f"run {name}", accuracy=0.8)
    runs, said = find("c", "a", "b")
    assert [run.name for run in runs] == ["run c", "run a", "run b"]
    assert said == []


def test_what_is_not_a_finished_run_is_skipped_with_a_line_each(find, tmp_path, write_run):
    write_run(tmp_path / "good", name="good", accuracy=0.8)
    write_run(tmp_path / "going on", name="going on", accuracy=0.8)
    (tmp_path / "going on" / "summary.json").unlink()
    (tmp_path / "pictures").mkdir()
    (tmp_path / "comparison").mkdir()
    (tmp_path / "notes.txt").touch()
    runs, said = find("comparison", "going on", "good", "notes.txt", "pictures")
    assert [run.name for run in runs] == ["good"]
    assert said == [
        "Skipped going on: its run is not finished (it has no summary.json); the same command continues it.",
        "Skipped notes.txt: it is a file.",
        "Skipped pictures: it is not a run folder (it has no config.json).",
    ]


def test_a_folder_named_twice_is_compared_once(find, tmp_path, write_run):
    write_run(tmp_path / "a", name="a", accuracy=0.8)
    (tmp_path / "link").symlink_to(tmp_path / "a")
    runs, said = find("a", "../" + tmp_path.name + "/a", "link")
    assert len(runs) == 1
    assert len(said) == 2 and all("named more than once: it is taken once" in line for line in said)


@pytest.mark.parametrize("names", [("pictures",), ("comparison",)])
def test_nothing_left_is_an_error(find, tmp_path, names):
    for name in names:
        (tmp_path / name).mkdir()
    with pytest.raises(UserError, match=r"No finished run is among .* give work folders that hold summary\.json"):
        find(*names)


def test_a_folder_that_does_not_exist_is_an_error(find):
    with pytest.raises(UserError, match=r"The run folder .*nowhere does not exist; correct the path"):
        find("nowhere")


def test_baselines_are_taken_where_they_are_asked_for(find, tmp_path, write_run):
    write_run(tmp_path / "a", name="a", accuracy=0.8)
    write_run(tmp_path / "a" / "source", name="a: source", accuracy=0.8)
    for name in ("scratch", "probe"):
        write_run(tmp_path / "a" / "baselines" / name, name=f"a: {name}", accuracy=0.7)
    assert [run.name for run in find("a")[0]] == ["a"]
    assert [run.name for run in find("a", with_baselines=True)[0]] == ["a", "a: probe", "a: scratch"]


def test_runs_of_one_name_are_told_apart_by_their_folders(find, tmp_path, write_run):
    for place in ("one/cnn", "two/cnn", "vgg", "other"):
        write_run(tmp_path / place, name="mine" if place != "other" else "other", accuracy=0.8)
    runs, _ = find("one/cnn", "two/cnn", "vgg", "other")
    assert [run.name for run in runs[:3]] == ["mine (one/cnn)", "mine (two/cnn)", "mine (vgg)"]
    assert runs[3].name == "other", "a name that comes once stays as it is"
    assert [run.name for run in find("vgg", "two/cnn")[0]] == ["mine (vgg)", "mine (two/cnn)"]

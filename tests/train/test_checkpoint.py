import contextlib
import os
import pathlib
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxtl.errors import UserError
from jaxtl.train import checkpoint
from jaxtl.train.checkpoint import Checkpoints, flatten, read_best, unflatten, weights_digest
from jaxtl.train.metrics import Metrics
from jaxtl.train.optimizer import make_optimizer
from jaxtl.train.progress import Progress
from jaxtl.train.state import TrainState, init_state
from jaxtl.transfer import Phase

RNG = np.random.default_rng(0)


def variables(seed: int) -> dict:
    rng = np.random.default_rng(seed)
    draw = lambda *shape: jnp.float32(rng.normal(size=shape))  # noqa: E731
    return {
        "params": {"stem": {"conv": {"kernel": draw(3, 3, 1, 2), "bias": draw(2)}}, "head": {"kernel": draw(2, 3)}},
        "batch_stats": {"stem": {"norm": {"mean": draw(2)}}},
    }


def train_state(seed: int) -> TrainState:
    """A state whose every leaf is drawn, the optimiser's and the metrics' too."""
    params, stats = variables(seed)["params"], variables(seed)["batch_stats"]
    optimizer = make_optimizer(Phase(weight_decay=0.1, clip_norm=1.0), optax.constant_schedule(0.1))
    state = init_state(params, stats, optimizer, 3)
    _, opt_state = optimizer.update(params, state.opt_state, params)
    logits = params["head"]["kernel"]
    metrics = Metrics.single_from_model_output(
        loss=logits[:, 0] ** 2, logits=logits, labels=jnp.array([0, 2]), mask=jnp.array([True, True])
    )
    return state.replace(step=jnp.int32(seed), opt_state=opt_state, metrics=metrics)


@pytest.fixture
def checkpoints(tmp_path):
    opened = Checkpoints(tmp_path / "checkpoints")
    yield opened
    opened.close()


def reopened(checkpoints: Checkpoints) -> Checkpoints:
    """What the next process sees."""
    checkpoints.close()
    return Checkpoints(checkpoints.folder)


def epochs(checkpoints: Checkpoints, kind: str) -> list[int]:
    return sorted(int(folder.name) for folder in (checkpoints.folder / kind).iterdir())


def assert_same_bits(tree, other):
    assert jax.tree.structure(tree) == jax.tree.structure(other)
    for leaf, expected in zip(jax.tree.leaves(tree), jax.tree.leaves(other), strict=True):
        assert leaf.dtype == expected.dtype
        assert np.asarray(leaf).tobytes() == np.asarray(expected).tobytes()


def test_the_last_state_comes_back_bit_by_bit(checkpoints):
    saved, progress = (train_state(7), {"a": jnp.ones(2)}), Progress(phase=1, history=[{"epoch": 1, "val_loss": None}])
    checkpoints.save_last(12, saved, progress)
    again = reopened(checkpoints)
    found = again.restore("last", (train_state(8), {"a": jnp.zeros(2)}))
    assert_same_bits(found, saved)
    assert isinstance(found[0], TrainState)
    assert again.last_progress() == progress
    again.close()


def test_the_metrics_go_on_counting_after_a_restore(checkpoints):
    checkpoints.save_last(1, train_state(7), Progress())
    found = checkpoints.restore("last", train_state(8)).metrics
    both = found.merge(train_state(9).metrics).compute()
    assert int(both["confusion"].sum()) == 4


def test_the_best_variables_come_back_bit_by_bit(checkpoints):
    checkpoints.save_best(3, variables(3))
    again = reopened(checkpoints)
    assert_same_bits(again.restore("best", variables(0), 3), variables(3))
    again.close()


def test_a_model_without_statistics_comes_back_with_none(checkpoints):
    bare = {"params": variables(3)["params"], "batch_stats": {}}
    checkpoints.save_best(1, bare)
    assert_same_bits(checkpoints.restore("best", {**variables(0), "batch_stats": {}}, 1), bare)


def test_an_empty_folder_holds_nothing(checkpoints):
    assert checkpoints.last_progress() is None


def test_only_the_newest_last_is_kept(checkpoints):
    for step in (5, 9):
        checkpoints.save_last(step, train_state(step), Progress(step=step))
    assert epochs(checkpoints, "last") == [9]
    assert checkpoints.last_progress() == Progress(step=9)


def test_the_same_step_is_saved_once(checkpoints):
    checkpoints.save_last(5, train_state(5), Progress(step=5))
    checkpoints.save_last(5, train_state(6), Progress(step=6))
    assert_same_bits(checkpoints.restore("last", train_state(0)), train_state(5))


def test_the_best_before_is_kept_for_the_last_that_remembers_it(checkpoints):
    for epoch in (1, 2, 4):
        checkpoints.save_best(epoch, variables(epoch))
    assert epochs(checkpoints, "best") == [2, 4]
    assert_same_bits(checkpoints.restore("best", variables(0), 2), variables(2))


def test_an_epoch_that_was_saved_before_is_written_again(checkpoints):
    checkpoints.save_best(3, variables(3))
    checkpoints.save_best(3, variables(33))
    assert_same_bits(checkpoints.restore("best", variables(0), 3), variables(33))


def test_a_best_epoch_before_one_that_a_killed_process_left_is_saved(checkpoints):
    for epoch in (2, 5, 4):
        checkpoints.save_best(epoch, variables(epoch))
    assert epochs(checkpoints, "best") == [2, 4]
    assert_same_bits(checkpoints.restore("best", variables(0), 4), variables(4))


def test_read_best_needs_no_template(checkpoints):
    for epoch in (3, 5):
        checkpoints.save_best(epoch, variables(epoch))
    found = read_best(checkpoints.folder)
    assert_same_bits(found, jax.tree.map(np.asarray, variables(5)))
    assert all(isinstance(leaf, np.ndarray) for leaf in jax.tree.leaves(found))


@pytest.mark.parametrize("exists", [True, False])
def test_read_best_refuses_a_folder_without_one(tmp_path, exists):
    if exists:
        (tmp_path / "best").mkdir()
    with pytest.raises(UserError, match="holds no best checkpoint; give the folder of a run that has finished"):
        read_best(tmp_path)
    assert (tmp_path / "best").exists() == exists  # reading writes nothing


def test_restoring_what_is_not_there_is_one_sentence(checkpoints):
    with pytest.raises(UserError, match="is damaged or does not belong"):
        checkpoints.restore("best", variables(0), 1)


def test_restoring_into_another_shape_is_one_sentence(checkpoints):
    checkpoints.save_best(1, {"params": {"head": {"kernel": jnp.ones((2, 3))}}})
    other = {"params": {"head": {"kernel": jnp.ones((2, 4))}}}
    with pytest.raises(UserError, match="is damaged or does not belong"):
        checkpoints.restore("best", other, 1)


def truncate(folder: pathlib.Path, pattern: str) -> None:
    """Cut every file of a kind in half."""
    files = [path for path in folder.rglob(pattern) if path.is_file()]
    assert files
    for path in files:
        os.truncate(path, path.stat().st_size // 2)


def test_read_best_refuses_other_variables_than_were_tested(checkpoints):
    checkpoints.save_best(1, variables(1))
    checkpoints.save_best(3, variables(3))
    tested = weights_digest(variables(3))
    assert_same_bits(read_best(checkpoints.folder, tested), variables(3))
    shutil.rmtree(checkpoints.folder / "best" / "3")
    with pytest.raises(UserError, match="the variables of best/1 are not those that the run tested"):
        read_best(checkpoints.folder, tested)


# The arrays' data, the index over them, and what says which there are.
@pytest.mark.parametrize("damage", ["d/*", "manifest.ocdbt", "_METADATA"])
@pytest.mark.parametrize("kind", ["last", "best", "read_best"])
def test_a_damaged_file_is_one_sentence(checkpoints, kind, damage):
    # One array: of several, those still under way would complain to the event loop that the first one's error closed.
    tree = {"params": {"head": {"kernel": jnp.ones((3, 4))}}}
    checkpoints.save_last(1, tree, Progress())
    checkpoints.save_best(1, tree)
    truncate(checkpoints.folder, damage)
    again = reopened(checkpoints)
    read = {
        "last": lambda: again.restore("last", tree),
        "best": lambda: again.restore("best", tree, 1),
        "read_best": lambda: read_best(checkpoints.folder),
    }[kind]
    with pytest.raises(
        UserError, match=r"is damaged or does not belong to this run \(.*\); restore the folder from a copy"
    ):
        read()
    again.close()


def largest(folder: pathlib.Path) -> pathlib.Path:
    return max((path for path in folder.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)


def read_again(folder: pathlib.Path, kind: str, tree: dict) -> tuple[Progress | None, dict]:
    """What the next process reads of a run folder's checkpoints: progress, where there is any, and arrays."""
    if kind == "read_best":
        return None, read_best(folder)
    with contextlib.closing(Checkpoints(folder)) as again:
        if kind == "last":
            return again.last_progress(), again.restore("last", tree)
        return None, again.restore("best", tree, 1)


@pytest.mark.parametrize("kind", ["last", "best", "read_best"])
def test_a_truncated_file_of_many_arrays_is_one_sentence(checkpoints, capfd, kind):
    tree = {f"stage{i}": {"kernel": jnp.asarray(RNG.normal(size=(50, 50)), jnp.float32)} for i in range(10)}
    checkpoints.save_last(1, tree, Progress())
    checkpoints.save_best(1, tree)
    os.truncate(largest(checkpoints.folder / kind.removeprefix("read_")), 1000)
    checkpoints.close()
    with pytest.raises(UserError, match="is damaged or does not belong") as error:
        read_again(checkpoints.folder, kind, tree)
    assert "\n" not in str(error.value)
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.parametrize("kind", ["last", "best", "read_best"])
def test_a_flipped_bit_is_refused_or_changes_nothing(checkpoints, kind):
    """Wherever the bit is: in arrays, in what describes them, in the progress or in the digest itself."""
    tree = {"head": {"kernel": jnp.asarray(RNG.normal(size=(20, 20)), jnp.float32)}}
    checkpoints.save_last(1, tree, Progress(total_step=1, history=[{"epoch": 1, "val_loss": 0.5}]))
    checkpoints.save_best(1, tree)
    checkpoints.close()
    folder = checkpoints.folder / kind.removeprefix("read_")
    sound = read_again(checkpoints.folder, kind, tree)
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    places = [(largest(folder), at) for at in RNG.integers(0, largest(folder).stat().st_size, 8)]
    places += [(path, RNG.integers(0, path.stat().st_size)) for path in files if path.stat().st_size]
    refused = 0
    for path, at in places:
        before = path.read_bytes()
        path.write_bytes(before[:at] + bytes([before[at] ^ 1 << int(RNG.integers(8))]) + before[at + 1 :])
        try:
            found = read_again(checkpoints.folder, kind, tree)
        except UserError as error:
            assert "restore the folder from a copy" in str(error) or "holds no best" in str(error)  # noqa: PT017
            refused += 1
        else:
            assert found[0] == sound[0]
            assert_same_bits(found[1], sound[1])
        path.write_bytes(before)
    assert refused >= 8, "those in the arrays at least"


def test_changed_arrays_and_changed_progress_are_told_apart(checkpoints, monkeypatch):
    checkpoints.save_last(1, variables(1), Progress(total_step=1))
    monkeypatch.setattr(checkpoint, "digest", lambda content: "other")
    with pytest.raises(UserError, match="the state of last/1 is not what was saved"):
        checkpoints.restore("last", variables(0))
    with pytest.raises(UserError, match="the progress of last/1 is not what was saved"):
        checkpoints.last_progress()


def test_progress_with_other_fields_is_one_sentence(checkpoints, monkeypatch):
    monkeypatch.setattr(checkpoint.dataclasses, "asdict", lambda progress: {"phases": 1})
    checkpoints.save_last(1, variables(1), Progress())
    with pytest.raises(UserError, match=r"is damaged or does not belong to this run .*'phases'"):
        checkpoints.last_progress()


def test_a_checkpoint_of_an_older_version_has_no_digest_and_is_read(checkpoints):
    checkpoints.save_best(1, variables(1))
    shutil.rmtree(checkpoints.folder / "best" / "1" / "digest")
    assert_same_bits(reopened(checkpoints).restore("best", variables(0), 1), variables(1))


def test_damaged_progress_is_one_sentence(checkpoints):
    checkpoints.save_last(1, train_state(1), Progress(history=[{"epoch": epoch} for epoch in range(50)]))
    truncate(checkpoints.folder / "last" / "1" / "progress", "metadata")
    again = reopened(checkpoints)
    with pytest.raises(UserError, match="is damaged or does not belong"):
        again.last_progress()
    again.close()


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path):
    (tmp_path / "checkpoints").write_text("a file where the folder should be")
    with pytest.raises(UserError, match="cannot be written"):
        Checkpoints(tmp_path / "checkpoints")


def test_trees_are_stored_under_paths_that_name_every_leaf():
    flat = flatten({"params": {"stem": {"kernel": np.ones(2)}}, "batch_stats": {}})
    assert list(flat) == ["params/stem/kernel"]
    state = train_state(4)
    assert {"step", "trained/head/kernel", "metrics/confusion/counts"} <= set(flatten(state))
    assert_same_bits(unflatten(flatten(state), train_state(5)), state)


def test_what_stays_is_saved_once_a_phase_and_comes_back_bit_by_bit(checkpoints):
    frozen = variables(3)
    checkpoints.save_frozen(0, frozen)
    (file,) = (checkpoints.folder / "frozen" / "0").glob("variables")
    written = file.stat().st_mtime_ns
    checkpoints.save_frozen(0, frozen)
    assert file.stat().st_mtime_ns == written
    again = reopened(checkpoints)
    assert_same_bits(again.restore("frozen", variables(4), 0), frozen)
    again.close()


def test_the_frozen_part_of_the_phase_before_survives_until_the_next_state_is_safe(checkpoints):
    for phase in range(3):
        checkpoints.save_frozen(phase, variables(phase))
    assert epochs(checkpoints, "frozen") == [1, 2]


def test_a_phase_that_freezes_nothing_saves_nothing(checkpoints):
    nothing = {"params": {}, "batch_stats": {}}
    checkpoints.save_frozen(0, nothing)
    assert epochs(checkpoints, "frozen") == []
    assert checkpoints.restore("frozen", nothing, 0) == nothing

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.metrics import accuracy_score, confusion_matrix, log_loss, precision_recall_fscore_support

from jaxtl.data.feed import epoch_order
from jaxtl.train.metrics import Metrics, accuracy_of, empty_metrics
from jaxtl.train.scores import classification_scores
from jaxtl.train.step import cross_entropy

K, N = 5, 83
RNG = np.random.default_rng(0)
LOGITS = RNG.normal(size=(N, K)).astype(np.float32) * 2
LABELS = RNG.integers(0, K - 1, N).astype(np.int32)  # the last class never occurs
PREDICTED = LOGITS.argmax(-1)


@jax.jit
def measure(logits, labels, mask) -> Metrics:
    return Metrics.single_from_model_output(loss=cross_entropy(logits, labels), logits=logits, labels=labels, mask=mask)


def batches(size: int) -> list[Metrics]:
    order = epoch_order(N, size, (0,))
    return [measure(LOGITS[row], LABELS[row], mask) for row, mask in zip(order.indices, order.mask, strict=True)]


def merged(parts: list[Metrics]) -> Metrics:
    whole = empty_metrics(K)
    for part in parts:
        whole = whole.merge(part)
    return whole


@pytest.mark.parametrize("size", [1, 8, 83, 100])
def test_batches_add_up_to_one_pass_over_all_images(size):
    found = merged(batches(size)).compute()
    probabilities = np.asarray(jax.nn.softmax(LOGITS.astype(np.float64)))
    assert float(found["loss"]) == pytest.approx(log_loss(LABELS, probabilities, labels=range(K)), rel=1e-5)
    assert accuracy_of(np.asarray(found["confusion"])) == accuracy_score(LABELS, PREDICTED)
    np.testing.assert_array_equal(found["confusion"], confusion_matrix(LABELS, PREDICTED, labels=range(K)))


def test_batches_merge_in_any_grouping():
    parts = batches(8)
    one_by_one = merged(parts).compute()
    pairs = [a.merge(b) for a, b in zip(parts[::2], parts[1::2], strict=False)] + parts[len(parts) // 2 * 2 :]
    for grouped in (merged(pairs), merged(parts[::-1])):
        found = grouped.compute()
        np.testing.assert_array_equal(found["confusion"], one_by_one["confusion"])
        assert float(found["loss"]) == pytest.approx(float(one_by_one["loss"]), rel=1e-6)


def test_masked_examples_count_nowhere():
    mask = np.arange(N) < 60
    spoilt = LOGITS.copy()
    spoilt[60:] = 1e6 * RNG.normal(size=(N - 60, K))
    found, expected = measure(spoilt, LABELS, mask).compute(), measure(LOGITS, LABELS, mask).compute()
    for name in ("loss", "confusion"):
        np.testing.assert_array_equal(found[name], expected[name])
    assert int(found["confusion"].sum()) == 60


def test_nothing_merged_changes_nothing():
    part = batches(8)[0]
    for both in (empty_metrics(K).merge(part), part.merge(empty_metrics(K))):
        found, expected = both.compute(), part.compute()
        for name in ("loss", "confusion"):
            assert found[name].dtype == expected[name].dtype
            np.testing.assert_array_equal(found[name], expected[name])


def test_empty_metrics_can_be_donated():
    # Two leaves in one buffer would be donated twice, which jax refuses.
    add = jax.jit(lambda a, b: a.merge(b), donate_argnums=0)
    assert int(add(empty_metrics(K), batches(8)[0]).compute()["confusion"].sum()) == 8


def test_counts_are_exact_integers():
    counts = merged(batches(8)).confusion.counts
    assert counts.dtype == jnp.int32
    assert int(counts.sum()) == N


def test_scores_of_the_device_counts_agree_with_scikit_learn():
    scores = classification_scores(np.asarray(merged(batches(8)).compute()["confusion"]))
    options = {"labels": range(K), "zero_division": 0}
    # Means are those of the classes with images; the last one has none.
    macro = precision_recall_fscore_support(LABELS, PREDICTED, average="macro", **{**options, "labels": range(K - 1)})
    assert [scores["precision"], scores["recall"], scores["f1"]] == pytest.approx(macro[:3])
    for name, expected in zip(
        ("precision", "recall", "f1", "support"),
        precision_recall_fscore_support(LABELS, PREDICTED, **options),
        strict=True,
    ):
        np.testing.assert_allclose([line[name] for line in scores["per_class"]], expected)
    assert scores["accuracy"] == pytest.approx(accuracy_score(LABELS, PREDICTED))

"""Temperature scaling, and the confidence below which a run does not answer."""

import numpy as np
import pytest
from scipy.special import log_softmax, softmax

from jaxtl.report.statistics import calibration
from jaxtl.train.calibration import calibrated, choose_threshold, fit_temperature
from jaxtl.train.evaluate import Evaluation


def evaluation(logits, labels):
    confusion = np.zeros((logits.shape[1],) * 2, int)
    np.add.at(confusion, (labels, logits.argmax(-1)), 1)
    losses = -log_softmax(logits, axis=-1)[np.arange(len(labels)), labels]
    accuracy = float((logits.argmax(-1) == labels).mean())
    return Evaluation(float(losses.mean()), accuracy, confusion, logits, labels, 1.0, 0.0)


def drawn(temperature, count=4000, seed=0):
    """Logits that are ``temperature`` times too large for their labels."""
    rng = np.random.default_rng(seed)
    honest = rng.normal(scale=2, size=(count, 5))
    labels = np.array([rng.choice(5, p=p) for p in softmax(honest, axis=-1)])
    return (temperature * honest).astype(np.float32), labels


@pytest.mark.parametrize("temperature", [0.2, 0.8, 3.0])
def test_the_temperature_of_logits_that_are_too_large_or_too_small_is_found(temperature):
    logits, labels = drawn(temperature)
    found = fit_temperature(logits, labels)
    assert found == pytest.approx(temperature, rel=0.05)
    assert found == fit_temperature(logits, labels), "nothing is drawn"

    def loss(at):
        return -log_softmax(logits.astype(float) / at, axis=-1)[np.arange(len(labels)), labels].mean()

    assert loss(found) <= min(loss(found * 1.01), loss(found / 1.01))


def test_calibration_repairs_probabilities_and_leaves_predictions_alone():
    validation, test = evaluation(*drawn(3.0)), evaluation(*drawn(3.0, seed=1))
    after, validated = calibrated(test, validation)
    assert after.temperature == validated.temperature == pytest.approx(3, rel=0.05)
    for name in ("loss", "accuracy", "confusion", "predicted", "ranks", "logits"):
        np.testing.assert_array_equal(getattr(after, name), getattr(test, name))
    right = test.predicted == test.labels
    before_error, error = (calibration(found.probability, right)[1] for found in (test, after))
    assert before_error > 0.15 and error < 0.02
    assert after.losses.mean() < test.losses.mean()
    tempered = softmax(test.logits / after.temperature, axis=-1)
    np.testing.assert_allclose(after.probability, tempered.max(-1), rtol=1e-5)
    np.testing.assert_allclose(np.exp(-after.losses), tempered[np.arange(len(right)), test.labels], rtol=1e-5)


def test_without_images_or_mistakes_nothing_is_calibrated():
    test = evaluation(*drawn(3.0, count=50))
    assert calibrated(test, None) == (test, None)
    perfect = evaluation(4 * np.eye(5, dtype=np.float32), np.arange(5))
    assert [found.temperature for found in calibrated(test, perfect)] == [1, 1], "the best temperature would be 0"
    assert fit_temperature(np.array([[1.0, np.inf], [0.0, 1.0]]), np.array([0, 0])) == 1


def test_a_few_images_do_not_change_probabilities_by_chance():
    found = [fit_temperature(*drawn(1.0, count=25, seed=seed)) for seed in range(40)]
    assert 35 <= found.count(1.0) < 40, "about 95 % of them"
    assert fit_temperature(*drawn(3.0, count=100)) > 1.5


def test_sigmoid_outputs_are_calibrated_too():
    logits, labels = drawn(1.0)
    squashed = 1 / (1 + np.exp(-logits))
    found = fit_temperature(squashed, labels)
    assert 0.01 <= found < 0.5, "a softmax of values between 0 and 1 is far too unsure"
    right = squashed.argmax(-1) == labels
    before, after = (calibration(softmax(squashed / at, axis=-1).max(-1), right)[1] for at in (1.0, found))
    assert after < before / 2


def test_the_threshold_answers_as_many_as_the_error_rate_allows():
    confidence = np.array([0.6, 0.9, 0.8, 0.7, 0.8, 0.5])
    right = np.array([True, True, True, False, True, False])
    # Sorted: 0.9 right, 0.8 right, 0.8 right, 0.7 wrong, 0.6 right, 0.5 wrong.
    assert choose_threshold(confidence, right, 0.0) == 0.8
    assert choose_threshold(confidence, right, 0.2) == 0.6, "a wrong one may lie between"
    assert choose_threshold(confidence, right, 0.5) == 0.5
    assert choose_threshold([0.9, 0.9, 0.1], [True, False, True], 0.1) is None, "equal confidences, one of them wrong"
    assert choose_threshold([], [], 0.5) is None


def test_the_threshold_keeps_its_promise_on_new_images():
    validation, test = evaluation(*drawn(1.0)), evaluation(*drawn(1.0, seed=1))
    threshold = choose_threshold(validation.probability, validation.predicted == validation.labels, 0.1)
    sure = test.probability >= threshold
    assert 0.2 < sure.mean() < 0.9
    assert (test.predicted != test.labels)[sure].mean() == pytest.approx(0.1, abs=0.02)
    assert (test.predicted != test.labels).mean() > 0.25

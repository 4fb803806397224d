"""Knowing when not to know: probabilities that can be believed, and the confidence below which not to answer."""

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from jaxtl.train.evaluate import Evaluation

LOWEST, HIGHEST = 0.01, 100.0  # temperatures
CHI_SQUARED = 3.84  # its 95 % point with one degree of freedom


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """The temperature T from 0.01 to 100 at which softmax(logits / T) has the least mean cross-entropy.

    It changes how sure predictions are, never which class is predicted. The cross-entropy is convex in 1 / T, so there
    is one minimum, which is found without any randomness.

    Source: C. Guo, G. Pleiss, Y. Sun, K. Q. Weinberger (2017), On calibration of modern neural networks, section 4.2.

    Args:
      logits: float ``[N, K]``, of images that did not train the network.
      labels: int ``[N]``.

    Returns:
      The temperature; 1 where every prediction is right, a logit is not finite, or a likelihood-ratio test (Wilks 1938)
      at 5 % does not speak against 1: a few images should not change probabilities by chance.
    """
    from scipy.optimize import minimize_scalar  # type: ignore[import-untyped]  # no start should wait for its import
    from scipy.special import log_softmax  # type: ignore[import-untyped]

    scores, each = np.asarray(logits, float), np.arange(len(labels))
    if not np.isfinite(scores).all() or (scores.max(axis=-1) == scores[each, labels]).all():
        return 1.0

    def mean_loss(log_t: float) -> float:
        return -float(log_softmax(scores / np.exp(log_t), axis=-1)[each, labels].mean())

    bounds = np.log([LOWEST, HIGHEST])
    best = minimize_scalar(mean_loss, bounds=bounds, method="bounded", options={"xatol": 1e-6})
    ratio = 2 * len(labels) * (mean_loss(0.0) - best.fun)
    return float(np.exp(best.x)) if ratio > CHI_SQUARED else 1.0


def calibrated(test: Evaluation, validation: Evaluation | None) -> tuple[Evaluation, Evaluation | None]:
    """Both evaluations at the temperature of the validation images; unchanged without such images.

    Whatever the head gives is divided by it, also the sigmoid outputs of a replica, whose softmax is far too unsure.
    """
    if validation is None:
        return test, None
    temperature = fit_temperature(validation.logits, validation.labels)
    return replace(test, temperature=temperature), replace(validation, temperature=temperature)


def choose_threshold(confidence: npt.ArrayLike, right: npt.ArrayLike, max_error: float) -> float | None:
    """The least confidence to answer with, so that at most a share ``max_error`` of the answers is wrong.

    Source: C. K. Chow (1970), On optimum recognition error and reject tradeoff, IEEE Transactions on Information Theory
    16, 41-46: no rule does better than to reject what has the least confidence.

    Args:
      confidence: float ``[N]``, probability of the predicted class.
      right: bool ``[N]``, whether it is right.
      max_error: in [0, 1).

    Returns:
      A confidence; ``None`` where even the most confident predictions are wrong more often, or there are none.
    """
    confidence = np.asarray(confidence, float)
    order = np.argsort(-confidence, kind="stable")
    confidence, wrong = confidence[order], np.cumsum(~np.asarray(right, bool)[order])
    last_of_equal = np.diff(confidence, append=-1) < 0  # equal confidences are answered together
    allowed = confidence[(wrong <= max_error * np.arange(1, len(order) + 1)) & last_of_equal]
    return float(allowed[-1]) if len(allowed) else None

"""Conservation: whether the scores of an explanation add up to what they explain."""

import numpy as np

from .perturbation import Perturbation
from .perturbation_runner import Measured, Measurement, NotMeasurable
from .texts import EncodedText


def conservation_error(text: EncodedText, scores: np.ndarray, target: int, perturbation: Perturbation) -> Measurement:
    """|y − Σ scores| / |y|, y being the logit of `target` and the sum over all tokens, special ones too.

    0 for a complete explanation; biases count as error (Ali et al. 2022, section 5.2 plot the two sides).
    The `perturbation` has no part in it. The mean over texts is drawn by those whose logit is near 0: look at the
    median too.

    Raises:
        NotMeasurable: where scores are not finite, or the logit is 0.
    """
    total = float(np.asarray(scores, dtype=np.float64).sum())
    if not np.isfinite(total):
        raise NotMeasurable("scores are not finite")
    logit = float((yield [text.unperturbed])[0, target])
    if logit == 0:
        raise NotMeasurable("the logit is 0")
    return Measured(abs(logit - total) / abs(logit))

"""What an explanation of any backbone must hold, asked from outside: of inputs, weights, logits and scores alone.

Nothing here uses the package's own knowledge of a backbone's parts. Silence, the words' places and the naive values are
made from torch modules and from what transformers itself returns (`output_attentions`, `output_hidden_states`).
"""

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from tests.conformance.cases import (
    BATCHES,
    LONGER,
    WORDS_AT,
    Case,
    WrongAnswerError,
    distance,
    distance_of_scores,
    explain,
    first_of,
    leave_one_word,
    other_weights,
)
from tests.conformance.naive_values import NAIVE, naive_pass, path_integral
from tests.modeling_attrib.architectures import zero_biases


FAMILIES = {
    "lrp": ("lrp",),
    "attention rules": ("damped_lrp", "attn_lrp"),
    "gradients": ("gradient_x_input", "integrated_gradients"),
    "attention": ("attention_last", "attcat", "gae"),
}
METHODS = tuple(method for methods in FAMILIES.values() for method in methods)
POOLINGS = ("mean", "cls", "last")


@dataclass(frozen=True)
class Verdict:
    """What one method did on one backbone with one kernel and pooling.

    Attributes:
        outcome: "holds", "refused", "wrong" (an answer that does not hold) or "crashed" (an error that is no refusal).
        reason: why, in one line; of what holds, what could not be asked.
    """

    method: str
    outcome: str
    reason: str = ""


def judge(case: Case, method: str, pooling: str) -> Verdict:
    """Ask everything of one method; the model keeps its weights."""
    case.model.config.pooling = pooling
    try:
        notes = {note for check in CHECKS for note in [check(case, method)] if note}
        notes |= {note for check in SILENCED_CHECKS for note in [_asked_if_answered(check, case, method)] if note}
    except WrongAnswerError as error:
        return Verdict(method, "wrong", str(error))
    except ValueError as error:
        return _refused(case, method, one_line(error))
    except Exception as error:
        return Verdict(method, "crashed", f"{type(error).__name__}: {one_line(error)}")
    return Verdict(method, "holds", "; ".join(sorted(notes)))


def _asked_if_answered(check: "Check", case: Case, method: str) -> str | None:
    """A check of other weights than the classifier's own, with which a method may refuse what it else answers."""
    try:
        return check(case, method)
    except ValueError:
        return "refused without biases"


def _refused(case: Case, method: str, reason: str) -> Verdict:
    """A refusal; where texts of another length are answered (Longformer's of whole windows), the answer must hold."""
    try:
        together, alone = case.answer(method, "square"), explain(case.model, method, first_of(BATCHES["square"]))
    except ValueError:
        if (method, case.model.config.pooling, "square") in case.known:
            return Verdict(method, "wrong", f"answers for as many texts as tokens what it refuses alone ({reason})")
        return Verdict(method, "refused", reason)
    except Exception as error:
        return Verdict(method, "crashed", f"{type(error).__name__}: {one_line(error)}")
    if distance_of_scores(case, together[1][:1], alone) > case.tolerance:
        return Verdict(method, "wrong", "a text alone has other scores than in a batch")
    return Verdict(method, "refused", reason)


def one_line(error: Exception) -> str:
    """What an error says, without its line breaks."""
    return " ".join(str(error).split())[:400]


def leaves_no_trace(case: Case, methods: Sequence[str]) -> bool:
    """Whether the logits of a text are the same, bit by bit, before and behind an explanation by each method."""

    def logits() -> torch.Tensor:
        with torch.no_grad():
            return case.model(**LONGER, output_attributions=False).logits

    before = logits()
    for method in methods:
        with contextlib.suppress(Exception):  # refusals and crashes are judged below; what they leave counts here
            explain(case.model, method, LONGER)
    return torch.equal(logits(), before)


def is_of_the_backbone(case: Case, method: str) -> None:
    """The bare backbone with eager attention has the same logits as a plain pass, and as the pass explained."""
    inputs = BATCHES["long"]
    with torch.no_grad():
        plain = case.model(**inputs, output_attributions=False).logits
        expected = case.once(("bare", case.model.config.pooling), lambda: naive_pass(case, inputs).logits)
    for logits in (plain, case.answer(method, "long")[0]):
        if distance(logits, expected) > case.tolerance:
            raise WrongAnswerError("logits are not those of the bare backbone")


def is_the_same_alone(case: Case, method: str) -> str | None:
    """A text says in a padded batch what it says alone; and in as many texts as it has tokens."""
    for batch in ("padded", "square") if case.is_thorough else ("padded",):
        together, alone = case.answer(method, batch), explain(case.model, method, first_of(BATCHES[batch]))
        if distance(together[0][:1], alone[0]) > case.tolerance:
            return "the backbone lets padding into the logits"
        gap = distance_of_scores(case, together[1][:1, :, : alone[1].shape[-1]], alone)
        if gap > case.tolerance:
            raise WrongAnswerError(f"a text alone has other scores than in a batch (by {gap:.1%})")
    return None


def ignores_frozen_weights(case: Case, method: str) -> None:
    """Scores do not depend on which weights are being trained."""
    if not case.is_thorough:
        return
    case.model.requires_grad_(False)
    try:
        after = explain(case.model, method, BATCHES["long"])[1]
    finally:
        case.model.requires_grad_(True)
    if distance_of_scores(case, after, case.answer(method, "long")) > case.tolerance:
        raise WrongAnswerError("scores change when weights are frozen")


def conserves(case: Case, method: str) -> None:
    """Without biases, the scores of `lrp` sum to each logit; the other rules stand on its rules for every part."""
    if method not in FAMILIES["lrp"] + FAMILIES["attention rules"]:
        return
    gap = case.once(("conserves", case.model.config.pooling), lambda: _unaccounted(case))
    if gap > case.tolerance:
        raise WrongAnswerError(f"without biases lrp leaves {gap:.1%} of the logit unaccounted for")


def _unaccounted(case: Case) -> float:
    gaps = []
    with other_weights(case.model):
        zero_biases(case.model)
        for batch in ("short", "long") if case.is_thorough else ("long",):
            logits, scores = explain(case.model, "lrp", BATCHES[batch])
            gaps.append((scores.sum(dim=-1) - logits).abs() / (logits.abs() + scores.abs().sum(dim=-1)))
    return float(torch.cat(gaps).max())


def is_local(case: Case, method: str) -> str | None:
    """Where one word alone is not silent, no other token has a score. (`damped_lrp` reads behind a layer, too.)"""
    if method not in ("lrp", "attn_lrp", "gradient_x_input"):
        return None
    with other_weights(case.model):
        zero_biases(case.model)
        inputs = leave_one_word(case.model)
        if inputs is None:
            return "words could not be silenced, so locality was not asked"
        _, scores = explain(case.model, method, inputs)
    size = scores.abs().sum(dim=(1, 2))
    if case.is_thorough and not bool((size > 0).all()):
        raise WrongAnswerError("the only word has no score")
    for text, word in enumerate(WORDS_AT):
        elsewhere = float(size[text] - scores[text, :, word].abs().sum())
        if elsewhere > case.tolerance * float(size[text]):
            raise WrongAnswerError(f"{elsewhere / float(size[text]):.0%} of the only word's scores are on other tokens")
    return None


def is_a_rule_of_its_own(case: Case, method: str) -> None:
    """`damped_lrp` is not `lrp`, and neither is `attn_lrp`: both halve at each attention product."""
    if method not in FAMILIES["attention rules"] or not case.is_thorough:
        return
    for batch in ("short", "long"):
        if distance(case.answer(method, batch)[1], case.answer("lrp", batch)[1]) < 1e-3:
            raise WrongAnswerError(f"{method} is lrp: attention products were not met")


def equals_the_naive_value(case: Case, method: str) -> str | None:
    """Methods of gradients and attention, computed from what transformers itself returns."""
    naive = NAIVE.get(method)
    if naive is None or (method != "attention_last" and not case.is_thorough):
        return None
    with other_weights(case.model, case.bare):
        zero_biases(case.model)  # between two places where the embeddings may be read, a bias may stand
        zero_biases(case.bare)
        scores = explain(case.model, method, BATCHES["long"])[1]
        returned = naive_pass(case, BATCHES["long"], output_attentions=True, output_hidden_states=True)
        expected = naive(returned) if returned.is_whole() else None
    if expected is None:
        return "transformers returns no attention to compare with"
    gap = distance(scores, expected)
    if gap > case.tolerance:
        raise WrongAnswerError(f"differs from the naive value by {gap:.1%}")
    return None


def follows_the_logits(case: Case, method: str) -> None:
    """Integrated gradients sum to differences of the bare backbone's logits: gradients are whole."""
    if method != "integrated_gradients" or not case.is_thorough:
        return
    scores = case.answer(method, "long")[1]
    gaps = []
    for width in (1e-2, 1e-3, 3e-4, 1e-4, 1e-5):  # a wide one meets experts' jumps, a narrow one float32's last digits
        differences = path_integral(case, BATCHES["long"], width)
        gaps.append(float(((scores.sum(dim=-1) - differences).abs() / scores.abs().sum(dim=-1)).max()))
        if gaps[-1] < 1e-2:
            return
    raise WrongAnswerError(f"differs from differences of the logits by {min(gaps):.1%}")


Check = Callable[[Case, str], str | None]
CHECKS: tuple[Check, ...] = (
    is_of_the_backbone,
    is_the_same_alone,
    ignores_frozen_weights,
    is_a_rule_of_its_own,
    follows_the_logits,
)
SILENCED_CHECKS: tuple[Check, ...] = (conserves, is_local, equals_the_naive_value)

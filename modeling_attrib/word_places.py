"""Whether a token's state is its own word's: where relevance is read, and behind the last attention product."""

import torch

from .activation_capture import ActivationCapture, check_states
from .attribution_methods import ExplainableClassifier, Inputs
from .backbone_parts import find_parts, word_embeddings
from .propagation_methods import embedding_place
from .propagation_rules import PropagationRules
from .sample_inputs import sample_inputs
from .untouched import random_state, set_random_state


def word_out_of_place(classifier: ExplainableClassifier) -> str | None:
    """Why relevance that is read where the layers begin would not be the words' own; None if it is.

    A word must reach its own token there, no other one (MobileBERT's embeddings join each word with its neighbours),
    and the layers by no other way. Found by poisoning one word of each text with NaN, and by exchanging all words
    while the states in that place are held.

    Raises:
        ValueError: if the states are no finite numbers to begin with, which would hide both.
    """
    inputs = sample_inputs(classifier, 3, 8)
    others = sample_inputs(classifier, 3, 8, different=True)
    words = word_embeddings(classifier.backbone)
    place, side = embedding_place(find_parts(classifier.backbone), at_sum=False)
    with ActivationCapture(words, side="output") as embedded, ActivationCapture([place], side) as capture:
        last = classifier.encode(inputs)
    check_states(classifier, embedded.values, inputs)
    check_states(classifier, capture.values, inputs)
    states = capture.values[0].detach()
    if not bool(states.isfinite().all() and last.isfinite().all()):
        raise ValueError(
            f"{type(classifier.backbone).__name__}: the token states of ordinary words are not finite numbers, so that "
            "nothing can be explained: look for a weight that is not a number, or load the model in a wider type."
        )
    texts, tokens = inputs["input_ids"].shape
    poisoned = torch.arange(tokens) == (torch.arange(texts).unsqueeze(1) * 2 + 1) % tokens
    poisoned = poisoned.to(states.device)
    poison = embedded.values[0].detach().masked_fill(poisoned.unsqueeze(-1), torch.nan)
    healthy = ActivationCapture([place], side, replacement=states)  # what comes behind need not bear poison
    with (
        ActivationCapture(words, side="output", replacement=poison),
        ActivationCapture([place], side) as capture,
        healthy,
    ):
        classifier.encode(inputs)
    reached = capture.values[0].isnan().any(dim=-1)
    if bool((reached & ~poisoned).any()):
        return "its embeddings mix each word with its neighbours before the first layer"
    start, ends = random_state(classifier.device), []
    for given in (inputs, others):
        set_random_state(start, classifier.device)  # dropout, in training mode, is the same
        with ActivationCapture([place], side, replacement=states):
            ends.append(classifier.encode(given))
    if not (ends[1] - ends[0]).abs().max() <= 1e-3 * ends[0].abs().max():  # NaN too
        return "words reach the logits by another way than through the first layer's input"
    return None


def mixes_tokens(classifier: ExplainableClassifier, inputs: Inputs) -> bool:
    """Whether a token's last state depends on other tokens' states behind the last attention product.

    Found by poisoning: linear layers behind that product give NaN for all tokens but one. What reads them, with
    whatever weight, is NaN itself.

    Args:
        inputs: as many real tokens in each text as there are texts, or more; text i is asked for its token i.
    """
    head_weights = torch.eye(*inputs["attention_mask"].shape, device=inputs["attention_mask"].device)
    mode = PropagationRules(
        find_parts(classifier.backbone),
        classifier.num_layers,
        attention="frozen",
        head_weights=head_weights,
        fill_value=torch.nan,
    )
    with torch.no_grad(), mode:
        states = classifier.encode(inputs)
    return bool(states[head_weights.bool()].isnan().any())

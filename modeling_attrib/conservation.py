"""Whether tokens and biases account for the whole logit under `lrp`: they do if every part has a propagation rule."""

import torch

from .attribution_methods import ExplainableClassifier, Inputs
from .propagation_methods import LRP, refuse_detour, run_under_rules
from .stand_ins import StandIns


def unaccounted_relevance(classifier: ExplainableClassifier, inputs: Inputs) -> float:
    """How far `lrp` is from accounting for the logits with tokens and biases: 0 if every part has a rule.

    Under its rules the classifier is linear in embeddings and biases, so that logit = sum x·∂y/∂x + sum b·∂y/∂b. A
    part that no rule knows (an activation written out by hand, a path around the embeddings) breaks the equation.
    Weights of 16 bits are widened for it, operation by operation: their rounding alone would leave up to a third.
    One text may hide such a part by chance, above all where the head reads one token that sees no other: several show.

    Returns:
        |logit − both sums| / (|logit| + each token's |score| + each bias's |share|), with the root mean square on both
        sides of the fraction, of up to eight logits: a label of each text, in turn. 0 also where nothing reaches the
        logits, as through a head of zeros. NaN if anything is.
    """
    device = inputs["attention_mask"].device.type
    with torch.inference_mode(False), torch.enable_grad(), torch.autocast(device, enabled=False):
        stand_ins = StandIns(classifier)
        run = run_under_rules(classifier, inputs, inside=stand_ins, parameters=None, **LRP)
        texts, labels = run.logits.shape
        logits = [run.logits[n % texts, n % labels] for n in range(min(max(texts, labels), 8))]
        embeddings = run.states[0]
        biases = stand_ins.biases
        sources = [embeddings, *biases, *run.words]
        errors, sizes = [], []
        for logit in logits:
            gradients = torch.autograd.grad(logit, sources, retain_graph=True, allow_unused=True)
            refuse_detour(classifier, gradients[1 + len(biases) :])
            terms = [(gradients[0] * embeddings).sum(dim=-1).flatten()]
            terms += [(g * b).sum().view(1) for g, b in zip(gradients[1:], biases) if g is not None]
            shares = torch.cat([term.detach() for term in terms])
            errors.append(logit.detach() - shares.sum())
            sizes.append(logit.detach().abs() + shares.abs().sum())
        error, size = torch.stack(errors).norm(), torch.stack(sizes).norm()
    return float(error / size) if size else 0.0

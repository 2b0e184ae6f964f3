"""SetFit's classifiers, in the shape that its library gives them: the same probabilities, whole explanations."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from architectures import SIZE, batch, randomise, zero_biases
from torch import nn
from torch.nn import functional as F
from transformers import BertConfig, BertModel

from modeling_attrib import AttribForSequenceClassification


WIDTH = SIZE["hidden_size"]


class Transformer(nn.Module):
    def __init__(self):
        super().__init__()
        self.auto_model = BertModel(BertConfig(**SIZE)).eval()
        randomise(self.auto_model)


class Pooling(nn.Module):
    pooling_mode = "mean"


class Normalize(nn.Module):
    pass


class Dense(nn.Module):
    pass


class MaxPooling(nn.Module):
    pooling_mode = "max"


MaxPooling.__name__ = "Pooling"


def logistic(rows, classes, seed=0):
    """As scikit-learn's LogisticRegression, fitted."""
    draw = np.random.default_rng(seed)
    return SimpleNamespace(
        coef_=draw.normal(size=(rows, WIDTH)), intercept_=draw.normal(size=rows), classes_=np.array(classes)
    )


def setfit(head, *parts, strategy=None, labels=None, normalize=False):
    body = nn.Sequential(Transformer(), *(parts or (Pooling(),)))
    return SimpleNamespace(
        model_body=body,
        model_head=head,
        multi_target_strategy=strategy,
        labels=labels,
        normalize_embeddings=normalize,
    )


def vectors(model, inputs, normalised):
    with torch.no_grad():
        states = model.model_body[0].auto_model(**inputs).last_hidden_state
    mask = inputs["attention_mask"].unsqueeze(-1)
    mean = (states * mask).sum(1) / mask.sum(1)
    return F.normalize(mean, dim=-1) if normalised else mean


@pytest.mark.parametrize("normalised", [False, True])
@pytest.mark.parametrize("kind", ["three", "two", "several", "torch"])
def test_probabilities_are_setfits_and_words_account_for_the_logit(kind, normalised):
    if kind == "three":
        given = setfit(logistic(3, ["a", "b", "c"]), Pooling(), *([Normalize()] if normalised else []))
    elif kind == "two":
        given = setfit(logistic(1, ["no", "yes"]), normalize=normalised)
    elif kind == "several":
        heads = SimpleNamespace(estimators_=[logistic(1, [0, 1], seed) for seed in range(3)])
        given = setfit(heads, strategy="multi-output", labels=["a", "b", "c"], normalize=normalised)
    else:
        head = nn.Module()
        head.linear, head.temperature, head.eps = nn.Linear(WIDTH, 3), 2.0, 1e-5
        given = setfit(head, normalize=normalised)
    model = AttribForSequenceClassification.from_classifier(given)
    inputs = batch((8, 5))
    inputs.pop("token_type_ids", None)
    features = vectors(given, inputs, normalised)
    with torch.no_grad():
        logits = model(**inputs).logits
    parts = getattr(given.model_head, "estimators_", [given.model_head])
    if kind == "torch":
        expected = (given.model_head.linear(features) / (2.0 + 1e-5)).softmax(-1)
    else:
        weight = torch.tensor(np.concatenate([part.coef_ for part in parts])).float()
        bias = torch.tensor(np.concatenate([part.intercept_ for part in parts])).float()
        rows = features @ weight.T + bias
        yes = rows.sigmoid()
        expected = {"three": rows.softmax(-1), "two": torch.cat([1 - yes, yes], -1), "several": yes}[kind]
    found = logits.sigmoid() if model.config.problem_type == "multi_label_classification" else logits.softmax(-1)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    model.double()
    zero_biases(model)
    with torch.no_grad():
        output = model(**inputs, attribution_method="lrp", attribution_target="all")
    assert output.attribution_residual.abs().max() < 1e-9 * output.logits.abs().max()


def test_names_are_setfits_or_its_heads():
    names = AttribForSequenceClassification.from_classifier(setfit(logistic(1, ["no", "yes"]))).config.id2label
    assert names == {0: "no", 1: "yes"}
    given = setfit(logistic(3, [0, 1, 2]), labels=["a", "b", "c"])
    assert AttribForSequenceClassification.from_classifier(given).config.id2label == {0: "a", 1: "b", 2: "c"}


def test_it_is_saved_with_its_normalisation(tmp_path):
    model = AttribForSequenceClassification.from_classifier(setfit(logistic(3, ["a", "b", "c"]), normalize=True))
    model.save_pretrained(tmp_path)
    loaded, info = AttribForSequenceClassification.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(info.values())
    with torch.no_grad():
        assert torch.equal(loaded(**batch()).attributions, model(**batch()).attributions)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (lambda: setfit(logistic(3, "abc"), Pooling(), Dense()), "Dense between encoder and head is not supported"),
        (lambda: setfit(logistic(3, "abc"), MaxPooling()), "max pooling is not supported"),
        (lambda: setfit(SimpleNamespace()), "is not linear, or not trained"),
        (lambda: setfit(logistic(3, "abc"), labels=["a"]), "has 3 rows and names 1 labels"),
    ],
)
def test_what_does_not_fit_is_refused(given, message):
    with pytest.raises(ValueError, match=message):
        AttribForSequenceClassification.from_classifier(given())

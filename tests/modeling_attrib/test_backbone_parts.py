"""Building on backbones: what is refused because its explanations would be wrong, and what frozen weights allow."""

from types import SimpleNamespace

import pytest
import torch
from architectures import batch as make_batch
from architectures import build
from torch import nn
from transformers import (
    AutoConfig,
    AutoModel,
    BartConfig,
    BartModel,
    BertConfig,
    BertForMaskedLM,
    BertForSequenceClassification,
    BertModel,
    BloomConfig,
    BloomModel,
    PreTrainedTokenizerBase,
    RobertaConfig,
    RobertaModel,
    T5Config,
    T5EncoderModel,
    XLMConfig,
    XLMModel,
)

from modeling_attrib import AttribForSequenceClassification
from modeling_attrib.backbone_parts import padding_id, token_limit
from modeling_attrib.conservation import unaccounted_relevance
from modeling_attrib.text_windows import NO_LIMIT


SMALL = {"vocab_size": 120}
BLOOM = BloomConfig(**SMALL, hidden_size=32, n_layer=2, n_head=4)
XLM = XLMConfig(n_words=120, emb_dim=32, n_layers=2, n_heads=4)
BART = BartConfig(
    **SMALL, d_model=32, encoder_layers=2, decoder_layers=2, encoder_attention_heads=4, decoder_attention_heads=4,
    encoder_ffn_dim=48, decoder_ffn_dim=48,
)  # fmt: skip
BERT_SIZE = SMALL | {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
BERT = BertConfig(**BERT_SIZE)
T5 = T5Config(**SMALL, d_model=32, d_kv=8, num_layers=2, num_heads=4, d_ff=48)


def save(folder, model) -> str:
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    model.save_pretrained(folder)
    return str(folder)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        pytest.param(
            BloomModel, "leave .* of the relevance unaccounted for", id="bloom: an activation written out by hand"
        ),
        pytest.param(XLMModel, "by another way than through the first", id="xlm: a path around the layers' input"),
        pytest.param(BartModel, "encoder-decoder", id="bart: the decoder reads the text too"),
    ],
)
def test_a_backbone_that_lrp_would_misread_is_refused(tmp_path, model, message):
    config = {BloomModel: BLOOM, XLMModel: XLM, BartModel: BART}[model]
    torch.manual_seed(0)
    folder = save(tmp_path, model(config))
    with pytest.raises(ValueError, match=message):
        AttribForSequenceClassification.from_backbone(folder, num_labels=3)


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("method", "no argument 'method'; did you mean attribution_method"),
        ("head", "attribution_head or attribution_head_reads"),
        ("lables", "no argument 'lables'; AttribConfig takes .*pooling, .*attribution_method"),
    ],
)
def test_an_argument_that_nothing_reads_is_refused(argument, message):
    with pytest.raises(TypeError, match=message):
        AttribForSequenceClassification.from_backbone(BERT, num_labels=3, **{argument: "lrp"})


def test_a_small_rest_is_not_called_nothing(monkeypatch):
    monkeypatch.setattr("modeling_attrib.backbone_checks.unaccounted_relevance", lambda *arguments: 0.0042)
    with pytest.raises(ValueError, match=r"leave 0\.4% of the relevance unaccounted for"):
        AttribForSequenceClassification.from_backbone(BERT, num_labels=3)


def test_a_method_without_that_promise_takes_it(tmp_path):
    torch.manual_seed(0)
    folder = save(tmp_path, BloomModel(BLOOM))
    model = AttribForSequenceClassification.from_backbone(folder, attribution_method="gradient_x_input")
    with torch.no_grad():
        assert model(**make_batch()).attributions.abs().sum() > 0


@pytest.mark.parametrize("frozen", [False, True])
def test_a_path_around_the_embeddings_is_noticed_by_every_method(tmp_path, frozen):
    torch.manual_seed(0)
    folder = save(tmp_path, XLMModel(XLM))
    model = AttribForSequenceClassification.from_backbone(folder, attribution_method="random")
    model.config.attribution_method = "gradient_x_input"
    model.requires_grad_(not frozen)
    with pytest.raises(ValueError, match="by another way than through the first"):
        model(**make_batch())
    inputs = make_batch()
    inputs["inputs_embeds"] = model.backbone.get_input_embeddings()(inputs.pop("input_ids")).detach()
    with pytest.raises(ValueError, match="by another way than through the first"):
        model(**inputs)
    assert not inputs["inputs_embeds"].requires_grad


def test_the_classifier_comes_in_evaluation_mode_and_explains(tmp_path):
    torch.manual_seed(0)
    model = AttribForSequenceClassification.from_backbone(save(tmp_path, BertModel(BERT)), num_labels=3)
    assert not model.training
    assert model(**make_batch()).attributions.shape == make_batch()["input_ids"].shape


def finished_classifier(folder, kind: str) -> nn.Module:
    """A trained classifier in a folder: of this class, or one of transformers' own."""
    torch.manual_seed(0)
    if kind == "ours":
        model = AttribForSequenceClassification.from_backbone(BERT, num_labels=3)
    else:
        model = BertForSequenceClassification(BERT)
    save(folder, model)
    return model


@pytest.mark.parametrize(
    ("kind", "door"),
    [("ours", "load it with from_pretrained"), ("stock", r"AutoModel\.from_pretrained\(\.\.\.\)\.save_pretrained")],
)
def test_a_finished_classifier_is_refused(tmp_path, kind, door):
    finished_classifier(tmp_path, kind)
    with pytest.raises(ValueError, match=f"is a finished classifier.*{door}") as refusal:
        AttribForSequenceClassification.from_backbone(str(tmp_path), num_labels=3)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("kind", ["ours", "stock"])
def test_its_encoder_is_taken_as_the_refusal_says(tmp_path, kind):
    model = finished_classifier(tmp_path / "finished", kind)
    if kind == "ours":
        encoder = AttribForSequenceClassification.from_pretrained(tmp_path / "finished").backbone
    else:
        encoder = AutoModel.from_pretrained(tmp_path / "finished")
    encoder.save_pretrained(tmp_path / "encoder")
    second = AttribForSequenceClassification.from_backbone(
        str(tmp_path / "encoder"), num_labels=2, feature_adjustment="attribution"
    )
    expected = (model.backbone if kind == "ours" else model.bert).state_dict()
    for name, value in second.backbone.state_dict().items():
        torch.testing.assert_close(value, expected[name], rtol=0, atol=0)


def test_a_language_models_head_is_no_classifiers(tmp_path):
    folder = save(tmp_path, BertForMaskedLM(BERT))
    assert AttribForSequenceClassification.from_backbone(folder, num_labels=3).num_labels == 3


def test_a_classifiers_configuration_gives_fresh_weights(tmp_path):
    finished_classifier(tmp_path, "stock")
    config = AutoConfig.from_pretrained(tmp_path)
    assert AttribForSequenceClassification.from_backbone(config, num_labels=3).num_labels == 3


@pytest.mark.parametrize("name", ["bert", "deberta-v2", "modernbert", "t5", "llama"])
def test_tokens_and_biases_account_for_the_logit(name):
    model = build(name)
    error = unaccounted_relevance(model, make_batch())
    assert error < (1e-6 if name in ("t5", "llama") else 1e-12)
    model.requires_grad_(False)  # a frozen bias has its share too
    assert unaccounted_relevance(model, make_batch()) == error


@pytest.mark.parametrize("method", ["attention_gradient", "lrp", "saliency"])
@pytest.mark.parametrize("frozen", ["all", "backbone"])
def test_frozen_weights_change_no_explanation(method, frozen):
    model, inputs = build("bert"), make_batch()
    with torch.no_grad():
        expected = model(**inputs, attribution_method=method)
        (model if frozen == "all" else model.backbone).requires_grad_(False)
        found = model(**inputs, attribution_method=method)
    torch.testing.assert_close(found.attributions, expected.attributions, rtol=0, atol=1e-12)


def test_frozen_weights_still_adjust_features():
    model, inputs = build("bert", feature_adjustment="attribution"), make_batch()
    with torch.no_grad():
        expected = model(**inputs).logits
    model.backbone.requires_grad_(False)
    loss = model(**inputs, labels=torch.tensor([0, 1, 2])).loss
    loss.backward()
    assert model.classifier.weight.grad.abs().sum() > 0
    model.requires_grad_(False)
    with torch.no_grad():
        torch.testing.assert_close(model(**inputs).logits, expected, rtol=0, atol=1e-12)


def test_gradient_checkpointing_is_refused_where_it_would_break_the_rules():
    model, inputs = build("bert").train(), make_batch()
    model.gradient_checkpointing_enable()
    with pytest.raises(ValueError, match="gradient checkpointing"):
        model(**inputs, output_attributions=True)
    assert model(**inputs, labels=torch.tensor([0, 1, 2])).loss.isfinite()


ENDLESS = PreTrainedTokenizerBase().model_max_length  # what a tokenizer says whose files say nothing


@pytest.mark.parametrize(
    ("model", "said", "expected"),
    [
        pytest.param(BertModel(BERT), ENDLESS, 512, id="the position table"),
        pytest.param(BertModel(BERT), 128, 128, id="the tokenizer"),
        pytest.param(BertModel(BERT), 1024, 512, id="the tokenizer says more than there is room for"),
        pytest.param(
            RobertaModel(RobertaConfig(**BERT_SIZE, max_position_embeddings=514)),
            ENDLESS,
            512,
            id="positions set aside",
        ),
        pytest.param(
            BertForSequenceClassification(BERT), ENDLESS, 512, id="a classifier of transformers, asked as a whole"
        ),
        pytest.param(T5EncoderModel(T5), ENDLESS, NO_LIMIT, id="neither"),
        pytest.param(T5EncoderModel(T5), 300, 300, id="no table"),
    ],
)
def test_the_longest_text_is_what_tokenizer_and_positions_allow(model, said, expected):
    tokenizer = PreTrainedTokenizerBase(model_max_length=said)
    assert token_limit(model.config, model, tokenizer) == expected


@pytest.mark.parametrize(("own", "tokenizers", "expected"), [(7, 5, 7), (None, 5, 5), (None, None, 0)])
def test_the_models_padding_goes_before_the_tokenizers(own, tokenizers, expected):
    assert padding_id(BertConfig(pad_token_id=own), SimpleNamespace(pad_token_id=tokenizers)) == expected

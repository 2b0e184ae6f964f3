"""Backbones that lay out, mix or mask tokens in a way of their own: right, or refused for the true reason."""

import copy

import pytest
import torch
from architectures import SIZE, build, kernel_of, randomise
from architectures import batch as make_batch
from transformers import (
    BertConfig,
    BertModel,
    CanineConfig,
    DPRConfig,
    FlaubertConfig,
    FNetConfig,
    FunnelConfig,
    GemmaConfig,
    IBertConfig,
    LlamaConfig,
    LongformerConfig,
    LukeConfig,
    MambaConfig,
    MistralConfig,
    ModernBertConfig,
    MraConfig,
    NystromformerConfig,
    OPTConfig,
    RwkvConfig,
    TapasConfig,
    XLMConfig,
    XLNetConfig,
    YosoConfig,
)

from modeling_attrib import AttribConfig, AttribForSequenceClassification
from modeling_attrib.backbone_parts import position_limit


READS_STATES = ("lrp", "damped_lrp", "gradient_x_input", "saliency", "attention_gradient", "attcat")
READS_ATTENTION = ("attcat", "grad_sam", "gae", "attention_shapley", "attention_last", "rollout", "expnet")
RULES_OF_ATTENTION = ("lrp", "lrp_ah", "attn_lrp", "damped_lrp")
XLNET = XLNetConfig(vocab_size=120, d_model=32, n_layer=2, n_head=4, d_inner=48)
XLM_LIKE = {"vocab_size": 120, "n_words": 120, "emb_dim": 32, "n_layers": 2, "n_heads": 4}
LONGFORMER = LongformerConfig(**SIZE, attention_window=4)
OPT = {"vocab_size": 120, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "ffn_dim": 48}
FUNNEL = {"vocab_size": 120, "d_model": 32, "n_head": 4, "d_head": 8, "d_inner": 48, "block_sizes": [1, 1]}


def classifier(config, dtype=torch.float64, **arguments):
    arguments = {"num_labels": 3, "attribution_head": "labels"} | arguments
    model = AttribForSequenceClassification(AttribConfig(backbone_config=copy.deepcopy(config), **arguments))
    model = model.to(dtype).eval()
    randomise(model)
    return model


def texts(count, tokens):
    ids = torch.randint(5, 119, (count, tokens), generator=torch.Generator().manual_seed(2))
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


def explain(model, inputs, method, **arguments):
    with torch.no_grad():
        return model(**inputs, attribution_method=method, **arguments)


def refusal(model, inputs, method, **arguments) -> str:
    with pytest.raises(ValueError, match=type(model.backbone).__name__) as error:
        explain(model, inputs, method, **arguments)
    assert "\n" not in str(error.value)
    return str(error.value)


# Layout of the states ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(6, 6), (2, 6), (6, 2)], ids=str)
@pytest.mark.parametrize("method", READS_STATES)
def test_states_with_tokens_first_are_refused_also_where_shapes_hide_it(method, shape):
    message = refusal(classifier(XLNET), texts(*shape), method)
    assert "not (batch, tokens, width)" in message


def test_states_with_tokens_first_are_refused_by_integrated_gradients_also_where_steps_hide_it():
    model = classifier(XLNET)
    options = {"steps": 3, "baseline": "zero"}
    for inputs in (texts(2, 6), texts(2, 5)):  # 3 steps of 2 texts are as many as tokens, or not
        with pytest.raises(ValueError, match=r"\(batch, tokens, width\)"):
            explain(model, inputs, "integrated_gradients", attribution_options=options)


def test_as_many_texts_as_tokens_are_explained_like_each_text_alone():
    model, inputs = build("bert"), texts(6, 6)
    together = explain(model, inputs, "lrp", attribution_target=1).attributions
    for row in range(6):
        alone = {name: value[row : row + 1] for name, value in inputs.items()}
        expected = explain(model, alone, "lrp", attribution_target=1).attributions[0]
        torch.testing.assert_close(together[row], expected, rtol=0, atol=1e-12)


def test_finding_the_layout_draws_no_random_number():
    model, inputs = build("bert", feature_adjustment="attribution").train(), texts(6, 6)
    torch.manual_seed(0)
    first = model(**inputs, labels=torch.zeros(6, dtype=torch.long)).loss
    torch.manual_seed(0)
    assert torch.equal(model(**inputs, labels=torch.zeros(6, dtype=torch.long)).loss, first)


def test_no_limit_of_positions_is_none():
    assert XLNET.max_position_embeddings == -1
    model = classifier(XLNET)
    assert position_limit(model.config, model.backbone) is None
    with pytest.raises(ValueError, match=r"not \(batch, tokens, width\)"):
        AttribForSequenceClassification.from_backbone(XLNET, num_labels=3)


# Frozen weights ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("given", ["ids", "embeddings"])
@pytest.mark.parametrize("config", [XLMConfig(**XLM_LIKE), FlaubertConfig(**XLM_LIKE)], ids=lambda c: c.model_type)
def test_frozen_weights_change_no_gradient_where_text_goes_around_the_layers_input(config, given):
    """The reference is eq. 3 on the states and matrices that the backbone itself returns."""
    model = classifier(config)
    inputs = texts(2, 6)
    output = model.backbone(**inputs, output_hidden_states=True, output_attentions=True)
    logits = model.classifier(output.last_hidden_state.mean(dim=1))
    hidden = output.hidden_states[:2]
    gradients = torch.autograd.grad(logits[:, 1].sum(), hidden)
    expected = sum(
        a.sum(dim=(1, 2)) * (g * h).sum(dim=-1) for a, g, h in zip(output.attentions, gradients, hidden)
    ).detach()
    if given == "embeddings":
        words = model.backbone.get_input_embeddings()(inputs.pop("input_ids")).detach()
        inputs["inputs_embeds"] = words
    for frozen in (False, True):
        model.requires_grad_(not frozen)
        found = explain(model, inputs, "attcat", attribution_target=1).attributions
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5 * expected.abs().max().item())


def test_frozen_weights_change_no_adjusted_features_where_text_goes_around_the_layers_input():
    model, inputs = classifier(XLMConfig(**XLM_LIKE), feature_adjustment="attribution"), texts(2, 6)
    with torch.no_grad():
        expected = model(**inputs, output_attributions=False).logits
        model.requires_grad_(False)
        found = model(**inputs, output_attributions=False).logits
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)


# Attention --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["damped_lrp", "attn_lrp"])
def test_a_rule_that_halves_nothing_raises(method):
    model = classifier(LONGFORMER)
    assert "met 0 of 2" in refusal(model, texts(2, 8), method)
    explain(model, texts(2, 8), "lrp")  # which halves nothing


@pytest.mark.parametrize("method", ["attcat", "grad_sam", "gae", "attention_shapley", "attention_last", "rollout"])
@pytest.mark.parametrize("tokens", [4, 8, 9])  # as many as heads; a multiple of the window; neither
def test_local_attention_is_not_read_as_a_whole_one(method, tokens):
    assert "local" in refusal(classifier(LONGFORMER), texts(2, tokens), method)


@pytest.mark.parametrize("method", READS_ATTENTION)
def test_approximate_attention_is_not_read_as_a_whole_one(method):
    config = NystromformerConfig(**SIZE, num_landmarks=2, segment_means_seq_len=8)
    assert "approximate" in refusal(classifier(config), texts(2, 8), method)


@pytest.mark.parametrize("method", RULES_OF_ATTENTION)
def test_approximate_attention_meets_no_rule(method):
    config = NystromformerConfig(**SIZE, num_landmarks=2, segment_means_seq_len=8)
    assert "approximate" in refusal(classifier(config), texts(2, 8), method)


@pytest.mark.parametrize("method", ["damped_lrp", "attn_lrp"])
def test_what_is_halved_may_be_added_to_in_place(method):
    """Nystromformer adds a convolution of the values: of weights 0 it is as if there were none."""
    adding = classifier(NystromformerConfig(**SIZE))
    plain = copy.deepcopy(adding)
    for module in adding.modules():
        if isinstance(module, torch.nn.Conv2d):
            torch.nn.init.zeros_(module.weight)
    for layer in plain.backbone.encoder.layer:
        layer.attention.self.conv_kernel_size = None
    found, expected = (explain(model, texts(2, 8), method, attribution_target=1) for model in (adding, plain))
    torch.testing.assert_close(found.attributions, expected.attributions, rtol=0, atol=1e-10)
    assert expected.attributions.abs().max() > 1e-3


NO_ATTENTION = {
    "mamba": MambaConfig(vocab_size=120, hidden_size=32, num_hidden_layers=2, state_size=4),
    "rwkv": RwkvConfig(
        vocab_size=120, hidden_size=32, num_hidden_layers=2, attention_hidden_size=32, intermediate_size=48
    ),
    "mra": MraConfig(**SIZE),
}


@pytest.mark.parametrize("name", NO_ATTENTION)
def test_no_attention_is_not_called_a_hidden_one(name):
    heads = {"attribution_head": "none"}
    model, inputs = classifier(NO_ATTENTION[name], torch.float32, **heads), texts(2, 8)
    for method in ("lrp", "lrp_ah", "attcat", "gae", "rollout", "attention_last"):
        message = refusal(model, inputs, method)
        assert "something other than a softmax" in message
        assert "attn_implementation" not in message
    explain(model, inputs, "gradient_x_input")  # as the message says


def test_an_estimated_backward_pass_is_refused():
    with pytest.raises(ValueError, match=r"an estimated backward pass.* passes no gradient, or not its own"):
        explain(classifier(YosoConfig(**SIZE), torch.float32), texts(2, 8), "gradient_x_input")


def test_norms_that_are_not_for_text_are_said_to_be_so():
    model = classifier(LukeConfig(**SIZE, entity_vocab_size=20, entity_emb_size=16))
    assert "entity_embeddings.LayerNorm, which did not run on text" in refusal(model, texts(2, 6), "lrp")


def test_a_kernel_without_a_backward_pass_is_refused_by_name():
    model = classifier(LlamaConfig(**SIZE), torch.float32, attn_implementation="flex_attention")
    for method in ("lrp", "damped_lrp", "gradient_x_input", "attcat", "gae"):
        with pytest.raises(
            ValueError, match=r"attn_implementation='flex_attention' has no backward .*'sdpa' or 'eager'"
        ):
            explain(model, texts(2, 6), method)


# Not supported at all ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        pytest.param(CanineConfig(hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=48),
                     "word embeddings were not found", id="canine"),
        pytest.param(FNetConfig(vocab_size=120, hidden_size=32, num_hidden_layers=2, intermediate_size=48),
                     "takes no attention_mask", id="fnet"),
        pytest.param(FunnelConfig(**FUNNEL), "stands for several models", id="funnel"),
        pytest.param(AttribConfig(backbone_config=BertConfig(**SIZE)), "a classifier's configuration", id="classifier"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("method", ["lrp", "gradient_x_input"])
def test_a_backbone_that_cannot_be_explained_is_refused_when_it_is_built(config, reason, method):
    with pytest.raises(ValueError, match=reason):
        AttribForSequenceClassification.from_backbone(config, num_labels=3, attribution_method=method)


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        pytest.param(IBertConfig(**SIZE), "QuantEmbedding takes or gives a tuple", id="ibert"),
        pytest.param(
            OPTConfig(**OPT, word_embed_proj_dim=16), r"shape \(3, 8, 16\), .* have \(3, 8, 32\)", id="opt, projected"
        ),
        pytest.param(
            FunnelConfig(**FUNNEL, architectures=["FunnelBaseModel"]), r"have shape \(3, 4, 32\)", id="funnel"
        ),
    ],
)
@pytest.mark.parametrize("method", ["lrp", "gradient_x_input", "integrated_gradients"])
def test_a_backbone_that_cannot_be_explained_says_why(config, reason, method):
    model = classifier(config, torch.float32, attribution_head="none", pooling="mean")
    options = {"baseline": "zero"} if method == "integrated_gradients" else {}
    with pytest.raises(ValueError, match=reason):
        explain(model, texts(2, 6), method, attribution_options=options)


# Kernels and types ------------------------------------------------------------------------------------------


LEFT_PADDED = {
    "llama": LlamaConfig(**SIZE, num_key_value_heads=2, pad_token_id=0),
    "mistral": MistralConfig(**SIZE, num_key_value_heads=2, pad_token_id=0),
    "gemma": GemmaConfig(**SIZE, num_key_value_heads=2, head_dim=8),
    "modernbert": ModernBertConfig(**SIZE, pad_token_id=0, global_attn_every_n_layers=2, local_attention=8),
}


@pytest.mark.parametrize("pooling", ["mean", "cls", "last"])
@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("name", LEFT_PADDED)
def test_padding_that_sees_nothing_spoils_no_text_in_float64(name, side, pooling):
    model = classifier(LEFT_PADDED[name], pooling=pooling, attn_implementation="eager")
    inputs = make_batch((3, 24), side=side)
    real = inputs["attention_mask"][0].bool()
    inputs["position_ids"] = (inputs["attention_mask"].cumsum(dim=1) - 1).clamp(min=0)
    for method in ("lrp", "attn_lrp", "attcat", "gae"):
        together = explain(model, inputs, method, attribution_target=1)
        alone = explain(model, {name: value[:1, real] for name, value in inputs.items()}, method, attribution_target=1)
        torch.testing.assert_close(together.logits[:1], alone.logits, rtol=1e-5, atol=1e-5)
        scale = alone.attributions.abs().max().item()
        torch.testing.assert_close(together.attributions[:1, real], alone.attributions, rtol=0, atol=2e-5 * scale)


@pytest.mark.parametrize("asked", ["eager", "sdpa", None])
def test_from_backbone_runs_the_kernel_that_is_asked_for(asked, tmp_path):
    earlier = AttribForSequenceClassification.from_backbone(BertConfig(**SIZE), attn_implementation="sdpa")
    BertModel(BertConfig(**SIZE)).save_pretrained(tmp_path)
    for source in (BertConfig(**SIZE), earlier.config.backbone_config, str(tmp_path)):
        model = AttribForSequenceClassification.from_backbone(source, attn_implementation=asked)
        assert kernel_of(model) == (asked or "sdpa")
        assert model.config._attn_implementation == model.backbone.config._attn_implementation == (asked or "sdpa")
    assert kernel_of(earlier) == "sdpa"


# A model that torch compiles --------------------------------------------------------------------------------


@pytest.mark.parametrize("gradients", [False, True], ids=["no_grad", "grad"])
@pytest.mark.parametrize("method", ["rollout", "gae", "expnet", "lrp"])
def test_a_compiled_model_gives_the_same_explanation(method, gradients):
    model = build("bert", dtype=torch.float32, attribution_method=method)
    with torch.set_grad_enabled(gradients):
        expected = model(**make_batch())
        torch._dynamo.reset()
        found = torch.compile(model, backend="eager")(**make_batch())
    torch.testing.assert_close(found.logits, expected.logits)
    torch.testing.assert_close(found.attributions, expected.attributions)


def test_a_backbone_without_token_states_says_so():
    with pytest.raises(ValueError, match="DPRQuestionEncoder returns no token states"):
        explain(classifier(DPRConfig(**SIZE, projection_dim=0)), texts(2, 6), "lrp")


TAPAS = TapasConfig(**SIZE)


@pytest.mark.parametrize("kinds", ["none", "of each token"])
def test_a_backbone_with_several_types_of_each_token_is_explained(kinds):
    model = classifier(TAPAS)
    inputs = texts(2, 6)
    if kinds == "of each token":
        inputs["token_type_ids"] = torch.zeros(2, 6, len(TAPAS.type_vocab_sizes), dtype=torch.long)
    output = explain(model, inputs, "lrp")
    assert output.attributions.abs().min() > 0

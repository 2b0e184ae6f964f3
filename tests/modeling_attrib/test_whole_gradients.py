"""Backbones whose gradients are not whole, or whose layers are elsewhere than they seem."""

import pytest
import torch
from architectures import LABELS, SIZE, randomise
from architectures import batch as make_batch
from torch import nn
from transformers import (
    CONFIG_MAPPING,
    BertConfig,
    BertModel,
    CTRLConfig,
    MarkupLMConfig,
    SqueezeBertConfig,
    YosoConfig,
)

from modeling_attrib import AttribForSequenceClassification
from modeling_attrib.backbone_parts import find_parts


CTRL = {"vocab_size": 120, "n_embd": 32, "n_layer": 2, "n_head": 4, "dff": 48, "n_positions": 64}


def build(config, **arguments):
    torch.manual_seed(0)
    model = AttribForSequenceClassification.from_backbone(
        config, attribution_method="random", num_labels=LABELS, **arguments
    )
    randomise(model)
    return model


@torch.no_grad()
def explain(model, method):
    return model(**make_batch(), attribution_method=method, attribution_target="all").attributions


@pytest.mark.parametrize("method", ["lrp", "gradient_x_input", "attcat"])
def test_embeddings_that_a_backbone_scales_in_place_may_be_frozen(method):
    model = build(CTRLConfig(**CTRL), dtype=torch.float64)
    expected = explain(model, method)
    model.requires_grad_(False)
    torch.testing.assert_close(explain(model, method), expected, rtol=0, atol=1e-10)


def test_layers_are_no_list_of_tables():
    """MarkupLM has a table for each depth of a page's tags, more than layers."""
    model = build(MarkupLMConfig(**SIZE, max_depth=5, xpath_unit_hidden_size=8))
    assert [type(layer).__name__ for layer in find_parts(model.backbone).layers] == ["MarkupLMLayer"] * 2
    assert explain(model, "lrp").abs().sum() > 0


def test_layers_that_no_hook_sees():
    """SqueezeBERT calls its layers' forward itself."""
    model = build(SqueezeBertConfig(**SIZE, embedding_size=32), dtype=torch.float64)
    expected = explain(model, "gae")
    model.requires_grad_(False)
    torch.testing.assert_close(explain(model, "gae"), expected, rtol=0, atol=1e-10)
    with pytest.raises(ValueError, match="SqueezeBertModel: what enters the second layer is out of sight"):
        explain(model, "damped_lrp")


def test_states_that_do_not_belong_to_one_attention_product_each():
    class TwiceModel(BertModel):
        def __init__(self, config, **arguments):
            super().__init__(config, **arguments)
            self.encoder.layer = nn.ModuleList(list(self.encoder.layer)[:1])
            block = self.encoder.layer[0]
            forward = block.forward

            def twice(states, *args, **kw):
                once = forward(states, *args, **kw)  # a tuple in transformers 4
                return forward(once[0] if isinstance(once, tuple) else once, *args, **kw)

            block.forward = twice

    model = build(BertConfig(**SIZE))
    model.backbone = TwiceModel(BertConfig(**SIZE), add_pooling_layer=False).eval()
    for method in ("attcat", "attention_gradient"):
        with pytest.raises(ValueError, match="TwiceModel: states enter 1 layers, and its configuration speaks of 2"):
            explain(model, method)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_a_backward_pass_that_is_an_estimate(dtype):
    model = build(YosoConfig(**SIZE), dtype=dtype)
    for method in ("gradient_x_input", "integrated_gradients"):
        with pytest.raises(ValueError, match=r"YosoCumulation \(an estimated backward pass\)"):
            explain(model, method)


def test_a_backward_pass_that_is_written_by_hand_and_right():
    model = build(CONFIG_MAPPING["bloom"](vocab_size=120, hidden_size=32, n_layer=2, n_head=4))
    assert explain(model, "gradient_x_input").abs().sum() > 0


def test_layers_run_outside_autograd():
    class HalfModel(BertModel):
        def forward(self, *args, **kw):
            first = self.encoder.layer[0]
            forward = type(first).__call__
            with torch.no_grad():
                forward(first, torch.zeros(1, 2, self.config.hidden_size))
            return super().forward(*args, **kw)

    model = build(BertConfig(**SIZE))
    model.backbone = HalfModel(BertConfig(**SIZE), add_pooling_layer=False).eval()
    with pytest.raises(ValueError, match=r"backbone\.encoder\.layer\.0 \(BertLayer, run outside autograd\)"):
        explain(model, "integrated_gradients")
    assert explain(model, "random").shape == (3, LABELS, 11)  # reads no gradient

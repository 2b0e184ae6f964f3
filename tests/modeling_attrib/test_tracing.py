"""The recorded graph: the model's own answers on any size, conserved, and free of autograd."""

import copy

import pytest
import torch
import transformers
from architectures import ARCHITECTURES, POST_NORM, batch, build, zero_biases

from modeling_attrib.attention_records import ExplicitAttention
from modeling_attrib.tracing import graph_inputs, trace_attributions


pytestmark = pytest.mark.skipif(transformers.__version__ < "5", reason="graphs are recorded with transformers 5")


SIZES = ((4,), (7, 11, 9), (2, 2), (16, 16, 3, 5))


def graph_arguments(names, lengths, target=-1, contrast=-1, side="right"):
    tokens = batch(lengths, side)
    tokens["token_type_ids"] = torch.zeros_like(tokens["input_ids"])
    rows = torch.zeros(len(lengths), dtype=torch.long)
    tokens |= {"attribution_target": rows + target, "attribution_contrast": rows + contrast}
    return [tokens[name] for name in names]


def ask(model, lengths, side="right", **question):
    with torch.no_grad():
        return model(**batch(lengths, side), output_attributions=True, **question)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_graph_equals_the_model_on_sizes_it_was_not_recorded_with(name):
    model = build(name)
    names = graph_inputs(model)
    graph = trace_attributions(model, names)
    for lengths in SIZES:
        for target, contrast in ((-1, -1), (1, -1), (2, 0)):
            logits, scores, explained = graph(*graph_arguments(names, lengths, target, contrast))
            question = {"attribution_target": target, "attribution_contrast": contrast}
            expected = ask(model, lengths, **{k: v for k, v in question.items() if v >= 0})
            tolerance = {"rtol": 1e-5, "atol": 1e-6} if name == "llama" else {"rtol": 1e-9, "atol": 1e-11}
            torch.testing.assert_close(logits, expected.logits, **tolerance)
            torch.testing.assert_close(scores, expected.attributions, **tolerance)
            assert explained.tolist() == expected.attribution_target.tolist()


FUSED = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu.default


def operators(graph):
    return [node.target for node in graph.graph.nodes]


class LargestTensor(torch.fx.Interpreter):
    """Numbers of elements of the largest tensor that a graph makes."""

    def __init__(self, graph):
        super().__init__(graph)
        self.largest = 0

    def run_node(self, node):
        result = super().run_node(node)
        for tensor in result if isinstance(result, tuple) else (result,):
            if isinstance(tensor, torch.Tensor) and node.op == "call_function":
                self.largest = max(self.largest, tensor.untyped_storage().nbytes() // tensor.element_size())
        return result


@pytest.mark.parametrize("name", ["bert", "roberta", "distilbert", "electra", "albert"])
def test_no_tensor_of_tokens_by_tokens(name):
    model = build(name, dtype=torch.float32)
    names = graph_inputs(model)
    graph = trace_attributions(model, names)
    assert operators(graph).count(FUSED) == 4, "each layer's forward pass, and its backward pass by the same kernel"
    largest = []
    for tokens in (240, 480):
        inputs = graph_arguments(names, (tokens, 3))
        run = LargestTensor(graph)
        run.run(*inputs)
        largest.append(run.largest)
    assert largest[1] <= 2 * largest[0]


@pytest.mark.parametrize("name", ["bert", "modernbert", "t5-gated", "llama"])
def test_attention_written_out(name):
    """For readers that do not know the kernel."""
    model = build(name)
    names = graph_inputs(model)
    graph = trace_attributions(model, names, ExplicitAttention)
    assert not any("scaled_dot_product" in str(target) for target in operators(graph))
    for lengths in SIZES:
        logits, scores, _ = graph(*graph_arguments(names, lengths))
        expected = ask(model, lengths)
        tolerance = {"rtol": 1e-5, "atol": 1e-6} if name == "llama" else {"rtol": 1e-9, "atol": 1e-11}
        torch.testing.assert_close(logits, expected.logits, **tolerance)
        torch.testing.assert_close(scores, expected.attributions, **tolerance)


@pytest.mark.parametrize("name", [*POST_NORM, "modernbert"])
def test_conservation_holds_in_the_graph(name):
    model = build(name, attribution_method="lrp")
    zero_biases(model)
    names = graph_inputs(model)
    graph = trace_attributions(model, names)
    logits, scores, explained = graph(*graph_arguments(names, (5, 12)))
    torch.testing.assert_close(
        scores.sum(dim=-1), logits.gather(1, explained.unsqueeze(1)).squeeze(1), rtol=1e-9, atol=0
    )


RECORDED = ["attn_lrp", "gradient_x_input", "saliency", "attention_gradient", "attcat", "grad_sam", "gae"]


@pytest.mark.parametrize("method", [*RECORDED, "attention_shapley"])
def test_other_methods_are_recorded_too(method):
    model = build("bert", attribution_method=method)
    names = graph_inputs(model)
    _, scores, _ = trace_attributions(model, names)(*graph_arguments(names, (7, 4)))
    torch.testing.assert_close(scores, ask(model, (7, 4)).attributions, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("layers", ["last", "all"])
def test_adjusted_features_are_recorded_too(layers):
    model = build("bert", feature_adjustment="attribution", feature_adjustment_layers=layers)
    names = graph_inputs(model)
    logits, scores, _ = trace_attributions(model, names)(*graph_arguments(names, (7, 4)))
    expected = ask(model, (7, 4))
    torch.testing.assert_close(logits, expected.logits, rtol=1e-9, atol=1e-11)
    torch.testing.assert_close(scores, expected.attributions, rtol=1e-9, atol=1e-11)


def test_left_padding():
    model = build("bert")
    names = graph_inputs(model)
    _, scores, _ = trace_attributions(model, names)(*graph_arguments(names, (7, 4), side="left"))
    torch.testing.assert_close(scores, ask(model, (7, 4), side="left").attributions, rtol=1e-9, atol=1e-11)


def test_without_a_mask_every_token_is_real():
    """As in the model's forward pass; a tokenizer may name no mask."""
    model = build("bert")
    names = graph_inputs(model, ["input_ids"])
    assert "attention_mask" not in names
    graph = trace_attributions(model, names)
    for tokens in (4, 9):
        inputs = graph_arguments(["input_ids", "attribution_target", "attribution_contrast"], (tokens, tokens))
        logits, scores, _ = graph(*inputs)
        expected = ask(model, (tokens, tokens))
        torch.testing.assert_close(logits, expected.logits, rtol=1e-9, atol=1e-11)
        torch.testing.assert_close(scores, expected.attributions, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("pooling", ["cls", "last"])
@pytest.mark.parametrize("name", ["bert", "modernbert", "t5-gated", "albert"])
def test_one_token_of_the_last_layer_is_computed_in_the_graph_too(name, pooling, side):
    model = build(name, pooling=pooling)
    names = graph_inputs(model)
    graph = trace_attributions(model, names)
    assert any(node.target is torch.ops.aten.index_copy.default for node in graph.graph.nodes)
    for lengths in SIZES:
        logits, scores, _ = graph(*graph_arguments(names, lengths, side=side))
        expected = ask(model, lengths, side=side)
        torch.testing.assert_close(logits, expected.logits, rtol=1e-9, atol=1e-11)
        torch.testing.assert_close(scores, expected.attributions, rtol=1e-9, atol=1e-11)


def test_recording_leaves_the_model_as_it_was():
    model = build("bert")
    before, flags = copy.deepcopy(model.state_dict()), [p.requires_grad for p in model.parameters()]
    graph = trace_attributions(model, graph_inputs(model))
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in before.items())
    assert [p.requires_grad for p in model.parameters()] == flags
    assert all(p.grad is None for p in model.parameters())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    assert not any("autograd" in str(node.target) for node in graph.graph.nodes)


def test_integrated_gradients_are_refused():
    model = build("bert", attribution_method="integrated_gradients")
    with pytest.raises(ValueError, match="integrated_gradients cannot be recorded as a graph"):
        trace_attributions(model, graph_inputs(model))


def test_training_mode_is_refused():
    model = build("bert").train()
    with pytest.raises(ValueError, match="evaluation mode"):
        trace_attributions(model, graph_inputs(model))

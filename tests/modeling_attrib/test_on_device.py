"""The same list on a CPU and on a GPU (`make test-gpu`): methods, kernels, types, long texts, nothing left behind."""

import functools
import gc
import threading

import pytest
import torch
from architectures import batch as make_batch
from architectures import build
from device_under_test import DEVICE, KERNELS, ON_GPU, Operations, exact_float32, forced, needs_device
from transformers import BertConfig

from modeling_attrib import AttribConfig, AttribForSequenceClassification, list_attribution_methods


pytestmark = needs_device
METHODS = [entry["name"] for entry in list_attribution_methods()]
WRITTEN_OUT = ("grad_sam", "gae", "attention_shapley", "expnet")  # hold tokens × tokens of a head or more
ARCHITECTURES = [("bert", "sdpa"), ("bert", "eager"), ("modernbert", "sdpa"), ("t5-gated", None), ("llama", "sdpa")]
EXACT = 1e-4  # of the largest score: what float32 on the device may differ from float64 on the CPU
# Least correlation with float64's scores. bfloat16 has 8 digits, float16 has 11.
AGREES = {torch.bfloat16: 0.95, torch.float16: 0.999}


@pytest.fixture(autouse=True)
def without_tf32():
    with exact_float32():
        yield


def options(method):
    return {"baseline": "zero"} if method == "integrated_gradients" else {}


@torch.no_grad()
def explain(model, inputs, method, **arguments):
    """On the model's device; the answer on the CPU, in float64."""
    inputs = {name: value.to(model.device) for name, value in inputs.items()}
    output = model(**inputs, attribution_method=method, attribution_options=options(method), **arguments)
    return {name: value.cpu().double() for name, value in output.items()}


def narrow(dtype, mode, architecture="bert", **config):
    """A model in `dtype` on the device, and what to run it under: weights of that type, or autocast over float32's."""
    model = build(architecture, dtype=torch.float32, **config).to(DEVICE, dtype if mode == "weights" else torch.float32)
    return model, torch.autocast(DEVICE.type, dtype, enabled=mode == "autocast")


def correlation(first, second, mask):
    return torch.corrcoef(torch.stack([first[mask.bool()], second[mask.bool()]]))[0, 1]


def assert_agrees(found, expected, mask, least):
    scores = found["attributions"]
    assert scores.isfinite().all()
    assert correlation(scores, expected["attributions"], mask) >= least


# Every method, against float64 on the CPU ----------------------------------------------------------------------------


@pytest.mark.parametrize(("architecture", "kernel"), ARCHITECTURES)
def test_every_method_agrees_with_float64(architecture, kernel):
    inputs = make_batch()
    exact, model = build(architecture, kernel), build(architecture, kernel, torch.float32).to(DEVICE)
    for method in METHODS:
        found, expected = (explain(m, inputs, method, attribution_target="all") for m in (model, exact))
        for name, value in expected.items():
            assert (found[name] - value).abs().max() <= EXACT * value.abs().max(), (method, name)


@functools.cache
def expected_scores(architecture):
    """Inputs, and float64's answers of every method for label 1."""
    model, inputs = build(architecture), make_batch((17, 24, 20))
    return inputs, {method: explain(model, inputs, method, attribution_target=1) for method in METHODS}


@pytest.mark.parametrize("mode", ["weights", "autocast"])
@pytest.mark.parametrize("dtype", AGREES, ids=str)
@pytest.mark.parametrize("architecture", ["bert", "llama"])
def test_every_method_agrees_in_half_precision(architecture, dtype, mode):
    inputs, expected = expected_scores(architecture)
    model, autocast = narrow(dtype, mode, architecture)
    for method in METHODS:
        with autocast:
            found = explain(model, inputs, method, attribution_target=1)
        assert_agrees(found, expected[method], inputs["attention_mask"], AGREES[dtype])


@pytest.mark.parametrize("dtype", AGREES, ids=str)
def test_scores_under_autocast_explain_the_logits_of_a_plain_pass(dtype):
    inputs = {name: value.to(DEVICE) for name, value in make_batch().items()}
    model, autocast = narrow(dtype, "autocast")
    with torch.no_grad(), autocast:
        plain = model(**inputs, output_attributions=False).logits
        for method in ("damped_lrp", "lrp", "attn_lrp", "gradient_x_input", "attention_gradient", "attention_last"):
            output = model(**inputs, attribution_method=method, attribution_target=0)
            assert torch.equal(output.logits, plain), method
            assert output.attributions.dtype == torch.float32
            total = output.attributions.sum(dim=-1) + output.attribution_residual
            torch.testing.assert_close(total, plain[:, 0].float(), rtol=1e-5, atol=1e-5)


# Kernels -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kernel", "name", "dtype", "padded"), KERNELS)
def test_every_attention_kernel_gives_the_same_scores(kernel, name, dtype, padded):
    inputs = make_batch((29, 40, 33) if padded else (40, 40, 40))
    model = build("bert", "sdpa", dtype).to(DEVICE)
    for method in ("damped_lrp", "lrp", "attn_lrp", "gradient_x_input", "attcat", "rollout"):
        with forced(kernel), Operations() as operations:
            found = explain(model, inputs, method, attribution_target=1)
        assert any(name in operation for operation in operations.names), method
        expected = explain(build("bert", "sdpa"), inputs, method, attribution_target=1)
        assert_agrees(found, expected, inputs["attention_mask"], AGREES.get(dtype, 1 - 1e-6))


# Long texts ----------------------------------------------------------------------------------------------------------


def long_reader(tokens, dtype=torch.float32, head=1.0):
    """A fresh BERT that reads so many tokens; `head` shrinks what goes back, as more tokens do."""
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=500,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=tokens,
    )
    model = AttribForSequenceClassification(AttribConfig(backbone_config=config, num_labels=3)).eval()
    with torch.no_grad():
        model.classifier.weight.mul_(head)
    ids = torch.randint(5, 499, (1, tokens), generator=torch.Generator().manual_seed(1))
    return model.to(DEVICE, dtype), {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


@pytest.mark.parametrize("tokens", [512, 8192] if ON_GPU else [512])
@pytest.mark.parametrize("method", [method for method in METHODS if method not in WRITTEN_OUT])
def test_memory_grows_with_the_tokens_alone(method, tokens):
    model, inputs = long_reader(tokens)
    with Operations() as operations:
        assert explain(model, inputs, method)["attributions"].isfinite().all()
    # Integrated gradients take several steps as one batch, of a fixed number of tokens.
    assert operations.largest <= 128 * max(tokens, 2048 if method == "integrated_gradients" else 0)


@pytest.mark.skipif(not ON_GPU, reason="ATTRIB_TEST_DEVICE=cpu: only a CUDA device counts its own memory")
@pytest.mark.parametrize("method", ["damped_lrp", "attn_lrp", "attcat"])
def test_a_gpu_needs_twice_the_memory_for_twice_the_tokens(method):
    peaks = []
    for tokens in (4096, 8192):
        model, inputs = long_reader(tokens)
        explain(model, inputs, method)
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        explain(model, inputs, method)
        peaks.append(torch.cuda.max_memory_allocated() - before)
    assert peaks[1] <= 2.2 * peaks[0]


@pytest.mark.parametrize("method", ["lrp", "gradient_x_input", "attcat", "grad_sam"])
def test_float16_holds_the_small_gradients_of_many_tokens(method):
    tokens, head = (8192, 1.0) if ON_GPU and method not in WRITTEN_OUT else (256, 1 / 32)
    model, inputs = long_reader(tokens, torch.float16, head)
    expected = explain(long_reader(tokens, torch.float32, head)[0], inputs, method, attribution_target=1)
    assert_agrees(
        explain(model, inputs, method, attribution_target=1), expected, inputs["attention_mask"], AGREES[torch.float16]
    )


@pytest.mark.parametrize("dtype", AGREES, ids=str)
def test_one_token_is_the_last_in_half_precision_too(dtype):
    model = build("llama", dtype=dtype).to(DEVICE)
    mask = torch.ones(2, 2500, dtype=torch.long, device=DEVICE)
    mask[1, 300:] = 0
    weights = model.token_weights({"attention_mask": mask})
    assert weights.nonzero().tolist() == [[0, 2499], [1, 299]]


# Batches and traces --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_a_padded_batch_says_what_single_texts_say(method):
    model, inputs = build("bert", dtype=torch.float32).to(DEVICE), make_batch()
    together = explain(model, inputs, method)["attributions"]
    for row, length in enumerate(inputs["attention_mask"].sum(dim=1).tolist()):
        alone = explain(model, {name: value[row : row + 1, :length] for name, value in inputs.items()}, method)
        assert not together[row, length:].any()
        assert (together[row, :length] - alone["attributions"][0]).abs().max() <= EXACT * together[row].abs().max()


@pytest.mark.parametrize("method", METHODS)
def test_every_label_at_once_says_what_each_says(method):
    model, inputs = build("bert", "sdpa", torch.float32).to(DEVICE), make_batch()
    every = explain(model, inputs, method, attribution_target="all")["attributions"]
    for label in range(every.shape[1]):
        one = explain(model, inputs, method, attribution_target=label)["attributions"]
        assert (every[:, label] - one).abs().max() <= EXACT * every.abs().max()


def tensors_alive():
    gc.collect()
    return sum(isinstance(thing, torch.Tensor) and thing.device.type == DEVICE.type for thing in gc.get_objects())


def switches():
    cuda = torch.backends.cuda
    attention = (cuda.flash_sdp_enabled(), cuda.mem_efficient_sdp_enabled(), cuda.math_sdp_enabled())
    return attention, torch.get_float32_matmul_precision(), torch.is_autocast_enabled(DEVICE.type)


def test_nothing_is_left_behind():
    model, inputs = build("bert", dtype=torch.float32).to(DEVICE), make_batch()
    for method in METHODS:  # what torch and this project keep once and for all
        explain(model, inputs, method, attribution_target="all")
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    alive, memory, before = tensors_alive(), torch.cuda.memory_allocated() if ON_GPU else 0, switches()
    for method in METHODS:
        explain(model, inputs, method, attribution_target="all")
        assert switches() == before, method
        assert (torch.cuda.memory_allocated() if ON_GPU else 0) == memory, method
    assert tensors_alive() == alive
    assert all(parameter.grad is None and parameter.requires_grad for parameter in model.parameters())
    assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())
    assert not any(m._forward_hooks or m._forward_pre_hooks or m._backward_hooks for m in model.modules())


def test_two_threads_explain_with_two_methods():
    model, inputs = build("bert", "sdpa", torch.float32).to(DEVICE), make_batch()
    expected = {method: explain(model, inputs, method)["attributions"] for method in ("damped_lrp", "attn_lrp")}
    found = {method: [] for method in expected}

    def work(method):
        found[method].extend(explain(model, inputs, method)["attributions"] for _ in range(5))

    threads = [threading.Thread(target=work, args=(method,)) for method in expected]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for method, scores in expected.items():
        assert len(found[method]) == 5
        assert all((one - scores).abs().max() <= EXACT * scores.abs().max() for one in found[method])


def test_a_model_that_was_saved_on_the_device_answers_alike_on_a_cpu(tmp_path):
    model, inputs = build("bert", dtype=torch.float32).to(DEVICE), make_batch()
    model.save_pretrained(tmp_path)
    loaded = AttribForSequenceClassification.from_pretrained(tmp_path)
    assert loaded.device.type == "cpu"
    found, expected = (explain(m, inputs, "damped_lrp", attribution_target="all") for m in (loaded, model))
    for name, value in expected.items():
        assert (found[name] - value).abs().max() <= EXACT * value.abs().max(), name

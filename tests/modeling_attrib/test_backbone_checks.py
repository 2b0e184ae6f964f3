"""Probes: what a method would misread is refused on every way to a model, and finding out leaves no trace."""

import copy
import random
import threading
from types import SimpleNamespace

import pytest
import torch
import transformers
from architectures import LABELS, OTHERS, SIZE, build, randomise
from architectures import batch as make_batch
from test_isolation import assert_unchanged, snapshot
from torch import nn

from modeling_attrib import AttribConfig, AttribForSequenceClassification, list_attribution_methods
from modeling_attrib.activation_capture import ActivationCapture
from modeling_attrib.attention_records import AttentionRecorder
from modeling_attrib.attribution_methods import get_attribution_method
from modeling_attrib.sample_inputs import sample_inputs


METHODS = {method["name"]: method for method in list_attribution_methods()}
READ_AT_WORDS = [name for name, method in METHODS.items() if method["needs_words_apart"]]
NEED_RULES = [name for name, method in METHODS.items() if method["needs_every_rule"]]
MIXTRAL = SIZE | {"num_key_value_heads": 2, "num_local_experts": 4, "num_experts_per_tok": 2, "head_dim": 8}


def other(family, dtype=torch.float32, seed=0, sizes=None, **config):
    """A classifier of a family that has no propagation rules of its own, from a configuration."""
    backbone = getattr(transformers, f"{family}Config")(**(sizes or OTHERS[family]))
    config = AttribConfig(backbone_config=backbone, num_labels=LABELS, **config)
    model = AttribForSequenceClassification(config).to(dtype).eval()
    randomise(model, seed)
    return model


@torch.no_grad()
def explain(model, inputs=None, **arguments):
    return model(**(inputs or make_batch((11, 11))), output_attributions=True, **arguments)


# A part without a rule ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("way", ["configured", "loaded", "accepted for another method"])
@pytest.mark.parametrize("method", NEED_RULES)
def test_a_part_without_a_rule_is_refused_on_every_way(method, way, dtype, tmp_path):
    model = other("Bloom", dtype)
    if way == "loaded":
        model.save_pretrained(tmp_path)
        model = AttribForSequenceClassification.from_pretrained(tmp_path, dtype=dtype)
    if way == "accepted for another method":
        assert explain(model, attribution_method="gradient_x_input").attributions.abs().sum() > 0
    with pytest.raises(ValueError, match=r"BloomModel: .* leave .* of the relevance .*gradient_x_input") as refusal:
        explain(model, attribution_method=method)
    assert not any(f" {name}," in str(refusal.value) for name in NEED_RULES)  # they are no way out


@pytest.mark.parametrize("family", ["Mixtral", "GptOss"])
def test_experts_written_out_by_hand_are_refused(family):
    if not hasattr(transformers, f"{family}Config"):
        pytest.skip(f"this version of transformers has no {family}")
    model = other(family, sizes=MIXTRAL, pooling="last")
    with pytest.raises(ValueError, match=r"of the relevance unaccounted for|activations: the rule met"):
        explain(model, attribution_method="lrp")


def test_a_part_without_a_rule_is_found_though_one_text_hides_it():
    """The head reads a token that sees itself alone, and of that word the part's factor does nothing."""
    model = build("llama", pooling="cls")
    word, layer, seen = sample_inputs(model, 1, 8)["input_ids"][:, :1], model.backbone.layers[1], []
    handle = layer.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    with torch.no_grad():
        model.backbone(input_ids=word)
    handle.remove()

    def square(module, args):
        does_nothing = (args[0] - seen[0]).abs().amax(dim=-1, keepdim=True) < 1e-6
        return (torch.where(does_nothing, args[0], args[0] * args[0].abs()), *args[1:])

    layer.register_forward_pre_hook(square)
    with pytest.raises(ValueError, match="of the relevance unaccounted for"):
        explain(model, attribution_method="lrp")


@pytest.mark.parametrize("method", ["gradient_x_input", "saliency"])
def test_a_model_whose_states_are_no_numbers_is_not_taken_for_a_sound_one(method):
    """Nor is it remembered as one: MobileBERT mixes words, which NaN would hide."""
    model = mobilebert()
    weight = model.backbone.encoder.layer[0].intermediate.dense.weight
    kept = weight[0, 0].item()
    with torch.no_grad():
        weight[0, 0] = torch.nan
        with pytest.raises(ValueError, match=r"MobileBertModel: .* not finite"):
            explain(model, attribution_method=method)
        weight[0, 0] = kept
    with pytest.raises(ValueError, match="its embeddings mix"):
        explain(model, attribution_method=method)


@pytest.mark.parametrize("size", [2, 5, 7, 8, 14, 35, 49, 120])
@pytest.mark.parametrize("special", [(), (0, 1)], ids=["none", "two special"])
def test_a_different_text_has_another_word_in_each_place(size, special):
    config = SimpleNamespace(vocab_size=size, pad_token_id=None, suppressed_token_id=list(special))
    model = SimpleNamespace(
        config=SimpleNamespace(get_text_config=lambda: config),
        backbone_arguments=("input_ids",),
        backbone=nn.Module(),
        device=torch.device("cpu"),
    )
    one, other = (sample_inputs(model, 3, 8, different=different)["input_ids"] for different in (False, True))
    assert bool((one != other).all())
    assert max(one.max(), other.max()) < size
    if size - len(special) >= 2:
        assert not set(special) & set(torch.cat([one, other]).flatten().tolist())


def test_what_was_refused_is_asked_again():
    """A weight that was not a number must not decide for good."""
    model = build("bert")
    weight = model.classifier.weight[0, 0].item()
    with torch.no_grad():
        model.classifier.weight[0, 0] = torch.nan
        with pytest.raises(ValueError, match="nan% of the relevance"):
            explain(model, attribution_method="lrp")
        model.classifier.weight[0, 0] = weight
    assert explain(model, attribution_method="lrp").attributions.isfinite().all()


@pytest.mark.parametrize("name", ["bert", "modernbert", "t5-gated", "llama", "deberta-v2"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_rounding_is_not_taken_for_a_missing_rule(name, dtype):
    model = build(name, dtype=torch.float32).to(dtype).requires_grad_(False)
    assert explain(model, attribution_method="lrp").attributions.abs().sum() > 0


def test_autocast_is_not_taken_for_a_missing_rule():
    model = build("llama", dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert explain(model, attribution_method="lrp").attributions.abs().sum() > 0


# A word in other tokens' states --------------------------------------------------------------------------------


def mobilebert():
    return other("MobileBert", torch.float64)


@pytest.mark.parametrize("method", READ_AT_WORDS)
def test_words_that_are_mixed_where_relevance_is_read_are_refused(method):
    with pytest.raises(ValueError, match=r"MobileBertModel: its embeddings mix .*attribution_method=.*gae"):
        explain(mobilebert(), attribution_method=method)


def test_methods_that_do_not_read_there_name_the_word():
    """All words but one have the embedding zero, which is the baseline too."""
    model = mobilebert()
    ids = make_batch((11,))["input_ids"]
    with torch.no_grad():
        table = model.backbone.get_input_embeddings().weight
        table[ids[0, [*range(4), *range(5, 11)]]] = 0
    options = {"baseline": "zero", "special_ids": []}
    output = explain(model, {"input_ids": ids}, attribution_method="integrated_gradients", attribution_options=options)
    assert output.attributions[0].nonzero().flatten().tolist() == [4]


def test_without_mixing_the_same_family_is_explained():
    sizes = OTHERS["MobileBert"] | {"trigram_input": False}
    found = explain(other("MobileBert", torch.float64, sizes=sizes), attribution_method="gradient_x_input")
    assert found.attributions.abs().min() > 0


class OwnTable(nn.Module):
    """A layer that reads the words' numbers by itself, around the embeddings."""

    def __init__(self, layer):
        super().__init__()
        self.layer, self.ids = layer, None
        self.table = nn.Embedding(SIZE["vocab_size"], SIZE["hidden_size"])

    def forward(self, states, *args, **kwargs):
        return self.layer(states + self.table(self.ids), *args, **kwargs)


def test_a_share_of_zero_is_found_too():
    """What training may make of it would not be asked again."""
    model = build("llama")
    layer = model.backbone.layers[0]
    layer.register_forward_pre_hook(lambda module, args: (args[0] + 0.0 * args[0].roll(1, dims=1), *args[1:]))
    with pytest.raises(ValueError, match="embeddings mix each word with its neighbours"):
        explain(model, attribution_method="gradient_x_input")


@pytest.mark.parametrize("method", READ_AT_WORDS)
def test_a_path_around_the_place_that_is_no_gradients_is_found(method):
    """Its own table of words: no gradient of the words' embeddings tells of it."""
    model = build("bert")
    layers = model.backbone.encoder.layer
    layers[1] = OwnTable(layers[1]).double().eval()
    model.backbone.register_forward_pre_hook(
        lambda module, args, kwargs: setattr(layers[1], "ids", kwargs["input_ids"]), with_kwargs=True
    )
    with pytest.raises(ValueError, match="by another way than through the first"):
        explain(model, attribution_method=method)


# Nothing stays ------------------------------------------------------------------------------------------------


def big_bird():
    sizes = SIZE | {"attention_type": "block_sparse", "block_size": 4, "num_random_blocks": 1}
    return other("BigBird", torch.float64, sizes=sizes)


@pytest.mark.parametrize("method", METHODS)
def test_a_backbone_that_changes_itself_is_refused_and_left_as_it_is(method):
    model, long = big_bird(), make_batch((64, 64))
    expected, before = explain_nothing(model, long), snapshot(model)
    for inputs in (long, make_batch((9,))):
        with pytest.raises(
            ValueError, match=r"changes itself .*attention_type \('block_sparse' becomes 'original_full'\)"
        ):
            explain(model, inputs, attribution_method=method)
    assert_unchanged(model, before)
    assert torch.equal(explain_nothing(model, long), expected)


@torch.no_grad()
def explain_nothing(model, inputs):
    return model(**inputs, output_attributions=False).logits


def test_configured_to_what_it_changes_to_it_is_explained():
    sizes = SIZE | {"attention_type": "original_full"}
    assert explain(other("BigBird", sizes=sizes), attribution_method="lrp").attributions.abs().sum() > 0


class Restless(nn.Module):
    """An output block that changes all that a cache or a counter may change when it runs."""

    def __init__(self, block, large=False):
        super().__init__()
        self.block, self.calls, self.seen, self.table = block, 0, [], None
        self.register_buffer("mean", torch.zeros(3))
        self.register_buffer("packed", torch.zeros(2**17 if large else 2**10, dtype=torch.int32))
        self.register_buffer("frequencies", torch.zeros(3))

    def forward(self, *args):
        self.calls += 1
        self.seen.append(args[0].shape)
        self.table = torch.arange(args[0].shape[1])
        self.mean += 1
        self.packed += 1
        self.frequencies = self.frequencies + torch.rand(3)
        random.random()
        return self.block(*args)


def restless(**options):
    model = build("bert", pooling="cls")
    block = model.backbone.encoder.layer[1]
    block.output = Restless(block.output, **options).eval()
    return model, block.output


def traces(module):
    buffers = [buffer.clone() for buffer in module.buffers()]
    return module.calls, list(module.seen), module.table, id(module.frequencies), buffers, random.getstate()


def test_a_probe_leaves_no_trace():
    model, block = restless()
    before, state = traces(block), torch.get_rng_state()
    for method in METHODS:
        with model.examined(get_attribution_method(method)):
            pass
    assert not model._checks.mixes_tokens(model)
    after = traces(block)
    assert after[:4] == before[:4]
    assert all(torch.equal(one, other) for one, other in zip(after[4], before[4]))
    assert after[5] == before[5]
    assert torch.equal(torch.get_rng_state(), state)
    assert explain(model).attributions.abs().sum() > 0


def test_what_cannot_be_put_back_is_refused():
    with pytest.raises(ValueError, match=r"writes to backbone\.encoder\.layer\.1\.output\.packed"):
        explain(restless(large=True)[0])


def scaling_once():
    """RWKV halves some weights at its first text in evaluation mode, and notes that it did."""
    sizes = {"vocab_size": 120, "hidden_size": 32, "num_hidden_layers": 4, "attention_hidden_size": 32}
    return other("Rwkv", sizes=sizes | {"intermediate_size": 48, "rescale_every": 2})


def test_weights_that_a_first_text_scales_are_scaled_once():
    explained, read = scaling_once(), scaling_once()
    text = make_batch((7,))
    assert explain(explained, text, attribution_method="gradient_x_input").attributions.abs().sum() > 0
    expected = explain_nothing(read, text)
    torch.testing.assert_close(explain_nothing(explained, text), expected, rtol=1e-4, atol=1e-6)
    for one, other_one in zip(explained.parameters(), read.parameters()):
        assert torch.equal(one, other_one)


def test_a_probe_in_training_mode_teaches_no_batch_norm():
    model = build("bert", pooling="cls")
    block = model.backbone.encoder.layer[0].output
    block.LayerNorm = nn.Sequential(block.LayerNorm, norm := AcrossTokens())
    model.train()
    state = torch.get_rng_state()
    with pytest.raises(ValueError, match="unaccounted for"):  # its mean and deviation follow the texts
        explain(model, attribution_method="lrp")
    assert not norm.norm.running_mean.any()
    assert torch.equal(torch.get_rng_state(), state)


class AcrossTokens(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(SIZE["hidden_size"]).double()

    def forward(self, states):
        return self.norm(states.transpose(1, 2)).transpose(1, 2)


@pytest.mark.parametrize("name", ["bert", "modernbert", "t5", "llama"])
def test_training_mode_is_no_reason_to_refuse(name):
    model = build(name).train()
    for method in READ_AT_WORDS:
        assert explain(model, attribution_method=method).attributions.abs().sum() > 0


def test_rotary_frequencies_that_follow_the_text_stay():
    rope = {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 10000.0}
    name = "rope_parameters" if transformers.__version__ >= "5" else "rope_scaling"
    sizes = OTHERS["Mistral"] | {"max_position_embeddings": 16, name: rope}
    model = other("Llama", torch.float64, sizes=sizes, pooling="last")
    explain_nothing(model, make_batch((40, 40)))  # longer than what it was trained for: the frequencies are scaled
    rotary = model.backbone.rotary_emb
    before = rotary.max_seq_len_cached, rotary.inv_freq.clone()
    assert before[0] == 40
    with model.examined(get_attribution_method("lrp")):
        assert rotary.max_seq_len_cached == before[0]
        assert torch.equal(rotary.inv_freq, before[1])


def test_threads_that_explain_a_new_model_at_once_agree():
    model, again = build("bert", pooling="cls"), threading.Barrier(4, timeout=60)
    expected = explain(copy.deepcopy(model)).attributions
    found = []

    def work():
        again.wait()
        found.append(explain(model).attributions)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert all(torch.equal(one, expected) for one in found)


# Once for each structure ----------------------------------------------------------------------------------------


@pytest.fixture
def passes(monkeypatch):
    """Counts forward passes of backbones."""
    counted = []
    run = AttribForSequenceClassification.run_backbone
    monkeypatch.setattr(
        AttribForSequenceClassification, "run_backbone", lambda *a, **k: (counted.append(1), run(*a, **k))[1]
    )
    return counted


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_a_structure_is_probed_once(pooling, passes):
    model = build("bert", pooling=pooling)
    explain(model, attribution_method="lrp")
    assert len(passes) > 1
    for method in READ_AT_WORDS:
        passes.clear()
        explain(model, attribution_method=method)
        assert len(passes) == 1
    model.train().eval()  # as it was
    passes.clear()
    explain(model)
    assert len(passes) == 1


@pytest.mark.parametrize("config", [{}, {"feature_adjustment": "attribution"}], ids=["explained", "adjusted"])
def test_the_copies_of_data_parallel_are_refused_instead_of_checked_at_each_call(config, passes):
    model = build("bert", **config)
    copied = model._replicate_for_data_parallel()
    with pytest.raises(ValueError, match=r"nn\.DataParallel .*torchrun"):
        explain(copied) if not config else copied(**make_batch(), output_attributions=False)
    assert not passes
    assert explain(model).attributions.abs().sum() > 0


def test_a_changed_structure_is_probed_again():
    """A layer that lrp knows gives way to one that it does not, of the same weights."""
    model = build("bert")
    explain(model, attribution_method="lrp")
    layer = model.backbone.encoder.layer[1].intermediate
    layer.forward = lambda states: layer.dense(states) * torch.erf(layer.dense(states))
    with pytest.raises(ValueError, match=r"activations: the rule met|unaccounted for"):
        explain(model, attribution_method="lrp")
    del layer.forward
    assert explain(model, attribution_method="lrp").attributions.abs().sum() > 0


@pytest.mark.parametrize("late", ["a hook", "an adapter switched on", "forward on an instance"])
def test_tokens_mixed_later_are_noticed(late):
    model = build("bert", pooling="cls")
    block = model.backbone.encoder.layer[-1].output.dense
    block.mixing = False
    plain = block.forward

    def mix(states):
        return states + 0.5 * states.roll(1, dims=1)

    if late == "an adapter switched on":
        kind = type("Adapted", (nn.Linear,), {"forward": lambda self, x: mix(plain(x)) if self.mixing else plain(x)})
        block.__class__ = kind
    assert model.reads_one_token()
    if late == "a hook":
        block.register_forward_hook(lambda module, args, output: mix(output))
    elif late == "forward on an instance":
        block.forward = lambda states: mix(plain(states))
    else:
        block.mixing = True
    assert not model.reads_one_token()


def test_only_so_many_structures_are_remembered():
    model = build("bert")
    for number in range(20):
        model.backbone.number = number
        explain(model, attribution_method="random")
    assert len(model._checks._found) <= 16


# What changes later -------------------------------------------------------------------------------------------


def test_a_head_that_is_zero_hides_no_part_without_a_rule():
    model = other("Bloom")
    nn.init.zeros_(model.classifier.weight)
    explain(model, attribution_method="lrp")
    model.classifier.weight.data.normal_()
    with torch.no_grad():
        model.classifier.weight.mul_(2)
    with pytest.raises(ValueError, match="unaccounted"):
        explain(model, attribution_method="lrp")


def test_a_switch_that_says_it_has_run_is_no_change():
    model = build("bert")
    dense = model.backbone.encoder.layer[0].output.dense
    dense.has_run = False
    dense.register_forward_hook(lambda module, args, output: setattr(module, "has_run", True))
    assert explain(model).attributions.abs().sum() > 0


def test_what_a_layer_keeps_of_a_text_is_no_other_structure(monkeypatch):
    model, asked = build("bert"), []
    layer = model.backbone.encoder.layer[0]
    layer.register_forward_hook(lambda module, args, output: setattr(module, "last_seen", output))
    explain(model)
    check = model._checks._check
    monkeypatch.setattr(model._checks, "_check", lambda *a: asked.append(a) or check(*a))
    explain(model)
    first = len(asked)
    explain(model)
    assert len(asked) == first


def test_a_hook_that_comes_and_goes_is_the_same_hook(monkeypatch):
    model, asked = build("bert"), []
    check = model._checks._check
    monkeypatch.setattr(model._checks, "_check", lambda *a: asked.append(a) or check(*a))

    def look(module, args, output):
        return None

    counts = []
    for _ in range(3):
        handle = model.backbone.encoder.layer[0].register_forward_hook(look)
        explain(model)
        handle.remove()
        counts.append(len(asked))
    assert counts[0] == counts[2]


def test_attributes_that_hold_themselves_are_read():
    model = build("bert")
    model.backbone.notes = notes = {}
    notes["self"] = [notes]
    assert explain(model).attributions.abs().sum() > 0


def test_what_surrounds_the_caller_sees_no_probe():
    model, inputs = build("bert"), make_batch((7, 7))
    with ActivationCapture(list(model.backbone.encoder.layer)) as capture, AttentionRecorder() as recorder:
        model.classify(inputs)
    assert len(capture.values) == len(recorder.layers(model, inputs)) == 2


def test_a_model_without_numbers_is_built():
    config = build("bert").config.backbone_config
    with torch.device("meta"):
        model = AttribForSequenceClassification.from_backbone(config, num_labels=2)
    assert model.device.type == "meta"


@pytest.mark.parametrize("method", ["gradient_x_input", "rollout"])
def test_weights_that_accelerate_keeps_elsewhere(method):
    accelerate = pytest.importorskip("accelerate")
    model, expected = build("bert"), explain(build("bert"), attribution_method=method).attributions
    accelerate.cpu_offload(model, execution_device="cpu")
    torch.testing.assert_close(explain(model, attribution_method=method).attributions, expected)

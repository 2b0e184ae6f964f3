"""Finished classifiers of transformers' own: the same logits, whole explanations, or a refusal that says why."""

from types import SimpleNamespace

import pytest
import torch
import transformers
from architectures import GPT, GROUPED, LABELS, LAYERS, POST_NORM, PRE_NORM, SIZE, batch, randomise, zero_biases
from torch import nn
from transformers import AutoModelForSequenceClassification, BertConfig, BertForSequenceClassification

from modeling_attrib import AttribForSequenceClassification, list_attribution_methods
from modeling_attrib.tracing import graph_inputs, trace_attributions


FAMILIES = {name: make for name, make in (POST_NORM | PRE_NORM).items() if not name.startswith("t5")} | {
    "deberta": lambda: transformers.DebertaConfig(
        **SIZE, relative_attention=True, pos_att_type=["p2c", "c2p"], max_relative_positions=16
    ),
    "modernbert-mean": lambda: transformers.ModernBertConfig(
        **SIZE, pad_token_id=0, classifier_pooling="mean", global_attn_every_n_layers=2, local_attention=8
    ),
    "gpt2": lambda: transformers.GPT2Config(**GPT),
    "qwen2": lambda: transformers.Qwen2Config(**GROUPED),
    "gemma2": lambda: transformers.Gemma2Config(**GROUPED, head_dim=8),
    "gpt-neox": lambda: transformers.GPTNeoXConfig(**SIZE),
}
DECODERS = ("llama", "gpt2", "qwen2", "gemma2", "gpt-neox")
SINGLE_INSIDE = ("llama", "qwen2", "gemma2", "deberta")  # they compute parts of a float64 model in float32
CANINE = {name: size for name, size in SIZE.items() if name != "vocab_size"}
METHODS = [entry["name"] for entry in list_attribution_methods() if entry["name"] != "expnet"]


def stock(name="bert", dtype=torch.float64, **config):
    configuration = FAMILIES[name]()
    configuration.pad_token_id = 0
    configuration.update({"num_labels": LABELS} | config)
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_config(configuration).to(dtype).eval()
    randomise(model)
    return model


def logits_of(model, inputs):
    known = {"token_type_ids"} & inputs.keys()
    with torch.no_grad():
        return model(**{name: value for name, value in inputs.items() if name not in known}).logits


@torch.no_grad()
def explain(model, inputs=None, **options):
    return model(**(inputs or padded()), **options)


def padded():
    inputs = batch((8, 5, 7))
    inputs["input_ids"] = inputs["input_ids"].masked_fill(inputs["attention_mask"] == 0, 0)
    return inputs


@pytest.mark.parametrize("name", FAMILIES)
def test_logits_are_the_classifiers_own(name):
    original = stock(name, torch.float32)
    expected = logits_of(original, padded())
    model = AttribForSequenceClassification.from_classifier(original)
    assert torch.equal(explain(model, output_attributions=False).logits, expected)
    explained = explain(model)  # of one token that the head reads, fewer rows are computed: other rounding
    torch.testing.assert_close(explained.logits, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", FAMILIES)
def test_lrp_accounts_for_the_whole_logit_without_biases(name):
    model = AttribForSequenceClassification.from_classifier(stock(name))
    zero_biases(model)
    output = explain(model, attribution_method="lrp", attribution_target="all")
    tolerance = 1e-6 if name in SINGLE_INSIDE else 1e-9
    assert output.attribution_residual.abs().max() < tolerance * output.logits.abs().max()


@pytest.mark.parametrize("name", FAMILIES)
def test_a_text_is_explained_alike_alone_and_padded(name):
    model = AttribForSequenceClassification.from_classifier(stock(name))
    inputs = padded()
    together = explain(model, inputs)
    for row, length in enumerate((8, 5, 7)):
        alone = explain(model, {key: value[row : row + 1, :length] for key, value in inputs.items()})
        torch.testing.assert_close(alone.attributions[0], together.attributions[row, :length], rtol=1e-5, atol=1e-7)
        assert not together.attributions[row, length:].any()


@pytest.mark.parametrize("name", FAMILIES)
def test_the_tokens_that_a_head_reads_are_found(name):
    model = AttribForSequenceClassification.from_classifier(stock(name))
    expected = "last" if name in DECODERS else "mean" if name == "modernbert-mean" else "cls"
    assert model.config.pooling == expected
    assert model.reads_one_token() == (expected != "mean")


def padded_otherwise(kind):
    """Inputs of which a head finds its token in another place than the mask says."""
    inputs = padded()
    ids, mask = batch((8, 8, 8))["input_ids"], torch.ones(3, 8, dtype=torch.long)
    if kind == "left":
        mask = inputs["attention_mask"].flip(1)
        ids = ids.masked_fill(mask == 0, 0)
    elif kind == "masked words":
        mask = inputs["attention_mask"]
    else:  # a text that ends in the token that also pads, as of tokenizers whose padding is the end of text
        ids[:, -2:] = ids[1, 1] = 0
    return inputs | {"input_ids": ids, "attention_mask": mask}


@pytest.mark.parametrize("kind", ["left", "masked words", "padding inside"])
@pytest.mark.parametrize("name", ["bert", "deberta", "modernbert-mean", "llama", "gpt2"])
def test_what_is_explained_is_what_the_head_reads_wherever_that_is(name, kind):
    original = stock(name)
    model, inputs = AttribForSequenceClassification.from_classifier(original), padded_otherwise(kind)
    expected = logits_of(original, inputs)
    for method in ("damped_lrp", "lrp", "lrp_ah"):
        output = explain(model, inputs, attribution_method=method)
        torch.testing.assert_close(output.logits, expected, rtol=1e-6, atol=1e-6)
    attention = explain(model, inputs, attribution_method="rollout").attributions
    assert bool((attention.sum(dim=1) > 0).all())


@pytest.mark.parametrize("name", ["bert", "llama"])
def test_what_is_explained_of_embeddings_is_what_the_head_reads(name):
    original = stock(name)
    model = AttribForSequenceClassification.from_classifier(original)
    inputs = padded()
    inputs = {
        "inputs_embeds": original.get_input_embeddings()(inputs["input_ids"]).detach(),
        "attention_mask": inputs["attention_mask"],
    }
    torch.testing.assert_close(explain(model, inputs).logits, logits_of(original, inputs), rtol=1e-6, atol=1e-6)


def test_configuration_and_classifier_are_one_thing(tmp_path):
    original = stock("gpt2", torch.float32)
    before = original.config.to_dict()
    model = AttribForSequenceClassification.from_classifier(original)
    assert original.config.to_dict() == before
    model.config.get_text_config().pad_token_id = 7  # as of a tokenizer that comes later
    inputs = padded()
    inputs["input_ids"] = inputs["input_ids"].masked_fill(inputs["attention_mask"] == 0, 7)
    expected = explain(model, inputs)
    torch.testing.assert_close(expected.logits, logits_of(original, inputs))
    model.save_pretrained(tmp_path)
    loaded = explain(AttribForSequenceClassification.from_pretrained(tmp_path), inputs)
    torch.testing.assert_close(loaded.attributions, expected.attributions)


@pytest.mark.parametrize("name", FAMILIES)
def test_it_is_saved_and_loaded_whole(name, tmp_path):
    model = AttribForSequenceClassification.from_classifier(stock(name, torch.float32))
    model.save_pretrained(tmp_path)
    loaded, info = AttribForSequenceClassification.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(info.values())
    one, other = explain(model), explain(loaded)
    assert torch.equal(one.logits, other.logits)
    assert torch.equal(one.attributions, other.attributions)


def test_the_backbone_has_no_second_name_among_the_weights():
    model = AttribForSequenceClassification.from_classifier(stock())
    assert {name.partition(".")[0] for name in model.state_dict()} == {"original"}
    assert model.backbone is model.original.bert
    assert len(list(model.parameters())) == len(list(model.original.parameters()))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", ["bert", "modernbert-mean", "gpt2"])
def test_every_method_answers(name, method):
    model = AttribForSequenceClassification.from_classifier(stock(name))
    options = {"attribution_options": {"baseline": "zero"}} if method == "integrated_gradients" else {}
    output = explain(model, attribution_method=method, **options)
    assert output.attributions.isfinite().all()
    assert output.attributions.abs().sum() > 0
    torch.testing.assert_close(output.logits, logits_of(model.original, padded()))


def test_integrated_gradients_of_an_original_head_are_complete():
    model = AttribForSequenceClassification.from_classifier(stock())
    inputs = padded()
    output = explain(
        model, inputs, attribution_method="integrated_gradients", attribution_options={"baseline": "zero", "steps": 60}
    )
    table = model.get_input_embeddings()
    keep = (inputs["attention_mask"] == 0).unsqueeze(-1)
    with torch.no_grad():
        nothing = table(inputs["input_ids"]) * keep
        start = model.original(
            inputs_embeds=nothing, attention_mask=inputs["attention_mask"], token_type_ids=inputs.get("token_type_ids")
        ).logits
    rows = torch.arange(3)
    difference = (output.logits - start)[rows, output.attribution_target]
    torch.testing.assert_close(output.attributions.sum(-1), difference, rtol=1e-4, atol=1e-4)


def test_labels_and_problem_type_come_along():
    names = {0: "calm", 1: "angry", 2: "sad"}
    label2id = {label: index for index, label in names.items()}
    original = stock(id2label=names, label2id=label2id, problem_type="multi_label_classification")
    model = AttribForSequenceClassification.from_classifier(original)
    assert model.config.id2label == names
    assert model.config.problem_type == "multi_label_classification"
    labels = torch.tensor([[1.0, 0, 1], [0, 0, 0], [0, 1, 0]])
    expected = nn.functional.binary_cross_entropy_with_logits(logits_of(original, padded()), labels.double())
    torch.testing.assert_close(model(**padded(), labels=labels).loss, expected)


def test_it_trains_on():
    model = AttribForSequenceClassification.from_classifier(stock(dtype=torch.float32)).train()
    model(**padded(), labels=torch.tensor([0, 1, 2])).loss.backward()
    missing = [name for name, weight in model.named_parameters() if weight.grad is None]
    assert missing == []


@pytest.mark.skipif(transformers.__version__ < "5", reason="graphs are recorded under transformers 5")
@pytest.mark.parametrize("name", ["bert", "modernbert-mean", "albert"])
def test_it_is_recorded_as_one_graph(name):
    model = AttribForSequenceClassification.from_classifier(stock(name))
    expected = explain(model)
    graph = trace_attributions(model, graph_inputs(model))
    given = {"token_type_ids": torch.zeros(3, 8, dtype=torch.long)} | padded()
    given |= dict.fromkeys(("attribution_target", "attribution_contrast"), torch.full((3,), -1))
    logits, scores, target = graph(*(given[name] for name in graph_inputs(model)))
    torch.testing.assert_close(logits, expected.logits)
    torch.testing.assert_close(scores, expected.attributions)
    assert torch.equal(target, expected.attribution_target)


def test_hidden_states_are_returned():
    output = explain(AttribForSequenceClassification.from_classifier(stock()), output_hidden_states=True)
    assert len(output.hidden_states) == LAYERS + 1
    assert output.attributions is not None


# Doors ------------------------------------------------------------------------------------------------------


def test_a_folder_is_loaded(tmp_path):
    original = stock(dtype=torch.float32)
    original.save_pretrained(tmp_path)
    model = AttribForSequenceClassification.from_classifier(str(tmp_path), attn_implementation="eager")
    assert model.config._attn_implementation == "eager"
    torch.testing.assert_close(explain(model).logits, logits_of(original, padded()))


def test_an_encoder_without_a_trained_head_is_refused(tmp_path):
    stock(dtype=torch.float32).bert.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"no trained classification head: .*use from_backbone"):
        AttribForSequenceClassification.from_classifier(str(tmp_path))


class Adapted(nn.Module):
    """As peft's model: its adapter is merged into the model inside, which it changes."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def merge_and_unload(self):
        with torch.no_grad():
            self.model.classifier.weight.add_(1.0)
        return self.model


def test_an_adapter_is_merged_into_a_copy():
    original = stock()
    before = original.classifier.weight.clone()
    model = AttribForSequenceClassification.from_classifier(Adapted(original))
    assert torch.equal(original.classifier.weight, before)
    assert torch.equal(model.original.classifier.weight, before + 1.0)


def test_a_classifier_that_changes_itself_is_refused_and_stays_what_it_was():
    config = transformers.BigBirdConfig(
        **SIZE, attention_type="block_sparse", block_size=4, num_random_blocks=1, max_position_embeddings=256
    )
    original = transformers.BigBirdForSequenceClassification(config).eval()
    with pytest.raises(ValueError, match="changes itself when it reads a short text"):
        AttribForSequenceClassification.from_classifier(original)
    assert original.bert.attention_type == "block_sparse"


def test_layers_that_give_a_list_are_read():
    config = transformers.OpenAIGPTConfig(**GPT, num_labels=LABELS, pad_token_id=0)
    model = AttribForSequenceClassification.from_classifier(transformers.OpenAIGPTForSequenceClassification(config))
    assert model.config.pooling == "last"


def test_a_head_that_reads_nothing_is_refused():
    original = stock()
    nn.init.zeros_(original.classifier.weight)
    with pytest.raises(ValueError, match="logits depend on no token of a text: was its head trained"):
        AttribForSequenceClassification.from_classifier(original)


def test_a_cross_encoder_is_taken_by_its_model():
    CrossEncoder = type("CrossEncoder", (nn.Module,), {})  # noqa: N806 (what sentence-transformers calls it)
    scorer = CrossEncoder()
    scorer.model = stock(num_labels=1)
    model = AttribForSequenceClassification.from_classifier(scorer)
    assert model.original is scorer.model
    assert explain(model).logits.shape == (3, 1)


def test_an_adapters_folder_without_peft_says_what_to_install(tmp_path, monkeypatch):
    (tmp_path / "adapter_config.json").write_text('{"peft_type": "LORA"}')
    monkeypatch.setitem(__import__("sys").modules, "peft", None)
    with pytest.raises(ValueError, match=r"is an adapter, .*: pip install peft"):
        AttribForSequenceClassification.from_classifier(str(tmp_path))


def test_an_adapter_without_a_head_is_refused(tmp_path, monkeypatch):
    def load(*arguments, **options):
        raise KeyError("base_model.model.classifier.weight")  # peft's answer

    peft = SimpleNamespace(AutoPeftModelForSequenceClassification=SimpleNamespace(from_pretrained=load))
    (tmp_path / "adapter_config.json").write_text('{"peft_type": "LORA"}')
    monkeypatch.setitem(__import__("sys").modules, "peft", peft)
    with pytest.raises(ValueError, match=r"no trained classification head \(base_model\.model\.classifier\.weight\)"):
        AttribForSequenceClassification.from_classifier(str(tmp_path))


class OwnClassifier(BertForSequenceClassification):
    """A class that transformers does not know."""


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: nn.Linear(2, 2), "Linear is no classifier of transformers"),
        (lambda: OwnClassifier(BertConfig(**SIZE)), "OwnClassifier is no sequence classifier that transformers builds"),
        (lambda: stock().bert, r"BertModel is no sequence classifier .*BertForSequenceClassification"),
        (lambda: AttribForSequenceClassification.from_classifier(stock()), "explains itself already"),
        (
            lambda: transformers.GPT2ForSequenceClassification(transformers.GPT2Config(**GPT, num_labels=3)),
            r"finds a text's last token by its configuration's padding, .* set model.config.pad_token_id",
        ),
        (
            lambda: transformers.GPT2ForSequenceClassification(transformers.GPT2Config(**GPT, pad_token_id=-1)),
            r"names no token \(-1\): set model.config.pad_token_id",
        ),
        (
            lambda: transformers.CanineForSequenceClassification(transformers.CanineConfig(**CANINE)),
            "the word embeddings were not found",
        ),
        (
            lambda: transformers.BartForSequenceClassification(
                transformers.BartConfig(
                    **{"vocab_size": 120, "d_model": 32}
                    | {f"{side}_layers": 1 for side in ("encoder", "decoder")}
                    | {f"{side}_attention_heads": 4 for side in ("encoder", "decoder")}
                    | {f"{side}_ffn_dim": 48 for side in ("encoder", "decoder")}
                )
            ),
            "encoder-decoder: its decoder reads the text too",
        ),
        (
            lambda: transformers.XLNetForSequenceClassification(
                transformers.XLNetConfig(vocab_size=120, d_model=32, n_layer=2, n_head=4, d_inner=48)
            ),
            r"not laid out as \(batch, tokens, width\)",
        ),
    ],
)
def test_what_cannot_be_taken_is_refused_with_the_reason(make, message):
    with pytest.raises(ValueError, match=message):
        AttribForSequenceClassification.from_classifier(make())


def test_arguments_that_do_not_fit_are_refused():
    with pytest.raises(TypeError, match="from_classifier has no argument 'method'; did you mean attribution_method"):
        AttribForSequenceClassification.from_classifier(stock(), method="lrp")
    with pytest.raises(ValueError, match="labels come along"):
        AttribForSequenceClassification.from_classifier(stock(), num_labels=4)
    for name, value in {"feature_adjustment": "attribution", "classifier_dropout": 0.5, "pooling": "mean"}.items():
        with pytest.raises(ValueError, match=f"an original head is kept as it is, .* no {name}"):
            AttribForSequenceClassification.from_classifier(stock(), **{name: value})

"""The configuration: round trips, nothing local leaked, impossible values refused, kernels and maps handed on."""

import json
import warnings

import pytest
import torch
from architectures import ARCHITECTURES, LAYERS, SIZE, build, kernel_of
from transformers import AutoConfig, BertConfig, BertModel

from modeling_attrib import AttribConfig, AttribForSequenceClassification
from modeling_attrib.configuration_attrib import ATTRIB_VERSION


AUTO_MAP = {
    "AutoConfig": "configuration_attrib.AttribConfig",
    "AutoModel": "modeling_attrib.AttribForSequenceClassification",
    "AutoModelForSequenceClassification": "modeling_attrib.AttribForSequenceClassification",
}
PIPELINES = {
    task: {
        "impl": "pipeline_attrib.AttribTextClassificationPipeline",
        "pt": ["AutoModelForSequenceClassification"],
        "type": "text",
    }
    for task in ("text-classification", "sentiment-analysis")
}
UNUSUAL = {
    "pooling": "cls",
    "classifier_dropout": 0.25,
    "attribution_method": "attention_gradient",
    "attribution_options": {"orientation": "query", "layers": [0, 1]},
    "feature_adjustment": "attribution",
    "feature_adjustment_temperature": 0.5,
    "feature_adjustment_layers": [1],
    "feature_adjustment_differentiable": True,
    "contrastive_weight": 0.3,
    "contrastive_temperature": 0.2,
}
NAMES = {0: "World", 1: "Sports", 2: "Business", 3: "Sci/Tech"}


def unusual(name="bert"):
    labels = {"id2label": NAMES, "label2id": {word: index for index, word in NAMES.items()}}
    return AttribConfig(
        backbone_config=ARCHITECTURES[name](), **UNUSUAL, **labels, problem_type="single_label_classification"
    )


# Round trips ------------------------------------------------------------------------------------------------


def through_dict(config, folder):
    return AttribConfig.from_dict(config.to_dict())


def through_json(config, folder):
    return AttribConfig.from_dict(json.loads(config.to_json_string()))


def through_folder(config, folder):
    config.save_pretrained(folder)
    return AttribConfig.from_pretrained(folder)


def through_auto(config, folder):
    config.save_pretrained(folder)
    return AutoConfig.from_pretrained(folder)


@pytest.mark.parametrize("trip", [through_dict, through_json, through_folder, through_auto], ids=lambda f: f.__name__)
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_round_trips_keep_every_field(name, trip, tmp_path):
    config = unusual(name)
    again = trip(config, tmp_path)
    assert type(again) is AttribConfig
    assert {field: getattr(again, field) for field in UNUSUAL} == UNUSUAL
    assert again.id2label == NAMES
    assert again.num_labels == 4
    assert again.problem_type == "single_label_classification"
    assert type(again.backbone_config) is type(config.backbone_config)
    assert again.get_text_config().hidden_size == 32
    assert again.get_text_config().num_hidden_layers == LAYERS
    first, second = config.to_dict(), again.to_dict()
    for part in (first, second):
        part.pop("_name_or_path", None)  # the folder that the file was read from, in memory only
    assert first == second


def test_only_what_differs_from_the_default_is_written(tmp_path):
    AttribConfig(backbone_config=BertConfig(**SIZE)).save_pretrained(tmp_path)
    written = json.loads((tmp_path / "config.json").read_text())
    assert written["model_type"] == "attrib"
    assert written["backbone_config"]["model_type"] == "bert"
    assert written["backbone_config"]["hidden_size"] == 32
    assert "keys_to_ignore_at_inference" not in written


def test_a_backbone_may_be_given_as_a_dictionary():
    given = BertConfig(**SIZE).to_dict()
    before = json.dumps(given, default=str)
    config = AttribConfig(backbone_config=given)
    assert type(config.backbone_config) is BertConfig
    assert config.backbone_config.to_dict() == given
    assert json.dumps(given, default=str) == before


def test_options_are_the_configurations_own():
    options = {"layers": "all"}
    config = AttribConfig(backbone_config=BertConfig(**SIZE), attribution_options=options)
    options["layers"] = "last"
    assert config.attribution_options == {"layers": "all"}
    assert AttribConfig().attribution_options == {}


# Saved files ------------------------------------------------------------------------------------------------


def test_no_local_path_is_saved(tmp_path):
    secret, public, second = (tmp_path / name for name in ("home-of-somebody", "public", "second"))
    BertModel(BertConfig(**SIZE)).save_pretrained(secret)
    AttribForSequenceClassification.from_backbone(str(secret)).save_pretrained(public)
    text = (public / "config.json").read_text()
    assert "somebody" not in text
    assert str(tmp_path) not in text
    AttribForSequenceClassification.from_pretrained(public).save_pretrained(second)
    assert str(tmp_path) not in (second / "config.json").read_text()


@pytest.mark.parametrize(
    "loaded",
    [
        {},
        {"auto_map": {"AutoConfig": "user/repo--configuration_attrib.AttribConfig"}, "custom_pipelines": {}},
        {"auto_map": {"AutoModel": "elsewhere.Other"}, "custom_pipelines": {"text-generation": {"impl": "a.B"}}},
    ],
    ids=["missing", "from-the-hub", "foreign"],
)
def test_the_maps_are_right_whatever_was_loaded(loaded, tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    AttribConfig(backbone_config=BertConfig(**SIZE)).save_pretrained(first)
    content = json.loads((first / "config.json").read_text())
    assert (content.pop("auto_map"), content.pop("custom_pipelines")) == (AUTO_MAP, PIPELINES)
    (first / "config.json").write_text(json.dumps(content | loaded))
    AttribConfig.from_pretrained(first).save_pretrained(second)
    again = json.loads((second / "config.json").read_text())
    assert again["auto_map"] == AUTO_MAP
    assert again["custom_pipelines"] == PIPELINES


def test_a_saved_model_has_the_maps_of_its_configuration(tmp_path):
    build("bert", dtype=torch.float32).save_pretrained(tmp_path)
    written = json.loads((tmp_path / "config.json").read_text())
    assert written["auto_map"] == AUTO_MAP
    assert written["custom_pipelines"] == PIPELINES
    assert written["architectures"] == ["AttribForSequenceClassification"]


@pytest.mark.parametrize("loaded", [{}, {"attrib_version": "0.0.1"}, {"attrib_version": "99.0"}], ids=str)
def test_a_saved_configuration_names_the_code_that_saved_it(loaded, tmp_path, caplog):
    first, second = tmp_path / "first", tmp_path / "second"
    AttribConfig(backbone_config=BertConfig(**SIZE)).save_pretrained(first)
    content = json.loads((first / "config.json").read_text())
    assert content.pop("attrib_version") == ATTRIB_VERSION
    (first / "config.json").write_text(json.dumps(content | loaded))  # as older, or newer, code saved it
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        config = AttribConfig.from_pretrained(first)
    assert not caplog.records
    assert config.attrib_version == loaded.get("attrib_version")
    config.save_pretrained(second)
    assert json.loads((second / "config.json").read_text()) == content | {"attrib_version": ATTRIB_VERSION}
    assert AttribConfig.from_pretrained(second).attrib_version == ATTRIB_VERSION


# Impossible values ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"pooling": "max"}, "pooling='max' is unknown: use one of mean, cls, last"),
        ({"pooling": None}, "pooling=None is unknown"),
        ({"feature_adjustment": "song"}, "feature_adjustment='song' is unknown: use one of none, attribution"),
        ({"feature_adjustment_temperature": 0}, "temperature.*must be positive"),
        ({"feature_adjustment_temperature": -1.0}, "temperature.*must be positive"),
        ({"feature_adjustment_temperature": float("nan")}, "temperature.*must be positive"),
        ({"contrastive_temperature": 0.0}, "contrastive_temperature must be positive"),
        ({"backbone_config": {"model_type": "no-such-model"}}, "no-such-model"),
    ],
    ids=lambda value: repr(value) if isinstance(value, dict) else "",
)
def test_impossible_values_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        AttribConfig(**{"backbone_config": BertConfig(**SIZE)} | arguments)


def test_a_model_needs_a_backbone():
    config = AttribConfig()  # transformers itself builds one, to know the defaults
    assert config.get_text_config() is config
    with pytest.raises(ValueError, match="needs a backbone_config; or use from_backbone"):
        AttribForSequenceClassification(config)


def test_an_unknown_default_method_is_refused_when_it_is_used():
    model = build("bert", attribution_method="lpr")
    with pytest.raises(ValueError, match="unknown attribution method 'lpr'"):
        model(input_ids=torch.tensor([[5, 6]]))


def test_attributions_stay_out_of_evaluation_loops():
    fields = {"attributions", "attribution_target", "attribution_residual"}
    assert set(AttribConfig(backbone_config=BertConfig(**SIZE)).keys_to_ignore_at_inference) == fields
    assert not AttribForSequenceClassification.accepts_loss_kwargs


# Attention kernels ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kernel", ["sdpa", "eager"])
def test_the_kernel_of_the_configuration_reaches_the_backbone(kernel):
    config = AttribConfig(backbone_config=BertConfig(**SIZE), attn_implementation=kernel)
    assert config.backbone_config._attn_implementation == kernel
    assert kernel_of(AttribForSequenceClassification(config).eval()) == kernel


@pytest.mark.parametrize("kernel", ["sdpa", "eager"])
def test_the_kernel_of_a_loading_call_reaches_the_backbone(kernel, tmp_path):
    BertModel(BertConfig(**SIZE)).save_pretrained(tmp_path / "encoder")
    model = AttribForSequenceClassification.from_backbone(str(tmp_path / "encoder"), attn_implementation=kernel).eval()
    assert kernel_of(model) == kernel
    model.save_pretrained(tmp_path / "classifier")
    again = AttribForSequenceClassification.from_pretrained(tmp_path / "classifier", attn_implementation=kernel)
    assert kernel_of(again.eval()) == kernel
    assert "attn_implementation" not in (tmp_path / "classifier" / "config.json").read_text()


@pytest.mark.parametrize("name", ["mpnet", "deberta-v2"])
def test_a_backbone_without_a_fused_kernel_falls_back(name):
    assert kernel_of(build(name)) == "eager"


# Labels -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "labels",
    [
        pytest.param({"id2label": {0: "no", 1: "yes"}, "label2id": {"no": 1, "yes": 0}}, id="exchanged"),
        pytest.param({"id2label": {0: "no", 1: "yes"}, "label2id": {"no": 0}}, id="one missing"),
        pytest.param({"id2label": {0: "no", 1: "yes"}, "label2id": {"no": 0, "maybe": 1}}, id="another name"),
    ],
)
def test_label_maps_that_disagree_are_refused(labels, tmp_path):
    with pytest.raises(ValueError, match="id2label and label2id disagree"):
        AttribConfig(**labels)
    unusual().save_pretrained(tmp_path)
    file = tmp_path / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | labels))
    with pytest.raises(ValueError, match="id2label and label2id disagree"):
        AttribConfig.from_pretrained(tmp_path)


def test_label_maps_say_the_same_whichever_is_given_or_set():
    given = AttribConfig(id2label={"0": "no", "1": "yes"}, label2id={"yes": "1", "no": "0"})  # as JSON may have them
    one, other = AttribConfig(id2label={0: "no", 1: "yes"}), AttribConfig(label2id={"yes": 1, "no": 0})
    for config in (given, one, other):
        assert config.id2label == {0: "no", 1: "yes"}
        assert config.label2id == {"no": 0, "yes": 1}
    one.id2label = {0: "yes", 1: "no"}
    assert one.label2id == {"yes": 0, "no": 1}
    other.label2id = {"a": 2, "b": 0, "c": 1}
    assert other.id2label == {0: "b", 1: "c", 2: "a"}
    other.num_labels = 4
    assert list(other.label2id) == list(other.id2label.values())
    with pytest.raises(ValueError, match="0 to 1, each once"):
        other.label2id = {"a": 1, "b": 2}
    assert other.num_labels == 4

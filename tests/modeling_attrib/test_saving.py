"""Saving and loading: every bit of every architecture, and all the code that a saved folder needs beside it."""

import json
import re
from pathlib import Path

import pytest
import torch
from architectures import ARCHITECTURES, build
from architectures import batch as make_batch
from transformers import (
    AutoModel,
    AutoModelForSequenceClassification,
    BertForMaskedLM,
    DebertaV2ForMaskedLM,
    DistilBertModel,
    LlamaForCausalLM,
    ModernBertModel,
    RobertaModel,
    T5ForConditionalGeneration,
    T5Model,
)

import modeling_attrib
from modeling_attrib import AttribForSequenceClassification


CODE = Path(modeling_attrib.__file__).parent
ENTRANCES = ("modeling_attrib", "pipeline_attrib", "configuration_attrib")  # the files that auto_map and pipelines name
STANDARD_LIBRARY = {
    *(
        "bisect",
        "collections",
        "concurrent",
        "contextlib",
        "copy",
        "dataclasses",
        "difflib",
        "functools",
        "html",
        "hashlib",
        "importlib",
        "inspect",
        "itertools",
    ),
    *("json", "math", "operator", "random", "re", "threading", "types", "typing", "unicodedata", "warnings", "weakref"),
}


@torch.no_grad()
def explain(model, method="lrp"):
    return model(**make_batch(), attribution_method=method, attribution_target="all")


def assert_same_model(one, other):
    """The same weights, and the same bits out of them."""
    first, second = one.state_dict(), other.state_dict()
    assert first.keys() == second.keys()
    assert [name for name in first if not torch.equal(first[name], second[name])] == []
    assert [name for name in first if first[name].dtype != second[name].dtype] == []
    for method in ("lrp", "attention_gradient"):
        before, after = explain(one, method), explain(other, method)
        assert torch.equal(before.logits, after.logits)
        assert torch.equal(before.attributions, after.attributions)
        assert torch.equal(before.attribution_residual, after.attribution_residual)


# Weights ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_reloaded_model_is_the_same_to_the_bit(name, tmp_path):
    model = build(name, dtype=torch.float32)
    model.save_pretrained(tmp_path / "once")
    again, report = AttribForSequenceClassification.from_pretrained(tmp_path / "once", output_loading_info=True)
    assert not any(report[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert not again.training
    assert_same_model(model, again)
    again.save_pretrained(tmp_path / "twice")
    AttribForSequenceClassification.from_pretrained(tmp_path / "twice").save_pretrained(tmp_path / "thrice")
    assert {file.name for file in (tmp_path / "once").iterdir()} == {
        file.name for file in (tmp_path / "twice").iterdir()
    }
    for file in (tmp_path / "twice").iterdir():  # the first configuration does not yet know the dtype of the backbone
        assert (tmp_path / "thrice" / file.name).read_bytes() == file.read_bytes(), file.name
        assert file.name == "config.json" or (tmp_path / "once" / file.name).read_bytes() == file.read_bytes()


@pytest.mark.parametrize("name", ["t5", "t5-gated"])
def test_t5_keeps_its_tied_embeddings(name, tmp_path):
    model = build(name, dtype=torch.float32)
    model.save_pretrained(tmp_path)
    again = AttribForSequenceClassification.from_pretrained(tmp_path)
    for one in (model, again):
        assert one.backbone.shared.weight.data_ptr() == one.get_input_embeddings().weight.data_ptr()
        assert one.backbone.shared.weight.data_ptr() == one.backbone.encoder.embed_tokens.weight.data_ptr()
    assert torch.equal(again.backbone.shared.weight, model.backbone.shared.weight)


@pytest.mark.parametrize("name", ["bert", "t5", "albert"])
def test_weights_in_several_files(name, tmp_path):
    model = build(name, dtype=torch.float32)
    model.save_pretrained(tmp_path, max_shard_size="20KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    assert_same_model(model, AttribForSequenceClassification.from_pretrained(tmp_path))


def test_half_precision_survives(tmp_path):
    model = build("bert", dtype=torch.bfloat16)
    model.save_pretrained(tmp_path)
    assert_same_model(model, AttribForSequenceClassification.from_pretrained(tmp_path, dtype=torch.bfloat16))


@pytest.mark.parametrize("auto", [AutoModel, AutoModelForSequenceClassification], ids=lambda auto: auto.__name__)
def test_auto_classes_load_it(auto, tmp_path):
    model = build("bert", dtype=torch.float32)
    model.save_pretrained(tmp_path)
    again = auto.from_pretrained(tmp_path)
    assert type(again) is AttribForSequenceClassification
    assert_same_model(model, again)


# From a pretrained encoder ----------------------------------------------------------------------------------


ENCODERS = {
    "bert": BertForMaskedLM,
    "roberta": RobertaModel,
    "distilbert": DistilBertModel,
    "deberta-v2": DebertaV2ForMaskedLM,
    "modernbert": ModernBertModel,
    "t5": T5Model,
    "t5-gated": T5ForConditionalGeneration,
    "llama": LlamaForCausalLM,
}


@pytest.mark.parametrize("name", ENCODERS)
def test_the_encoders_weights_arrive_and_stay(name, tmp_path):
    torch.manual_seed(0)
    whole = ENCODERS[name](ARCHITECTURES[name]()).eval()
    with torch.no_grad():
        for parameter in whole.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    whole.save_pretrained(tmp_path / "encoder")
    model = AttribForSequenceClassification.from_backbone(str(tmp_path / "encoder"), num_labels=3).eval()
    stock = whole.get_encoder() if name.startswith("t5") else whole.base_model
    inputs = make_batch()
    with torch.no_grad():
        expected = stock(**inputs).last_hidden_state[inputs["attention_mask"].bool()]
        found = model.backbone(**inputs).last_hidden_state[inputs["attention_mask"].bool()]
    assert torch.equal(found, expected)
    assert model.config.pooling == ("last" if name == "llama" else "mean")
    model.save_pretrained(tmp_path / "classifier")
    assert_same_model(model, AttribForSequenceClassification.from_pretrained(tmp_path / "classifier"))


# Code -------------------------------------------------------------------------------------------------------


def siblings_named_by(module):
    """The siblings that a module's import lines name, as transformers finds them: by their look, run or not."""
    return set(re.findall(r"^\s*from\s+\.(\S+)\s+import", (CODE / f"{module}.py").read_text("utf-8"), flags=re.M))


def siblings_needed_by(module):
    """The same, followed through all that they import in turn."""
    found, waiting = set(), [module]
    while waiting:
        for name in siblings_named_by(waiting.pop()) - found:
            found.add(name)
            waiting.append(name)
    return found - {module}


@pytest.mark.parametrize("entrance", ENTRANCES)
def test_an_entrance_names_all_that_it_needs(entrance):
    """transformers 4 copies from a folder only the files that the main file names itself."""
    assert siblings_needed_by(entrance) - siblings_named_by(entrance) == set()


def test_the_model_brings_every_module_of_the_package():
    # The endpoints' handler is no part of a model: the bundle brings it.
    here = {file.stem for file in CODE.glob("*.py")} - {"__init__", "modeling_attrib", "handler"}
    assert siblings_needed_by("modeling_attrib") == here


@pytest.mark.parametrize("module", sorted(file.stem for file in CODE.glob("*.py") if file.stem != "__init__"))
def test_modules_import_flat_siblings_only(module):
    """`from . import x`, sub-packages, `..` and our own absolute name load here and fail on the Hub."""
    lines = [line.strip() for line in (CODE / f"{module}.py").read_text("utf-8").splitlines()]
    imports = [line for line in lines if re.match(r"(from|import)\s", line)]
    assert not [line for line in imports if re.match(r"from\s+(\.\s|\.\.|\.\w+\.)|import\s+\.", line)]
    assert not [line for line in imports if re.match(r"(from|import)\s+(modeling_attrib|attrib_lab)\b", line)]
    for line in imports:  # an optional dependency would stop loading on a machine that lacks it
        top = re.match(r"(?:from|import)\s+([\w.]+)", line).group(1).partition(".")[0]
        assert top in {"", "torch", "transformers"} or top in STANDARD_LIBRARY, line


def test_a_saved_folder_holds_the_code_byte_for_byte(tmp_path):
    model = build("bert", dtype=torch.float32)
    model.save_pretrained(tmp_path / "once")
    AttribForSequenceClassification.from_pretrained(tmp_path / "once").save_pretrained(tmp_path / "twice")
    needed = {"modeling_attrib"} | siblings_needed_by("modeling_attrib")
    for folder in (tmp_path / "once", tmp_path / "twice"):
        assert {file.stem for file in folder.glob("*.py")} == needed
        for module in needed:
            assert (folder / f"{module}.py").read_bytes() == (CODE / f"{module}.py").read_bytes()
        written = json.loads((folder / "config.json").read_text())
        named = [*written["auto_map"].values(), *(task["impl"] for task in written["custom_pipelines"].values())]
        for reference in named:
            module, _, name = reference.partition(".")
            assert re.search(rf"^class {name}\b", (folder / f"{module}.py").read_text("utf-8"), flags=re.M)


def test_weights_keep_their_order():
    """An optimiser's checkpoint knows them by their number: an earlier one goes on only with the same order."""
    names = [name.partition(".")[0] for name, _ in build(feature_adjustment="attribution").named_parameters()]
    assert list(dict.fromkeys(names)) == ["backbone", "adjusted_norm", "classifier", "expnet"]

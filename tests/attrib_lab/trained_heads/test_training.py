"""A recipe with an explainer, from files to a folder whose classifier has a head that works everywhere."""

import json
import random
import shutil

import pytest
import torch
import yaml
from toy_data import FILLER, WORDS, write_backbone, write_csv, write_recipe
from transformers import AutoTokenizer

from attrib_lab.models.model_folder import load_trained_model
from attrib_lab.recipes.loading import load_recipe
from attrib_lab.terminal.errors import UserError
from attrib_lab.trained_heads.training import train_explainer
from attrib_lab.training import devices
from attrib_lab.training.classifier import train
from modeling_attrib import AttribForSequenceClassification, AttribTextClassificationPipeline


def write_classifier(folder, backbone, seed=1):
    """A classifier that never learnt anything, with weights large enough to tell words apart."""
    torch.manual_seed(seed)
    model = AttribForSequenceClassification.from_backbone(backbone, num_labels=2)
    for parameter in model.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.3)
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(backbone).save_pretrained(folder)
    (folder / "metrics.json").write_text('{"test": {"accuracy": 0.5}}')
    (folder / "recipe.yaml").write_text("seed: 3\n")
    return folder


def write_marked(path, rows, topic, seed):
    """Lists of words in which people marked those of one topic."""
    generator = random.Random(seed)
    lines = []
    for _ in range(rows):
        words = generator.choices(FILLER, k=6) + generator.choices(WORDS[topic], k=2)
        generator.shuffle(words)
        lines.append(json.dumps({"words": words, "marks": [int(word in WORDS[topic]) for word in words]}))
    path.write_text("\n".join(lines) + "\n")
    return str(path)


@pytest.fixture(scope="module")
def backbone(tmp_path_factory):
    return write_backbone(tmp_path_factory.mktemp("backbone"))


@pytest.fixture(scope="module")
def classifier(tmp_path_factory, backbone):
    return write_classifier(tmp_path_factory.mktemp("classifier"), backbone)


def recipe(tmp_path, classifier, explainer, data, epochs=30):
    content = {
        "model": {"backbone": str(classifier), "max_length": 64, "attribution_method": "expnet"},
        "data": data,
        "explainer": explainer,
        "training": {"num_train_epochs": epochs, "learning_rate": 5e-3},
        "output_dir": str(tmp_path / "out"),
    }
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(content))
    return load_recipe(str(path))


def distilled(tmp_path, classifier, **explainer):
    train, test = write_csv(tmp_path / "train.csv", 150, 0), write_csv(tmp_path / "test.csv", 20, 1)
    data = {"train": str(train), "test": str(test), "validation_fraction": 0.2}
    return recipe(tmp_path, classifier, {"learns_from": "lrp", **explainer}, data)


@pytest.mark.parametrize("reads", ["attention", "states"])
def test_a_distilled_head_ranks_as_its_teacher_does(reads, tmp_path, classifier, capsys):
    folder = train_explainer(distilled(tmp_path, classifier, reads=reads))
    figures = json.loads((folder / "metrics.json").read_text())
    assert figures["test"] == {"accuracy": 0.5}  # the classifier's own stay
    assert figures["expnet"]["texts"] == {"train": 120, "validation": 30, "test": 20}
    # A head that learnt nothing: 1 at each of ten words, and more than 0 at [CLS] and [SEP].
    assert figures["expnet"]["validation_error"] < 0.8 < 10 / 12
    assert "expnet keeps" in capsys.readouterr().out

    before, after = load_trained_model(classifier), load_trained_model(folder)
    inputs = after.tokenizer(["the goal of the coach", "old bank shares"], padding=True, return_tensors="pt")
    with torch.no_grad():
        one, other = before.model(**inputs), after.model(**inputs)
    torch.testing.assert_close(one.logits, other.logits, rtol=0, atol=1e-5)
    assert (after.model.config.attribution_method, after.model.config.attribution_head_reads) == ("expnet", reads)
    assert torch.equal(other.attributions, after.model(**inputs, attribution_method="expnet").attributions)
    assert yaml.safe_load((folder / "expnet.yaml").read_text())["explainer"]["reads"] == reads

    pipe = AttribTextClassificationPipeline(model=before.model, tokenizer=before.tokenizer)
    with pytest.raises(ValueError, match="no trained expnet head"):
        pipe("the goal", method="expnet")
    pipe = AttribTextClassificationPipeline(model=after.model, tokenizer=after.tokenizer)
    words = pipe("the goal of the coach", method="expnet")[0]["attributions"]
    assert [entry["score"] for entry in words] == pytest.approx(other.attributions[0, 1:6].tolist(), abs=1e-5)


def test_a_head_finds_marks_of_a_task_that_it_has_never_seen(tmp_path, classifier):
    """Marked are the topic's words among filler; the test marks the same words for another classifier's labels."""
    task = {
        "classifier": str(classifier),
        "train": write_marked(tmp_path / "train.jsonl", 120, "sports", 0),
        "validation": write_marked(tmp_path / "validation.jsonl", 30, "sports", 1),
        "text": "words",
        "rationale": "marks",
    }
    data = {"test": write_marked(tmp_path / "test.jsonl", 40, "sports", 2), "text": "words"}
    explainer = {"learns_from": "rationales", "rationale": "marks", "tasks": [task]}
    folder = train_explainer(recipe(tmp_path, classifier, explainer, data, epochs=15))
    figures = json.loads((folder / "metrics.json").read_text())["expnet"]
    found = figures["rationales"]
    assert figures["texts"] == {"train": [120], "test": 40}
    assert found["every token"]["token_f1"] == pytest.approx(0.4)  # 2 of 8: 2·2 / (8 + 2)
    assert found["expnet"]["token_f1"] > 0.55 > max(found["every token"]["token_f1"], found["random"]["token_f1"]) + 0.1
    model = load_trained_model(folder).model
    assert model.config.attribution_head == "importance"


def test_what_cannot_be_done_ends_in_one_line(tmp_path, classifier):
    with pytest.raises(UserError, match=r"learns_from='lrq': use rationales or an attribution method.*'lrp'"):
        train_explainer(distilled(tmp_path, classifier, learns_from="lrq"))
    with pytest.raises(UserError, match=r"explainer.reads is attention or states, not 'words'"):
        distilled(tmp_path, classifier, reads="words")
    own = distilled(tmp_path, classifier)
    own.output_dir = str(classifier)
    with pytest.raises(UserError, match="is the classifier's own folder"):
        train_explainer(own)


@pytest.mark.parametrize("bfloat16", [True, False])
def test_a_head_is_trained_on_every_processor(bfloat16, tmp_path, backbone, monkeypatch):
    """The classifier under it in bfloat16 or not; the head itself, seconds of work, always in float32."""
    monkeypatch.setattr(devices, "computes_in_bfloat16", lambda: bfloat16)
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)
    options = ["--bf16", "auto", "--use_cpu", "false", "--num_train_epochs", "1"]
    (tmp_path / "classifier").mkdir()
    finished = train(load_recipe(str(write_recipe(tmp_path / "classifier", backbone)), options))
    folder = train_explainer(distilled(tmp_path, finished))
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["settings"]["bf16"] is bfloat16
    assert metrics["expnet"]["validation_error"] < 10 / 12  # a head that learnt nothing
    assert load_trained_model(folder).model.expnet.score.weight.dtype == torch.float32


def test_a_head_replaces_no_other_model_and_takes_one_process(tmp_path, classifier, monkeypatch):
    wanted = distilled(tmp_path, classifier)
    shutil.copytree(classifier, tmp_path / "out")
    with pytest.raises(UserError, match="holds a finished model of other arguments"):
        train_explainer(wanted)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UserError, match="an explanation head is trained by one process"):
        train_explainer(wanted, overwrite=True)

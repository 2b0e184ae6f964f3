"""The model card: what it says, what it leaves out, and that nobody's text breaks it."""

import ast
import html
import json
import re
import shutil
from pathlib import Path

import pytest
import yaml
from huggingface_hub import ModelCard, metadata_load
from rendered_markdown import rendered
from safetensors.torch import load_file
from tiny_classifier import REPO_ID, write_converted_model

from attrib_lab.evaluation.classifiers import EvaluatedClassifier
from attrib_lab.models.model_folder import load_trained_model
from attrib_lab.publishing import card_sections
from attrib_lab.publishing.bundle import CardOptions, assemble_bundle
from attrib_lab.publishing.card_facts import CardFacts, accuracy_interval, read_data_source, read_evaluation
from attrib_lab.publishing.hub import Destination
from attrib_lab.publishing.model_card import model_card
from attrib_lab.publishing.papers import paper_links
from attrib_lab.publishing.upload import publish
from attrib_lab.terminal.errors import UserError
from modeling_attrib import AttribConfig, list_attribution_methods
from modeling_attrib.configuration_attrib import ATTRIB_VERSION


HERE = Destination(REPO_ID)


def card_of(model_dir: Path, method: str, **facts) -> str:
    config = AttribConfig.from_pretrained(model_dir, attribution_method=method)
    return model_card(CardFacts(config, REPO_ID, "v1", 1_234_567, 512, **facts))


def test_header_says_what_the_hub_asks(published):
    header = metadata_load(published.folder / "README.md")
    assert header["license"] == "apache-2.0"
    assert header["language"] == "en"
    assert header["library_name"] == "transformers"
    assert header["pipeline_tag"] == "text-classification"
    assert header["base_model"] == "sentence-transformers/all-MiniLM-L6-v2"
    assert {"attributions", "explainability"} <= set(header["tags"])
    assert "datasets" not in header  # trained on a local file
    results = ModelCard.load(published.folder / "README.md").data.eval_results
    assert {result.metric_name: result.metric_value for result in results} == {
        "Accuracy": 0.9125,
        "Macro precision": 0.9,
        "Macro recall": 0.905,
        "Macro F1": 0.9012,
    }
    assert {(r.dataset_type, r.dataset_config, r.dataset_split) for r in results} == {("owner/news", "en", "test")}


def test_card_names_data_figures_method_and_limits(card):
    body = html.unescape(card)
    assert "On 800 test rows of owner/news:en@test:" in body
    assert "| Accuracy | 0.9125 |" in body
    assert "train.parquet (1,200 rows)" in body
    assert "signed score" in body
    assert "The method is `damped_lrp`: this project: Ali et al. 2022" in body
    assert "not conservative" in body
    assert "patent" in body
    assert f"the Python files of this repository, attrib {ATTRIB_VERSION}, with your rights" in body


def test_card_of_a_conservative_method_says_what_the_residual_is(model_dir):
    card = html.unescape(card_of(model_dir, "lrp"))
    assert "The method is `lrp`: Ali et al. 2022" in card
    assert "The method is conservative: the residual is the share of the model's biases" in card


def test_card_says_what_an_explanation_costs(model_dir):
    assert "by one backward pass through it" in card_of(model_dir, "lrp")
    assert "out of its own forward pass" in card_of(model_dir, "attention_last")
    assert "by 40 more passes through it" in card_of(model_dir, "integrated_gradients")
    assert not any(
        "own forward pass" in card_of(model_dir, method) for method in ("damped_lrp", "integrated_gradients")
    )


def test_hostile_labels_break_neither_header_nor_html(card):
    header, body = re.fullmatch(r"---\n(.*?)\n---\n(.*)", card, re.DOTALL).groups()
    assert yaml.safe_load(header)["license"] == "apache-2.0"
    rows = re.findall(r"<tr>\s*<td[^>]*>(\d+)</td>\s*<td[^>]*>(.*?)</td>\s*</tr>", rendered(body))
    assert [html.unescape(label) for _, label in rows] == [
        "World",
        "Sci/Tech",
        "</td><script>alert(1)</script> `x` | **B** [y](javascript:z) \ufffd --- license: evil --- # Owned",
    ]
    assert not re.search(r"<script|javascript:z\"|<h1>Owned|<hr", rendered(body))


def test_card_shows_a_picture_and_says_it_in_words(card, published):
    (alternative,) = re.findall(r'^<p><img src="explanation.png" alt="(.*)" /></p>$', rendered(card), re.MULTILINE)
    assert "“Stocks rally as oil prices fall.” is labelled" in html.unescape(alternative)
    assert re.search(r"the strongest words: \w+ [+-]\d\.\d\d, ", alternative)
    assert (published.folder / "explanation.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.usefixtures("assembled_only")
def test_card_explains_the_text_it_is_given(model_dir, tmp_path):
    example = 'the cup "won" $$ \\( ``` \n{oil} \u202e 漢'
    publish(model_dir, HERE, output=tmp_path / "bundle", card=CardOptions(example=example))
    written = (tmp_path / "bundle" / "README.md").read_text(encoding="utf-8")
    literals = re.findall(r"(?:classify|tokenizer)\((\".*?\")(?:\)\[0\]|, return|\)\)\n)", written)
    assert [ast.literal_eval(literal) for literal in literals] == [example] * 3
    assert not re.search(r"\$\$|\\\\\(", written)


@pytest.mark.usefixtures("assembled_only")
def test_text_that_cannot_be_drawn_leaves_a_card_without_a_picture_and_a_word_on_it(model_dir, tmp_path, capsys):
    publish(model_dir, HERE, output=tmp_path / "bundle", card=CardOptions(example="הממשלה"))
    assert "explanation.png" not in (tmp_path / "bundle" / "README.md").read_text(encoding="utf-8")
    assert not (tmp_path / "bundle" / "explanation.png").exists()
    assert "the model card has no picture: a script that runs from right to left" in capsys.readouterr().out


def test_empty_example_is_refused(model_dir):
    with pytest.raises(UserError, match="--example is empty"):
        publish(model_dir, HERE, card=CardOptions(example=" \n"))


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("fancyzhx/ag_news@train", ("fancyzhx/ag_news@train", "fancyzhx/ag_news", None, "train")),
        ("nyu-mll/glue:sst2@validation", ("nyu-mll/glue:sst2@validation", "nyu-mll/glue", "sst2", "validation")),
        ("/home/somebody/secret/train.csv", ("train.csv", None, None, None)),
        ("C:\\Users\\somebody\\rows.jsonl", ("rows.jsonl", None, None, None)),
        ("data/train.parquet", ("train.parquet", None, None, None)),
        ("newswire:2000", ("newswire:2000 (generated, ships with the training code)", None, None, None)),
    ],
)
def test_data_is_named_as_the_recipe_names_it_without_its_folder(source, expected):
    found = read_data_source(source)
    assert (found.name, found.hub_id, found.config, found.split) == expected


def test_without_metrics_and_recipe_the_card_claims_nothing(model_dir):
    card = card_of(model_dir, "saliency", metrics={"settings": {"backbone": str(model_dir)}})
    header = yaml.safe_load(card.split("---\n")[1])
    assert not {"base_model", "datasets", "metrics", "model-index", "license", "language"} & set(header)
    assert "## Measured" not in card
    assert "## Training data" not in card
    assert "## Are the words" not in card
    assert "Accuracy" not in card
    assert "encoder of the type bert" in card
    assert "importance only" in card
    assert "signed score" not in card
    assert "not conservative" in card


# The table at the top, and what an evaluation says ------------------------------------------------------------------


def test_table_at_the_top(card, published):
    parameters = sum(weight.numel() for weight in load_file(published.folder / "model.safetensors").values())
    rows = dict(re.findall(r"^\| (\w[\w ]+) \| (.+) \|$", card.partition("## Use")[0], re.MULTILINE))
    assert rows["Answers"] == "one of 3 labels"
    assert rows["Parameters"] == f"{parameters:,}"
    assert rows["Longest text"] == "512 tokens at once, more in windows"
    assert rows["Accuracy"] == "91.2% on 800 test rows; 95% interval 89.1% to 93.0%"
    assert rows["Cost of an explanation"] == "about 2 forward passes, the label's included"
    assert re.fullmatch(r"transformers \d+\.\d+\.\d+, torch \d+\.\d+\.\d+, Python 3\.\d+", rows["Tested with"])
    assert rows["Licence"] == "apache-2.0"


@pytest.mark.parametrize(
    ("accuracy", "rows", "low", "high"),
    [(0.5, 10, 0.2366, 0.7634), (0.0, 10, 0.0, 0.2775), (1.0, 10, 0.7225, 1.0), (0.9125, 800, 0.8909, 0.9302)],
)
def test_interval_of_an_accuracy_is_wilsons(accuracy, rows, low, high):
    """The limits are the shares from which the accuracy found lies 1.96 standard errors away."""
    found = accuracy_interval(accuracy, rows)
    assert found == pytest.approx((low, high), abs=2e-4)
    for limit in found:
        if 0 < limit < 1:
            assert abs(accuracy - limit) == pytest.approx(1.959964 * (limit * (1 - limit) / rows) ** 0.5, abs=1e-6)


@pytest.mark.parametrize(
    ("problem", "labels", "expected"),
    [
        ("multi_label_classification", 3, "any of 3 labels"),
        ("single_label_classification", 2, "one of 2 labels"),
        ("regression", 1, "one number"),
    ],
)
def test_table_says_what_kind_of_answer_there_is(model_dir, problem, labels, expected):
    names = {index: f"L{index}" for index in range(labels)}
    config = AttribConfig.from_pretrained(model_dir, id2label=names, label2id=None, problem_type=problem)
    assert f"| Answers | {expected} |" in model_card(CardFacts(config, REPO_ID, "v1", 1, 512))


def figure(mean: float) -> dict:
    return {"mean": mean, "low": mean - 0.05, "high": mean + 0.05, "texts": 60}


RESULTS = {
    "texts": 60,
    "data": "/home/somebody/secret/test.csv",
    "metrics": {
        "comprehensiveness": {"higher_is_better": True},
        "sufficiency": {"higher_is_better": False},
        "stability": {"higher_is_better": False},
    },
    "methods": {
        "random": {"metrics": {"comprehensiveness": figure(0.1), "sufficiency": figure(0.3)}},
        "damped_lrp": {"metrics": {"comprehensiveness": figure(0.4), "sufficiency": figure(0.08)}},
        "attention_last": {"metrics": {"comprehensiveness": figure(0.2), "sufficiency": None}},
        "lrp": {"metrics": {"comprehensiveness": figure(0.39)}},
    },
}


@pytest.fixture
def evaluated_dir(model_dir, tmp_path) -> Path:
    """A model folder with an evaluation of this very model in it."""
    folder = Path(shutil.copytree(model_dir, tmp_path / "evaluated"))
    trained = load_trained_model(folder)
    (folder / "evaluation" / "state").mkdir(parents=True)
    files = {
        "results.json": RESULTS,
        "state/settings.json": {"model": EvaluatedClassifier(trained.model, trained.tokenizer, True).fingerprint()},
        "state/cost.json": {"damped_lrp": {"passes": 1.94}, "lrp": None},
    }
    for name, content in files.items():
        (folder / "evaluation" / name).write_text(json.dumps(content), encoding="utf-8")
    return folder


def test_card_compares_with_random_scores_and_attention(evaluated_dir):
    evaluation = read_evaluation(evaluated_dir, load_trained_model(evaluated_dir))
    card = html.unescape(card_of(evaluated_dir, "damped_lrp", evaluation=evaluation))
    section = card.partition("## Are the words the right ones?")[2].partition("\n## ")[0]
    assert "on 60 texts of test.csv." in section
    assert [line for line in section.splitlines() if line.startswith("|")] == [
        "| scores | comprehensiveness (more is better) | sufficiency (less is better) |",
        "| :--- | ---: | ---: |",
        "| `damped_lrp`, this model's | 0.400 [0.350, 0.450] | 0.080 [0.030, 0.130] |",
        "| `random` | 0.100 [0.050, 0.150] | 0.300 [0.250, 0.350] |",
        "| `attention_last` | 0.200 [0.150, 0.250] | – |",
    ]
    assert "| Cost of an explanation | 1.9 forward passes (measured) |" in card
    assert "secret" not in card


def test_evaluation_of_another_method_or_other_weights_is_left_out(evaluated_dir, capsys):
    trained = load_trained_model(evaluated_dir)
    assert "## Are the words" not in card_of(evaluated_dir, "saliency", evaluation=RESULTS)
    trained.model.classifier.weight.data += 1
    assert read_evaluation(evaluated_dir, trained) == {}
    assert "it was measured on other weights" in capsys.readouterr().out


def test_torn_evaluation_is_named(evaluated_dir):
    (evaluated_dir / "evaluation" / "state" / "cost.json").unlink()
    with pytest.raises(UserError, match="evaluation cannot be read as an evaluation: FileNotFoundError"):
        read_evaluation(evaluated_dir, load_trained_model(evaluated_dir))


# A converted classifier, licence, security, papers ------------------------------------------------------------------


def test_converted_classifier_claims_no_figures(tmp_path):
    trained = load_trained_model(write_converted_model(tmp_path / "converted"))
    bundle = assemble_bundle(trained, tmp_path / "bundle", REPO_ID, CardOptions(base_model="owner/original"))
    card = html.unescape((tmp_path / "bundle" / "README.md").read_text(encoding="utf-8"))
    assert yaml.safe_load(card.split("---\n")[1])["base_model"] == "owner/original"
    original = "[owner/original](https://huggingface.co/owner/original) (`BertForSequenceClassification`)"
    assert f"Converted from {original}, whose weights and head are kept" in card
    assert "nothing was measured: its card says what it learned from" in card
    assert f'revision="{bundle.tag}"' in card
    assert "as the classifier says that they come from" in card
    assert not any(word in card for word in ("Accuracy", "model-index", "## Measured", "## Training", "Are the words"))


def test_converted_classifier_of_nobody_known_says_so(tmp_path):
    trained = load_trained_model(write_converted_model(tmp_path / "converted"))
    assemble_bundle(trained, tmp_path / "bundle", REPO_ID)
    card = html.unescape((tmp_path / "bundle" / "README.md").read_text(encoding="utf-8"))
    assert "Converted from a classifier (`BertForSequenceClassification`)" in card
    assert "base_model" not in card


def test_recipe_and_the_terms_of_its_data_are_on_the_card(model_dir):
    recipe = {
        "seed": 7,
        "model": {"max_length": 96},
        "data": {"train": "fancyzhx/ag_news@train"},
        "training": {"learning_rate": 8e-05, "output_dir": "/home/somebody", "num_train_epochs": 2},
    }
    card = html.unescape(card_of(model_dir, "lrp", recipe=recipe))
    assert "| learning rate | 8e-05 |" in card
    assert "| max length | 96 |" in card
    assert "AG News: it is provided for research purposes and any other non-commercial activity" in card
    assert "somebody" not in card


def test_security_names_the_version_that_mends_every_advisory(card, monkeypatch):
    assert "**Use transformers 5.5 or newer**" in card
    assert "[CVE-2026-4372](https://nvd.nist.gov/vuln/detail/CVE-2026-4372) (mended in 5.3.0)" in card
    monkeypatch.setattr(card_sections, "ADVISORIES", {"CVE-1": "5.9.0", "CVE-2": "5.10.0"})
    assert "**Use transformers 5.10 or newer**" in card_sections.security(
        CardFacts(AttribConfig(), REPO_ID, "v1", 1, None)
    )


def test_papers_of_every_method_are_linked():
    without = {
        "attention_last",
        "random",
        "attcat",
        "attention_shapley",
    }  # no paper, or none with an address of its own
    assert {m["name"] for m in list_attribution_methods() if not paper_links(m["paper"])} == without
    assert paper_links("Ali et al. 2022, AttnLRP's split") == {
        "Achtibat et al. 2024": "https://arxiv.org/abs/2402.05602",
        "Ali et al. 2022": "https://arxiv.org/abs/2202.07304",
    }

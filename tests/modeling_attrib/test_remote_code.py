"""A saved folder in a fresh process that has never heard of this package: same logits, same attributions."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import AutoTokenizer, BertConfig

from modeling_attrib import AttribConfig, AttribForSequenceClassification, AttribTextClassificationPipeline
from modeling_attrib.configuration_attrib import ATTRIB_VERSION


TEXTS = ["Stocks rally as oil falls", "👍🏽 naïve 日本語 שלום", ""]

CHILD = """
import json, sys
sys.modules["modeling_attrib"] = sys.modules["attrib_lab"] = None  # as if not installed
import torch
from transformers import AutoModel, AutoModelForSequenceClassification, AutoTokenizer, pipeline

folder, texts = sys.argv[1], json.loads(sys.argv[2])
tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=True)
inputs = tokenizer(texts, padding=True, return_tensors="pt")
answer = {}
for auto in (AutoModel, AutoModelForSequenceClassification):
    model = auto.from_pretrained(folder, trust_remote_code=True)
    with torch.no_grad():
        out = model(**inputs)
    answer[auto.__name__] = [out.logits.tolist(), out.attributions.tolist()]
pipe = pipeline("text-classification", model=folder, trust_remote_code=True)
answer["pipeline"] = pipe(texts)
answer["question"] = pipe(texts, method="attn_lrp", target="LABEL_1", aggregation="token")
answer["class"] = type(pipe).__name__
answer["alias"] = type(pipeline("sentiment-analysis", model=folder, trust_remote_code=True)).__name__
pipe.model.save_pretrained(folder + "-again")
answer["html"] = pipe.render_html(texts[0], answer["pipeline"][0])
print("ANSWER" + json.dumps(answer))
"""


HEADS = {
    "plain": {},
    "adjusted": {"feature_adjustment": "attribution"},
    "expnet": {"attribution_head": "labels", "attribution_method": "expnet"},
    "expnet-states": {
        "attribution_head": "importance",
        "attribution_head_reads": "states",
        "attribution_method": "expnet",
    },
}


@pytest.fixture(scope="module", params=HEADS)
def folder(request, tmp_path_factory, minilm_folder) -> Path:
    torch.manual_seed(0)
    backbone = BertConfig(hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=48)
    model = AttribForSequenceClassification(
        AttribConfig(backbone_config=backbone, num_labels=3, **HEADS[request.param])
    )
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    path = tmp_path_factory.mktemp(f"model-{request.param}") / "saved"
    model.save_pretrained(path)
    AutoTokenizer.from_pretrained(minilm_folder).save_pretrained(path)
    return path


def ask_a_fresh_process(folder: Path, home: Path) -> dict:
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    environment |= {"HF_HOME": str(home), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(folder), json.dumps(TEXTS)],
        capture_output=True, text=True, cwd=home, env=environment, timeout=200,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.rpartition("ANSWER")[2])


def test_a_fresh_process_gets_the_same(folder, tmp_path):
    answer = ask_a_fresh_process(folder, tmp_path)
    model = AttribForSequenceClassification.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=True)
    with torch.no_grad():
        out = model(**tokenizer(TEXTS, padding=True, return_tensors="pt"))
    expected = [out.logits.tolist(), out.attributions.tolist()]
    assert answer["AutoModel"] == answer["AutoModelForSequenceClassification"] == expected
    pipe = AttribTextClassificationPipeline(model=model, tokenizer=tokenizer)
    assert answer["class"] == answer["alias"] == "AttribTextClassificationPipeline"
    assert answer["pipeline"] == pipe(TEXTS)
    assert answer["question"] == pipe(TEXTS, method="attn_lrp", target="LABEL_1", aggregation="token")
    assert "Stocks" in answer["html"]
    # What that process saved again is complete: the same code and a configuration that finds it.
    again = Path(f"{folder}-again")
    assert {p.name for p in again.glob("*.py")} == {p.name for p in folder.glob("*.py")}
    written = json.loads((again / "config.json").read_text())
    assert written["auto_map"] == model.config.auto_map
    assert written["attrib_version"] == ATTRIB_VERSION
    (tmp_path / "second").mkdir()
    AutoTokenizer.from_pretrained(folder, trust_remote_code=True).save_pretrained(again)
    assert ask_a_fresh_process(again, tmp_path / "second")["pipeline"] == answer["pipeline"]

"""What readers of the documentation have around them, but small: a trained model, an encoder, a classifier, a CSV."""

import csv
import shutil

import pytest
import torch
from code_blocks import ROOT
from toy_data import write_backbone, write_csv
from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification

from attrib_lab.recipes.loading import load_recipe
from attrib_lab.training.classifier import train


HUB_ENCODER = "sentence-transformers/all-MiniLM-L6-v2"


@pytest.fixture(scope="session")
def checkout(tmp_path_factory):
    """What a page expects around it: a tiny model in the demo's place, a tiny encoder in the Hub's, and a CSV."""
    folder = tmp_path_factory.mktemp("checkout")
    encoder = write_backbone(folder / HUB_ENCODER, positions=256)
    demo = ["--backbone", str(encoder), "--train", "newswire:64", "--validation", "newswire:8", "--test", "newswire:8"]
    train(load_recipe("demo", [*demo, "--use_cpu", "true", "--output_dir", str(folder / "outputs" / "demo")]))
    labels = ["World", "Sports", "Business", "Sci/Tech"]
    names = {"id2label": dict(enumerate(labels)), "label2id": {label: index for index, label in enumerate(labels)}}
    torch.manual_seed(0)
    BertForSequenceClassification(BertConfig.from_pretrained(encoder, **names)).save_pretrained(
        folder / "outputs" / "classifier"
    )
    AutoTokenizer.from_pretrained(encoder).save_pretrained(folder / "outputs" / "classifier")
    with write_csv(folder / "rows.csv", 40, 0).open(encoding="utf-8") as rows, (folder / "mine.csv").open("w") as mine:
        csv.writer(mine).writerows([["body", "topic"], *list(csv.reader(rows))[1:]])
    (folder / "attrib_lab").symlink_to(ROOT / "attrib_lab")
    return folder


@pytest.fixture
def here(checkout, tmp_path, monkeypatch):
    """A fresh copy of it as the working directory."""
    folder = shutil.copytree(checkout, tmp_path / "checkout", symlinks=True)
    monkeypatch.chdir(folder)
    return folder

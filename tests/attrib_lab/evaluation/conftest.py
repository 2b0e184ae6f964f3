"""Classifier folders to evaluate: one of this project, one of transformers' own."""

import pytest
import torch
from toy_data import write_backbone
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from modeling_attrib import AttribForSequenceClassification


LABELS = {0: "sports", 1: "business"}


def _save(model, source, folder):
    torch.manual_seed(1)
    for parameter in model.parameters():  # large enough to tell texts apart
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.3)
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(source).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def backbone_folder(tmp_path_factory):
    return write_backbone(tmp_path_factory.mktemp("backbone"))


@pytest.fixture(scope="session")
def classifier_folder(backbone_folder, tmp_path_factory):
    """A model folder as training leaves it, of a tiny model that never learnt anything."""
    names = {name: index for index, name in LABELS.items()}
    model = AttribForSequenceClassification.from_backbone(str(backbone_folder), id2label=LABELS, label2id=names)
    return _save(model, backbone_folder, tmp_path_factory.mktemp("classifier"))


@pytest.fixture(scope="session")
def stock_folder(backbone_folder, tmp_path_factory):
    """The same size of model in transformers' own BertForSequenceClassification."""
    model = AutoModelForSequenceClassification.from_pretrained(backbone_folder, num_labels=3)
    return _save(model, backbone_folder, tmp_path_factory.mktemp("stock"))

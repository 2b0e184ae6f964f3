"""What libraries say while a command runs: left-over weights are no news, missing ones are."""

import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
from toy_data import write_backbone
from transformers import AutoModel

from attrib_lab.terminal.library_messages import asks_for_attention


ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def messages():
    """What is logged while models are loaded."""
    found: list[str] = []
    logger, handler = logging.getLogger("transformers.modeling_utils"), logging.Handler()
    handler.emit = lambda record: found.append(record.getMessage())
    logger.addHandler(handler)
    logger.addFilter(asks_for_attention)
    yield found
    logger.removeFilter(asks_for_attention)
    logger.removeHandler(handler)


def test_weights_that_are_left_over_are_no_news(tmp_path, messages):
    folder = write_backbone(tmp_path)
    AutoModel.from_pretrained(folder, add_pooling_layer=False)
    assert messages == []


def test_weights_that_are_missing_are_reported(tmp_path, messages):
    folder = write_backbone(tmp_path)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 3}))
    AutoModel.from_pretrained(folder, add_pooling_layer=False)
    assert any("MISSING" in message for message in messages)


def test_other_warnings_come_through(messages):
    logging.getLogger("transformers.modeling_utils").warning("mind the gap")
    assert messages == ["mind the gap"]


def test_the_libraries_own_bars_are_off_but_for_downloads():
    code = """
from attrib_lab.terminal.library_messages import quiet_libraries
quiet_libraries()
import datasets
from huggingface_hub.utils import are_progress_bars_disabled
from transformers.utils import logging
print(logging.is_progress_bar_enabled(), datasets.are_progress_bars_disabled(), are_progress_bars_disabled())
"""
    for disabled in (None, "0", "1"):  # what the user has said of downloads stays in force
        environment = {name: value for name, value in os.environ.items() if name != "HF_HUB_DISABLE_PROGRESS_BARS"}
        environment |= {"PYTHONPATH": str(ROOT)} | ({"HF_HUB_DISABLE_PROGRESS_BARS": disabled} if disabled else {})
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
        assert (done.stdout, done.stderr) == (f"False True {disabled == '1'}\n", "")

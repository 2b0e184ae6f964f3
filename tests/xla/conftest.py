"""Tests on an XLA device: `make test-xla`, which runs XLA's own CPU device. Skipped where torch_xla is missing."""

import importlib.util

import pytest


@pytest.fixture(scope="session", autouse=True)
def xla_before_autograd() -> None:
    """Autograd counts the devices at the first backward pass of a process: XLA's must be there by then."""
    if importlib.util.find_spec("torch_xla"):
        import torch_xla

        torch_xla.device()

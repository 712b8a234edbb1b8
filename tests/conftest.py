"""Settings of every test: hypothesis profiles, and shapes checked while testing."""

import os

import hypothesis
import pytest
import torch

hypothesis.settings.register_profile(
    "test", deadline=None, max_examples=30, derandomize=True, database=None
)
hypothesis.settings.register_profile("fuzz", deadline=None, max_examples=1000)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "test"))


torch.set_num_threads(1)  # small tensors gain nothing from more


@pytest.fixture(autouse=True)
def _no_network_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """A user's own Ray settings must not reach a test."""
    for name in [key for key in os.environ if key.startswith("RAY_")]:
        monkeypatch.delenv(name)

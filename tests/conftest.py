"""Settings of every test, and the whole run that some of them start from."""

import importlib
import json
import os

import hypothesis
import pytest
import torch

from tests.whole_runs import submit, user_folder

hypothesis.settings.register_profile(
    "test", deadline=None, max_examples=30, derandomize=True, database=None
)
hypothesis.settings.register_profile("fuzz", deadline=None, max_examples=1000)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "test"))


torch.set_num_threads(1)  # small tensors gain nothing from more

with pytest.MonkeyPatch.context() as _settings:
    # Ray decides when it is loaded whether it shows a token, and a test may load it before another
    # has one started in the same process.
    _settings.setenv("RAY_AUTH_MODE", "token")
    importlib.import_module("ray")


@pytest.fixture(autouse=True)
def _no_network_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """A user's own Ray settings must not reach a test."""
    for name in [key for key in os.environ if key.startswith("RAY_")]:
        monkeypatch.delenv(name)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A user's folder with data and a job."""
    return user_folder(tmp_path_factory.mktemp("user"))


@pytest.fixture(scope="module")
def undisturbed(folder):
    """The summary of a run in that folder to which nothing happened."""
    status, out, err = submit(folder, "undisturbed", "--json")
    assert status == 0, err
    return json.loads(out)

"""How a function becomes a task."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from models.splits import Split
from tests.oracles import images, orthogonal_classifier
from workers.attack_tasks import Shard, attack_at_eps
from workers.certification import _certify_shard, _prove
from workers.tasks import threads

PROBE = """
from workers.tasks import remote
def answer(): return 42
for gpus in (0, 1):
    asked = remote(answer, cpus=1, gpus=gpus)._default_options
    print(asked["max_calls"], asked["num_gpus"])
"""


def test_a_worker_lives_on_after_a_task_with_a_gpu_too():
    """In a process of its own: Ray reads its settings when it is loaded."""
    told = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, text=True, check=True)
    assert told.stdout.splitlines() == ["0 0", "0 1"]


def low_precision():
    return torch.backends.cuda.matmul.allow_tf32 or torch.backends.cudnn.allow_tf32


@pytest.fixture
def after_training():
    """A worker's settings as a task that trained left them."""
    threads(1, tf32=True)
    assert low_precision()
    yield
    threads(1)


def test_no_tf32_where_something_is_proved_certified_or_attacked(after_training):
    model = orthogonal_classifier()
    split = Split(images(2, (1, 4, 4)), np.zeros(2, dtype=np.int64), np.arange(2))
    bounds = _prove(model)
    assert not low_precision()
    threads(1, tf32=True)
    _certify_shard(model, bounds, split)
    assert not low_precision()
    threads(1, tf32=True)
    rows = np.arange(2)
    attack_at_eps(model, bounds, split, rows, Shard(0, rows, 0.1, "apgd-ce"), 0, "cpu")
    assert not low_precision()

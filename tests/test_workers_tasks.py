"""How a function becomes a task."""

import pytest

from workers.tasks import remote


def answer() -> int:
    """What a task would."""
    return 42


@pytest.mark.parametrize("gpus", [0, 1])
def test_a_worker_lives_on_after_a_task_with_a_gpu_too(gpus):
    asked = remote(answer, cpus=1, gpus=gpus)._default_options
    assert asked["max_calls"] == 0
    assert asked["num_gpus"] == gpus

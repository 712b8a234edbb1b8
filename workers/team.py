"""Train on several workers: a team that Ray Train puts together, and again after a death.

The state after every epoch goes to a ledger on the driver's machine.  From there the driver writes
it down, and from there a team that was put together again goes on, of fewer workers where fewer are
left.  The weights do not depend on how many they are: see `models/networks/descent.py`.
"""

import contextlib
import os
import tempfile
import threading
import time
from collections.abc import Iterator
from typing import Any

from models.errors import ClusterError
from models.splits import Dataset
from workers.lessons import Lesson, Metrics, is_over
from workers.tasks import RETRIES, given_back, result, share
from workers.team_ledger import Ledger
from workers.team_member import speak_where_ray_speaks, train_member

UNREACHABLE_SECONDS = "60"
"""A member of a team that does not answer for so long is given up; Ray Train waits ten minutes."""
LOOK_SECONDS = 1.0
PARTING_SECONDS = 60.0


def train_together(
    told: Lesson, dataset: Dataset, *, state: bytes | None, past: list[Metrics]
) -> Iterator[tuple[bytes, Metrics]]:
    """Train from a state to the end; a state and its metrics to an epoch.

    Args:
        told: the training, with how many workers.
        dataset: its training and validation parts are used.
        state: what the last epoch gave, or None before the first.
        past: metrics of the epochs that are over.

    Raises:
        CertifyError: If training diverges, or the workers come to different weights.
        ClusterError: If the team fell apart too often.
    """
    import ray

    history = list(past)
    if is_over(told, history):
        return
    ledger: Any = ray.remote(num_cpus=0)(Ledger).options(scheduling_strategy=_here())
    book = ledger.remote(state, history)
    lesson = {
        "told": told,
        "train": share(dataset.train),
        "validation": share(dataset.validation),
        "ledger": book,
    }
    with given_back(), _at_work(told, lesson) as work:
        while not is_over(told, history):
            page = book.take.remote(len(history))
            while not ray.wait([page], timeout=LOOK_SECONDS)[0]:
                work.look()
            trained, metrics = result(page)
            history.append(metrics)
            yield trained, metrics


class _Work:
    """A team at work, in a thread: Ray Train waits for it, and the driver has more to do.

    Ray Train mends a team that loses a member, but not one that could not be put together.
    """

    def __init__(self, told: Lesson, lesson: dict[str, Any], folder: str) -> None:
        self._told, self._lesson, self._folder = told, lesson, folder
        self._failures, self._fault = 0, "it ended too early"
        self._thread = self._started()

    def look(self) -> None:
        """Begin again with a team that fell apart.

        Raises:
            ClusterError: If that happened too often.
        """
        if self._thread.is_alive():
            return
        self._failures += 1
        if self._failures > RETRIES:
            raise ClusterError(f"training on several workers failed: {self._fault}")
        self._thread = self._started()

    def join(self) -> None:
        """Wait until the workers have given their places back."""
        self._thread.join(PARTING_SECONDS)

    def _started(self) -> threading.Thread:
        thread = threading.Thread(target=self._fit, daemon=True)
        thread.start()
        return thread

    def _fit(self) -> None:
        try:
            _trainer(self._told, self._lesson, self._folder).fit()
        except Exception as fault:
            said = [line.strip() for line in str(fault).splitlines() if line.strip()]
            self._fault = said[-1] if said else type(fault).__name__


@contextlib.contextmanager
def _at_work(told: Lesson, lesson: dict[str, Any]) -> Iterator[_Work]:
    """A team at work for as long as the block lasts."""
    with tempfile.TemporaryDirectory(prefix="certify-") as private:
        work = _Work(told, lesson, private)
        yield work
        work.join()


def _trainer(told: Lesson, lesson: dict[str, Any], folder: str) -> Any:
    """What puts a team together, of as many workers as there is room for."""
    os.environ.setdefault("RAY_TRAIN_WORKER_HEALTH_CHECK_TIMEOUT_S", UNREACHABLE_SECONDS)
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer

    plain = TorchConfig().backend_cls

    class Backend(plain):  # type: ignore[valid-type, misc]
        """Torch's process group, on the network card that Ray uses."""

        def on_start(self, worker_group: Any, backend_config: Any) -> None:
            """Put the group together."""
            worker_group.execute(speak_where_ray_speaks)
            super().on_start(worker_group, backend_config)

    class Config(TorchConfig):
        """Torch's process group, by the backend above."""

        @property
        def backend_cls(self) -> type:
            """What puts the group together."""
            return Backend

    gpus = {"GPU": 1} if told.device != "cpu" else {}
    return TorchTrainer(
        train_member,
        train_loop_config=lesson,
        torch_config=Config(),
        scaling_config=ScalingConfig(
            num_workers=(1, told.workers),
            use_gpu=bool(gpus),
            resources_per_worker={"CPU": told.threads, **gpus},
        ),
        run_config=RunConfig(
            name=f"team-{time.time_ns()}",
            storage_path=folder,
            failure_config=FailureConfig(max_failures=RETRIES),
        ),
    )


def _here() -> Any:
    """On the driver's machine."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    return NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)

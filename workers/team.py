"""Train on several workers: a team that Ray Train puts together, and again after a death.

The state after every epoch goes to a ledger on the driver's machine.  From there the driver writes
it down, and from there a team that was put together again goes on, of fewer workers where fewer are
left.  The weights do not depend on how many they are: see `models/networks/descent.py`.
"""

import asyncio
import contextlib
import hashlib
import os
import tempfile
import threading
import time
from collections.abc import Iterator
from typing import Any

from models.errors import CertifyError, ClusterError, first_line
from models.splits import Dataset
from workers.lessons import Lesson, Metrics, epoch_of, is_over, seen_of
from workers.tasks import RETRIES, given_back, result, share, threads

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
    with given_back(), _fitted(told, lesson) as fitting:
        while not is_over(told, history):
            page = book.take.remote(len(history))
            while not ray.wait([page], timeout=LOOK_SECONDS)[0]:
                fitting.raise_if_over()
            trained, metrics = result(page)
            history.append(metrics)
            yield trained, metrics


class Ledger:
    """What a team has come to, epoch by epoch; an actor on the driver's machine.

    Args:
        state: after the epochs that are over; None before the first.
        history: their metrics.
    """

    def __init__(self, state: bytes | None, history: list[Metrics]) -> None:
        self._state, self._history = state, history
        self._pages: dict[int, tuple[bytes, Metrics]] = {}
        self._refusal: CertifyError | None = None
        self._changed = asyncio.Condition()

    async def last(self) -> tuple[bytes | None, list[Metrics]]:
        """Where a team goes on."""
        return self._state, self._history

    async def write(self, epoch: int, state: bytes, metrics: Metrics) -> None:
        """Add an epoch, once the one before it was taken; late words of a dead team are nothing."""
        async with self._changed:
            await self._changed.wait_for(lambda: len(self._pages) < 2)
            if epoch == len(self._history):
                self._state, self._pages[epoch] = state, (state, metrics)
                self._history = [*self._history, metrics]
                self._changed.notify_all()

    async def refuse(self, refusal: CertifyError) -> None:
        """Say that training cannot go on."""
        async with self._changed:
            self._refusal = refusal
            self._changed.notify_all()

    async def take(self, epoch: int) -> tuple[bytes, Metrics]:
        """The state and the metrics of an epoch, when it is over."""
        async with self._changed:
            await self._changed.wait_for(lambda: epoch in self._pages or self._refusal)
            if epoch not in self._pages and self._refusal is not None:
                raise self._refusal
            page = self._pages.pop(epoch)
            self._changed.notify_all()
            return page


class _Fitting:
    """A team at work, in a thread: Ray Train waits for it, and the driver has more to do."""

    def __init__(self, trainer: Any) -> None:
        self._fault: Exception | None = None
        self._thread = threading.Thread(target=self._fit, args=(trainer,), daemon=True)
        self._thread.start()

    def raise_if_over(self) -> None:
        """Refuse to wait for a team that is no more."""
        if not self._thread.is_alive():
            why = "it ended too early" if self._fault is None else first_line(self._fault)
            raise ClusterError(f"training on several workers failed: {why}")

    def join(self) -> None:
        """Wait until its workers have given their places back."""
        self._thread.join(PARTING_SECONDS)

    def _fit(self, trainer: Any) -> None:
        try:
            trainer.fit()
        except Exception as fault:
            self._fault = fault


@contextlib.contextmanager
def _fitted(told: Lesson, lesson: dict[str, Any]) -> Iterator[_Fitting]:
    """A team at work for as long as the block lasts."""
    os.environ.setdefault("RAY_TRAIN_WORKER_HEALTH_CHECK_TIMEOUT_S", UNREACHABLE_SECONDS)
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    gpus = told.device != "cpu"
    with tempfile.TemporaryDirectory(prefix="certify-") as private:
        trainer = TorchTrainer(
            train_member,
            train_loop_config=lesson,
            scaling_config=ScalingConfig(
                num_workers=(1, told.workers),
                use_gpu=gpus,
                resources_per_worker={"CPU": told.threads} | ({"GPU": 1} if gpus else {}),
            ),
            run_config=RunConfig(
                name=f"team-{time.time_ns()}",
                storage_path=private,
                failure_config=FailureConfig(max_failures=RETRIES),
            ),
        )
        fitting = _Fitting(trainer)
        yield fitting
        fitting.join()


def train_member(lesson: dict[str, Any]) -> None:
    """What each member of a team does, from the last epoch of the ledger to the end."""
    import ray

    told, ledger = lesson["told"], lesson["ledger"]
    try:
        _train_member(told, ledger, lesson)
    except CertifyError as refusal:  # the same again would come of the same
        ray.get(ledger.refuse.remote(refusal))


def _train_member(told: Lesson, ledger: Any, lesson: dict[str, Any]) -> None:
    import ray
    import torch
    from ray.train import get_context
    from ray.train.torch import get_device
    from torch import distributed

    from models.networks.descent import Team

    threads(told.threads)
    context = get_context()
    rank, size = context.get_world_rank(), context.get_world_size()
    device = "cpu"
    if told.device != "cpu":
        torch.cuda.set_device(get_device())
        device = str(get_device())

    def gather(mine: torch.Tensor) -> torch.Tensor:
        everyones = [torch.empty_like(mine) for _ in range(size)]
        distributed.all_gather(everyones, mine)
        return torch.stack(everyones)

    def from_first(found: Any) -> Any:
        """What the first member has, to all."""
        holder = [found]
        distributed.broadcast_object_list(holder, src=0, device=torch.device(device))
        return holder[0]

    team = Team(rank, size, gather)
    train = ray.get(lesson["train"])
    validation = ray.get(lesson["validation"]) if rank == 0 else None
    state, history = from_first(ray.get(ledger.last.remote()) if rank == 0 else None)
    while not is_over(told, history):
        epoch = len(history)
        state, metrics = epoch_of(told, train, state, epoch, device=device, team=team)
        hashes = [""] * size
        distributed.all_gather_object(hashes, hashlib.sha256(state).hexdigest())
        refuse_differing(hashes, epoch=epoch)
        if validation is not None:
            metrics |= seen_of(told, state, validation, device=device)
            ray.get(ledger.write.remote(epoch, state, metrics))
        history = [*history, from_first(metrics)]


def refuse_differing(hashes: list[str], *, epoch: int) -> None:
    """Refuse to go on with workers that have come to different weights.

    Raises:
        CertifyError: If they have.
    """
    if len(set(hashes)) > 1:
        found = ", ".join(found[:12] for found in hashes)
        raise CertifyError(
            f"epoch {epoch}: found weights that differ between the training workers, {found}; "
            "accepted are machines of one kind, or one training worker"
        )


def _here() -> Any:
    """On the driver's machine."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    return NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)

"""A cluster that many runs share: each reserves what it asks for, and waits until it is free.

A run's tasks run inside its reservation alone, so `workers` means the same on a cluster of a
hundred machines as on a laptop, and no run starves another.
"""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from models.errors import ClusterError, first_line
from models.spec import ResourcesSpec
from workers.tasks import inside

JOINING_SECONDS = 60.0
"""Machines may still be joining; what no machine has by then is refused."""
LOOK_SECONDS = 2.0
UNITS = {"CPU": (1, "processors"), "GPU": (1, "GPUs"), "memory": (1e9, "GB of memory")}


@contextmanager
def shared_cluster(resources: ResourcesSpec, *, waits: Callable[[str], None]) -> Iterator[None]:
    """A part of the cluster that this process was started on, for as long as the block lasts.

    Args:
        resources: what the run asks for.
        waits: told again and again what is waited for.

    Raises:
        ClusterError: If the cluster cannot be reached, or no machine of it has what is asked for.
    """
    import ray

    try:
        ray.init(log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, RuntimeError, OSError, ValueError) as fault:
        raise ClusterError(f"the cluster cannot be joined: {first_line(fault)}") from None
    reservation = _Reservation(resources, waits)
    try:
        reservation.take()
        with inside(reservation):
            yield
    finally:
        reservation.give_back()
        ray.shutdown()


class _Reservation:
    """What a run has of the cluster, a bundle to a worker.

    Args:
        resources: what the run asks for.
        waits: told again and again what is waited for.
    """

    def __init__(self, resources: ResourcesSpec, waits: Callable[[str], None]) -> None:
        self._resources, self._waits = resources, waits
        self.group: Any = None

    def take(self, *, at_least: int | None = None) -> None:
        """Wait until it is there.

        Args:
            at_least: workers that will do where the cluster has lost machines; all if left out.

        Raises:
            ClusterError: If it can never be there.
        """
        fewest = self._resources.workers if at_least is None else at_least
        patience = JOINING_SECONDS
        for workers in range(self._resources.workers, fewest - 1, -1):
            asked = self._resources.model_copy(update={"workers": workers})
            try:
                self._take(asked, patience=patience)
                break
            except ClusterError:
                self.give_back()
                if workers == fewest:
                    raise
                patience = 0.0

    def give_back(self) -> None:
        """Let others have it."""
        from ray.util.placement_group import remove_placement_group

        if self.group is not None:
            remove_placement_group(self.group)
            self.group = None

    @contextmanager
    def given_back(self) -> Iterator[None]:
        """Give it back for a block, and wait for it again where that ends well."""
        self.give_back()
        yield
        self.take(at_least=1)

    def _take(self, asked: ResourcesSpec, *, patience: float) -> None:
        from ray.util.placement_group import placement_group

        self.group = placement_group([worker_share(asked)] * asked.workers, strategy="PACK")
        _wait(self.group, asked, self._waits, patience=patience)


def worker_share(resources: ResourcesSpec) -> dict[str, float]:
    """What one worker is given, in Ray's words."""
    asked = {
        "CPU": resources.cpus_per_worker or 1,
        "GPU": resources.gpus_per_worker,
        "memory": int((resources.memory_per_worker or 0) * 1e9),
    }
    return {name: amount for name, amount in asked.items() if amount}


def shortage(
    share: dict[str, float],
    workers: int,
    *,
    machines: list[dict[str, float]],
    free: dict[str, float],
) -> tuple[bool, str]:
    """What keeps a reservation from being made.

    Args:
        share: what one worker is given.
        workers: how many there are.
        machines: what each machine of the cluster has.
        free: what is free in the cluster now.

    Returns:
        Whether the cluster cannot give it even when it is idle; and what is asked and there.
    """
    missing, busy = [], []
    for name, amount in share.items():
        size, word = UNITS[name]
        asked, idle = amount * workers, free.get(name, 0)
        there = sum(machine.get(name, 0) for machine in machines)
        if asked > there:
            missing.append(f"{asked / size:.4g} {word} asked, {there / size:.4g} in the cluster")
        elif idle < asked:
            has = f"{idle / size:.4g} of {there / size:.4g} free"
            busy.append(f"{asked / size:.4g} {word} asked, {has}")
    places = sum(
        int(min(machine.get(name, 0) // amount for name, amount in share.items()))
        for machine in machines
    )
    if not missing and places < workers:
        missing.append(f"{workers} workers asked, room for {places} on the machines as they are")
    if missing:
        return True, "; ".join(missing)
    return False, "; ".join(busy) or "a reservation is being made"


def _wait(
    placed: Any, resources: ResourcesSpec, waits: Callable[[str], None], *, patience: float
) -> None:
    import ray

    end = time.monotonic() + patience
    while not placed.wait(timeout_seconds=LOOK_SECONDS):
        machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        never, reason = shortage(
            worker_share(resources),
            resources.workers,
            machines=machines,
            free=ray.available_resources(),
        )
        if never and time.monotonic() > end:
            raise ClusterError(reason)
        waits(reason)

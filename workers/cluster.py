"""The cluster that a job runs on: here, an embedded Ray on the loopback interface alone.

Ray gives whoever reaches it arbitrary code execution, so it is never started without a token: a
fresh one to a session, in a file that only its owner can read.
"""

import importlib
import logging
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil  # type: ignore[import-untyped]

from models.errors import ClusterError, JobError, first_line
from models.spec import ResourcesSpec
from workers.machine import gpus_here
from workers.ray_settings import environment, own_token, write_token
from workers.tasks import are_reserved, remote

IDLE_MS = str(3_600_000)
"""A worker that has loaded its packages waits this long: a new one needs seconds to load them."""
MOST_A_PROCESSOR = 8
"""Processes that may share a processor; beyond, they do nothing but wait for each other."""
WARM_IMPORTS = (
    "models.proof.certificate",
    "models.proof.reading.reader",
    "models.attacks.autoattack",
    "workers.certification",
)


@contextmanager
def embedded_cluster(resources: ResourcesSpec) -> Iterator[None]:
    """A Ray of this process's own, for as long as the block lasts.

    Args:
        resources: what the job asks for, and this machine has.

    Raises:
        ClusterError: If Ray does not start.
    """
    with tempfile.TemporaryDirectory(prefix="certify-") as private:
        token = write_token(Path(private) / "token", own_token())
        os.environ.update(environment(token, local=True))
        os.environ.setdefault("RAY_idle_worker_killing_time_threshold_ms", IDLE_MS)
        import ray

        try:
            ray.init(
                address="local",
                num_cpus=all_cpus(resources),
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.ERROR,
                configure_logging=True,
            )
        except Exception as fault:  # Ray raises bare ones too, as where a node starts too slowly
            ray.shutdown()
            raise ClusterError(f"Ray does not start here: {first_line(fault)}") from None
        try:
            yield
        finally:
            ray.shutdown()


def all_cpus(resources: ResourcesSpec) -> int:
    """Processors of all workers together: as asked, or a fair part of this process's to each.

    In a reserved part of a cluster each worker has one where nothing is asked.
    """
    fair = 1 if are_reserved() else max(1, usable_cpus() // resources.workers)
    return (resources.cpus_per_worker or fair) * resources.workers


def task_cpus(resources: ResourcesSpec) -> int:
    """Most processors of one task: all of them, or one worker's where those may lie apart."""
    return all_cpus(resources) // (resources.workers if are_reserved() else 1)


def usable_cpus() -> int:
    """Processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def warm_up(resources: ResourcesSpec) -> None:
    """Let one process to a processor load what the first stages need, without waiting for it."""
    loading = remote(_load)
    for _ in range(all_cpus(resources)):
        loading.remote()


def _load() -> None:
    for module in WARM_IMPORTS:
        importlib.import_module(module)


def refuse_resources(resources: ResourcesSpec) -> None:
    """Refuse what this machine does not have, before Ray is started and waits for it.

    Raises:
        JobError: With what is asked for and what is there.
    """
    accepted, memory = MOST_A_PROCESSOR * usable_cpus(), psutil.virtual_memory().total / 1e9
    processes = all_cpus(resources)
    if processes > accepted:
        raise JobError(
            f"resources: found {resources.workers} workers with {processes} processors; accepted "
            f"on this machine, which has {usable_cpus()}, are at most {accepted}"
        )
    asked = (resources.memory_per_worker or 0) * resources.workers
    if asked > memory:
        raise JobError(
            f"resources: found {asked:g} GB of memory for all workers; this machine has "
            f"{memory:.3g}"
        )
    gpus = resources.gpus_per_worker * resources.workers
    there = gpus_here() if gpus else 0
    if gpus > there:
        raise JobError(f"resources: GPUs asked for are {gpus}; this machine has {there}")

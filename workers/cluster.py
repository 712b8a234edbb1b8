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

from models.errors import ClusterError, first_line
from models.spec import ResourcesSpec
from workers.ray_settings import environment, own_token, write_token
from workers.tasks import are_reserved, remote

IDLE_MS = str(3_600_000)
"""A worker that has loaded its packages waits this long: a new one needs seconds to load them."""
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
        resources: what the job asks for; refused where this machine does not have it.

    Raises:
        ClusterError: If Ray does not start, or GPUs are asked for that are not there.
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
            _check(resources)
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


def _check(resources: ResourcesSpec) -> None:
    import ray

    found = ray.cluster_resources()
    asked, gpus = resources.gpus_per_worker * resources.workers, int(found.get("GPU", 0))
    if asked > gpus:
        raise ClusterError(f"{asked} GPUs are asked for; the cluster has {gpus}")
    memory = (resources.memory_per_worker or 0) * resources.workers
    there = found.get("memory", 0) / 1e9
    if memory > there:
        raise ClusterError(f"{memory:g} GB of memory are asked for; the cluster has {there:.3g}")

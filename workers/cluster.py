"""The cluster that a job runs on: here, an embedded Ray on the loopback interface alone.

Ray gives whoever reaches it arbitrary code execution, so it is never started without a token: a
fresh one to a session, in a file that only its owner can read.
"""

import importlib
import logging
import os
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from models.errors import ClusterError
from models.spec import ResourcesSpec

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
        _require_token(Path(private))
        _stay_on_loopback()
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
        except (ConnectionError, RuntimeError, OSError, ValueError) as fault:
            raise ClusterError(f"Ray does not start here: {_first_line(fault)}") from None
        try:
            _check_gpus(resources)
            yield
        finally:
            ray.shutdown()


def all_cpus(resources: ResourcesSpec) -> int:
    """Processors of all workers together: as asked, or a fair part of this process's to each."""
    each = resources.cpus_per_worker or max(1, usable_cpus() // resources.workers)
    return each * resources.workers


def usable_cpus() -> int:
    """Processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def warm_up(resources: ResourcesSpec) -> None:
    """Let one process to a processor load what the first stages need, without waiting for it."""
    import ray

    loading = ray.remote(num_cpus=1)(_load)
    for _ in range(all_cpus(resources)):
        loading.remote()


def _load() -> None:
    for module in WARM_IMPORTS:
        importlib.import_module(module)


def _require_token(private: Path) -> None:
    """Turn token authentication on, with a token that nobody else can read."""
    token = private / "token"
    handle = os.open(token, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w") as file:
        file.write(secrets.token_hex(32))
    os.environ["RAY_AUTH_MODE"] = "token"
    os.environ["RAY_AUTH_TOKEN_PATH"] = str(token)
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_idle_worker_killing_time_threshold_ms", IDLE_MS)


def _stay_on_loopback() -> None:
    """Have every server of Ray listen on the loopback interface alone.

    Ray replaces a loopback address that it is given by one that others can reach, except where it
    does not support clusters: this is the switch for that.
    """
    os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"


def _check_gpus(resources: ResourcesSpec) -> None:
    import ray

    asked = resources.gpus_per_worker * resources.workers
    found = int(ray.cluster_resources().get("GPU", 0))
    if asked > found:
        raise ClusterError(f"{asked} GPUs are asked for; the cluster has {found}")


def _first_line(fault: BaseException) -> str:
    return (str(fault).strip() or type(fault).__name__).splitlines()[0]

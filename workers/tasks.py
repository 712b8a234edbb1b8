"""Ray tasks as pure functions: run them in any order, on any worker, again after a crash.

A task's answer depends on its arguments alone, so a worker that dies costs time and changes no
digit of the result.  Tasks that nobody waits for any more end with the cluster, or with the part of
it that was reserved: cancelling one that is about to answer can end the whole process, in Ray.
"""

import contextlib
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any

from models.errors import CertifyError, ClusterError, first_line
from models.spec import ResourcesSpec

RETRIES = 3
"""How often a task starts again after its worker died."""
_reserved: ContextVar[Any] = ContextVar("reserved", default=None)


@contextlib.contextmanager
def inside(placement_group: Any) -> Iterator[None]:
    """Run all tasks in a reserved part of a cluster, for as long as the block lasts."""
    before = _reserved.set(placement_group)
    try:
        yield
    finally:
        _reserved.reset(before)


def are_reserved() -> bool:
    """Whether tasks run in a reserved part of a cluster."""
    return _reserved.get() is not None


def remote(function: Callable[..., Any], *, cpus: int = 1, gpus: float = 0) -> Any:
    """A function as a Ray task with that many processors and GPUs."""
    import ray
    from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

    where: Any = "DEFAULT"
    if are_reserved():
        where = PlacementGroupSchedulingStrategy(_reserved.get())
    return ray.remote(num_cpus=cpus, num_gpus=gpus, max_retries=RETRIES, scheduling_strategy=where)(
        function
    )


def share(value: Any) -> Any:
    """Put a value where all workers can read it."""
    import ray

    return ray.put(value)


def result(reference: Any) -> Any:
    """A task's answer.

    Raises:
        CertifyError: What the task raised, or that its workers died too often.
    """
    import ray
    from ray.exceptions import RayError, RayTaskError

    try:
        return ray.get(reference)
    except RayTaskError as fault:
        if isinstance(fault.cause, CertifyError):
            raise fault.cause from None
        raise
    except RayError as fault:
        died = f"a task died {RETRIES + 1} times"
        raise ClusterError(f"{died}: {first_line(fault)}") from None


def places(*, gpus: bool) -> int:
    """How many tasks of a processor, or of a GPU, run side by side; 1 or more."""
    import ray

    kind = "GPU" if gpus else "CPU"
    if are_reserved():
        found = sum(share.get(kind, 0) for share in _reserved.get().bundle_specs)
    else:
        found = ray.cluster_resources().get(kind, 0)
    return max(1, int(found))


def threads(count: int) -> None:
    """Let torch compute on so many processors; sums depend on it in the last bit."""
    import torch

    torch.set_num_threads(count)


def device(resources: ResourcesSpec) -> str:
    """Where a task computes, as torch names it."""
    return "cuda" if resources.gpus_per_worker else "cpu"

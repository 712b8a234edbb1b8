"""Ray tasks as pure functions: run them in any order, on any worker, again after a crash.

A task's answer depends on its arguments alone, so a worker that dies costs time and changes no
digit of the result.  Tasks that nobody waits for any more end with the cluster, or with the part of
it that was reserved: cancelling one that is about to answer can end the whole process, in Ray.
"""

import contextlib
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any, Protocol

from models.errors import CertifyError, ClusterError, first_line
from models.spec import ResourcesSpec

RETRIES = 3
"""How often a task starts again after its worker died."""


class Reservation(Protocol):
    """A reserved part of a cluster."""

    @property
    def group(self) -> Any:
        """Ray's placement group."""

    def given_back(self) -> contextlib.AbstractContextManager[None]:
        """Not reserved for as long as a block lasts, and then waited for again."""


_reserved: ContextVar[Reservation | None] = ContextVar("reserved", default=None)


@contextlib.contextmanager
def inside(reservation: Reservation) -> Iterator[None]:
    """Run all tasks in a reserved part of a cluster, for as long as the block lasts."""
    before = _reserved.set(reservation)
    try:
        yield
    finally:
        _reserved.reset(before)


def are_reserved() -> bool:
    """Whether tasks run in a reserved part of a cluster."""
    return _reserved.get() is not None


def given_back() -> contextlib.AbstractContextManager[None]:
    """Leave what is reserved, if anything is, to what reserves by itself."""
    reservation = _reserved.get()
    return contextlib.nullcontext() if reservation is None else reservation.given_back()


def reserved_part() -> Any:
    """Where tasks are to run, in Ray's words; None without a reservation."""
    from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

    reservation = _reserved.get()
    return None if reservation is None else PlacementGroupSchedulingStrategy(reservation.group)


def remote(function: Callable[..., Any], *, cpus: int = 1, gpus: float = 0) -> Any:
    """A function as a Ray task with that many processors and GPUs.

    A worker with a GPU takes one task after the other, as all workers do: Ray's default is to end
    it after each, which costs seconds for torch and the GPU's context to load again.
    """
    import ray

    return ray.remote(
        num_cpus=cpus,
        num_gpus=gpus,
        max_calls=0,
        max_retries=RETRIES,
        scheduling_strategy=reserved_part() or "DEFAULT",
    )(function)


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

    kind, reservation = "GPU" if gpus else "CPU", _reserved.get()
    if reservation is None:
        found = ray.cluster_resources().get(kind, 0)
    else:
        found = sum(bundle.get(kind, 0) for bundle in reservation.group.bundle_specs)
    return max(1, int(found))


def threads(count: int, *, tf32: bool = False) -> None:
    """Let torch compute on so many processors; sums depend on it in the last bit.

    Args:
        count: of processors.
        tf32: whether a GPU's convolutions may round their operands to TF32, which is torch's own
            default.  What is proved, attacked or compared is float32 or better: a worker's setting
            outlives its tasks, so each says what it needs.
    """
    import torch

    torch.set_num_threads(count)
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = tf32


def device(resources: ResourcesSpec) -> str:
    """Where a task computes, as torch names it."""
    return "cuda" if resources.gpus_per_worker else "cpu"

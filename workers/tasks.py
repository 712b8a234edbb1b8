"""Ray tasks as pure functions: run them in any order, on any worker, again after a crash.

A task's answer depends on its arguments alone, so a worker that dies costs time and changes no
digit of the result.  Tasks that nobody waits for any more end with the cluster, or with the part of
it that was reserved: cancelling one that is about to answer can end the whole process, in Ray.
"""

import contextlib
import functools
from collections.abc import Callable, Generator, Iterable, Iterator
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


def as_completed(references: Iterable[Any]) -> Iterator[tuple[int, Any]]:
    """Answers as they come, each with the place of its task."""
    import ray

    places = {reference: place for place, reference in enumerate(references)}
    waiting = list(places)
    while waiting:
        (done, *_), waiting = ray.wait(waiting, num_returns=1)
        yield places[done], result(done)


def run_chains(
    chains: Iterable[Generator[Any, Any, None]], *, at_once: int | None = None
) -> Iterator[tuple[Any, Any]]:
    """Run chains of tasks side by side, each to its end.

    Args:
        chains: each yields a task with a label, and is sent the answer before it yields the next.
            What a task raises is raised in its chain, which may go on from there or end.
        at_once: most chains side by side; all of them if left out.  A chain begins, and is taken
            from `chains`, once there is room for it.

    Yields:
        Labels with their answers, as they come.

    Raises:
        CertifyError: What a chain lets through.
    """
    import ray

    left = iter(chains)
    waiting: dict[Any, tuple[Any, Generator[Any, Any, None]]] = {}

    def advance(chain: Generator[Any, Any, None], move: Callable[[], tuple[Any, Any]]) -> None:
        with contextlib.suppress(StopIteration):
            label, task = move()
            waiting[task] = label, chain

    def fill() -> None:
        while at_once is None or len(waiting) < at_once:
            chain = next(left, None)
            if chain is None:
                return
            advance(chain, functools.partial(chain.send, None))

    fill()
    while waiting:
        (done, *_), _ = ray.wait(list(waiting), num_returns=1)
        label, chain = waiting.pop(done)
        try:
            answer = result(done)
        except CertifyError as fault:
            advance(chain, functools.partial(chain.throw, fault))
        else:
            yield label, answer
            advance(chain, functools.partial(chain.send, answer))
        fill()


def threads(count: int) -> None:
    """Let torch compute on so many processors; sums depend on it in the last bit."""
    import torch

    torch.set_num_threads(count)


def device(resources: ResourcesSpec) -> str:
    """Where a task computes, as torch names it."""
    return "cuda" if resources.gpus_per_worker else "cpu"

"""Shards on their way: few at a time, each with a deadline after which a copy of it is sent.

A shard's answer depends on its arguments alone, so whichever copy answers first is the answer, and
the others are not looked at.  A copy is an insurance against a worker or a connection that hangs
without a word; what dies audibly Ray starts again by itself.  A slow shard costs next to nothing:
copies use places that are idle, or one place where none is, and the time until the next doubles.
"""

import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from models.errors import CertifyError, ClusterError
from workers.tasks import places, result

DEADLINE_SECONDS = 90.0
"""A shard that has not answered within this is sent again, where shards are quick."""
TIMES_THE_MEAN = 10.0
"""Where they are not, it is given this many times the mean of those that answered."""
LOOK_SECONDS = 1.0
AHEAD = 2
"""Shards on their way to a place: one that runs, and one that waits to."""

Call = Callable[[], Any]
"""Sends a task, and gives the reference of its answer; may be called again for a copy."""
Chain = Generator[tuple[Any, Call], Any, None]


def as_completed(calls: Iterable[Call], *, gpus: bool = False) -> Iterator[tuple[int, Any]]:
    """Answers as they come, each with the place of its call."""

    def chain(place: int, call: Call) -> Chain:
        yield place, call

    yield from run_chains((chain(*each) for each in enumerate(calls)), gpus=gpus)


def run_chains(
    chains: Iterable[Chain],
    *,
    gpus: bool = False,
    at_once: int | None = None,
    deadline: float = DEADLINE_SECONDS,
) -> Iterator[tuple[Any, Any]]:
    """Run chains of shards side by side, each to its end.

    Args:
        chains: each yields a label and a call, and is sent the answer before it yields the next;
            a chain begins when there is room for it.  What a shard raises is raised in its chain,
            which may go on from there or end.
        gpus: whether each shard takes a GPU.
        at_once: most chains side by side; two to a place if left out.
        deadline: seconds after which a shard is sent again; infinite for what takes long by nature.

    Yields:
        Labels with their answers, as they come.

    Raises:
        CertifyError: What a chain lets through.
    """
    found = places(gpus=gpus)
    flight = _Flight(found, room=at_once or AHEAD * found, deadline=deadline)
    waiting = iter(chains)

    def advance(chain: Chain, move: Callable[[], tuple[Any, Call]]) -> None:
        """Send the next shard of a chain, unless it has ended."""
        with suppress(StopIteration):
            label, call = move()
            flight.send((label, chain), call)

    while True:
        while flight.has_room and (chain := next(waiting, None)) is not None:
            advance(chain, partial(chain.send, None))
        if not flight.shards:
            return
        (label, chain), answer, fault = flight.land()
        if fault is None:
            yield label, answer
            advance(chain, partial(chain.send, answer))
        else:
            advance(chain, partial(chain.throw, fault))


@dataclass(eq=False)  # one is itself and no other, whatever its label holds
class _Shard:
    """A shard that has not answered.

    Attributes:
        label: whose it is.
        call: sends it.
        due: when a copy is sent, by the monotonic clock.
        sent: when each copy that may still answer was sent.
        copies: how many were sent.
    """

    label: Any
    call: Call
    due: float
    sent: dict[Any, float] = field(default_factory=dict)
    copies: int = 0

    def send(self) -> None:
        self.sent[self.call()] = time.monotonic()
        self.copies += 1


class _Flight:
    """All shards that have not answered."""

    def __init__(self, places: int, *, room: int, deadline: float) -> None:
        self.shards: list[_Shard] = []
        self._places, self._room, self._deadline = places, room, deadline
        self._answers, self._seconds = 0, 0.0

    @property
    def has_room(self) -> bool:
        return len(self.shards) < self._room

    def send(self, label: Any, call: Call) -> None:
        """Let a shard set out."""
        shard = _Shard(label, call, time.monotonic() + self._limit())
        shard.send()
        self.shards.append(shard)

    def land(self) -> tuple[Any, Any, CertifyError | None]:
        """Wait for a shard; its label, and its answer or what it raised."""
        import ray

        while True:
            owners = {reference: shard for shard in self.shards for reference in shard.sent}
            done, _ = ray.wait(list(owners), num_returns=1, timeout=LOOK_SECONDS)
            for reference in done:
                shard = owners[reference]
                sent = shard.sent.pop(reference)
                answer, fault = None, None
                try:
                    answer = result(reference)
                except CertifyError as raised:
                    if isinstance(raised, ClusterError) and shard.sent:  # a copy may answer yet
                        continue
                    fault = raised
                self.shards.remove(shard)
                self._answers += 1
                self._seconds += time.monotonic() - sent
                return shard.label, answer, fault
            self._copy_what_is_overdue()

    def _limit(self) -> float:
        """Seconds that a shard is given."""
        mean = self._seconds / max(1, self._answers)
        return max(self._deadline, TIMES_THE_MEAN * mean)

    def _copy_what_is_overdue(self) -> None:
        now, copied = time.monotonic(), sum(len(shard.sent) > 1 for shard in self.shards)
        idle = max(1, self._places - len(self.shards)) - copied
        overdue = sorted(
            (shard for shard in self.shards if shard.due < now), key=lambda shard: shard.due
        )
        for shard in overdue[: max(0, idle)]:
            shard.send()
            shard.due = now + self._limit() * 2**shard.copies

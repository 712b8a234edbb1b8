"""What a team has come to, epoch by epoch: the one place that outlives its members.

It is an actor on the driver's machine.  Members meet in it through Ray alone, which asks for the
token; what they send each other directly are numbers and nothing that is unpickled.
"""

import asyncio
import hashlib

from models.errors import CertifyError
from workers.lessons import Metrics

UNTAKEN = 2
"""Epochs that a team may be ahead of the driver, who writes them down."""


class Ledger:
    """The states and the metrics of a training run.

    Args:
        state: after the epochs that are over; None before the first.
        history: their metrics.
    """

    def __init__(self, state: bytes | None, history: list[Metrics]) -> None:
        self._state, self._history, self._sha256 = state, history, ""
        self._begun: dict[str, tuple[bytes | None, list[Metrics]]] = {}
        self._pages: dict[int, tuple[bytes, Metrics]] = {}
        self._refusal: CertifyError | None = None
        self._changed = asyncio.Condition()

    async def begin(self, team: str) -> tuple[bytes | None, list[Metrics]]:
        """Where a team goes on, the same for all its members: state and metrics so far.

        Args:
            team: its name, another one each time it is put together.
        """
        if team not in self._begun:
            self._begun = {team: (self._state, self._history)}
        return self._begun[team]

    async def write(self, epoch: int, state: bytes, metrics: Metrics) -> None:
        """Add an epoch; late words of a team that is no more change nothing."""
        async with self._changed:
            await self._changed.wait_for(lambda: len(self._pages) < UNTAKEN)
            if epoch == len(self._history):
                self._state, self._pages[epoch] = state, (state, metrics)
                self._sha256 = hashlib.sha256(state).hexdigest()
                self._history = [*self._history, metrics]
                self._changed.notify_all()

    async def follow(self, epoch: int, sha256: str) -> Metrics:
        """The metrics of an epoch, to a member that has come to a state of this hash.

        Raises:
            CertifyError: If the epoch ended with another state.
        """
        async with self._changed:
            await self._changed.wait_for(lambda: epoch < len(self._history))
            if epoch == len(self._history) - 1:
                refuse_differing(self._sha256, sha256, epoch=epoch)
            return self._history[epoch]

    async def refuse(self, refusal: CertifyError) -> None:
        """Say that training cannot go on."""
        async with self._changed:
            self._refusal = refusal
            self._changed.notify_all()

    async def take(self, epoch: int) -> tuple[bytes, Metrics]:
        """The state and the metrics of an epoch, when it is over.

        Raises:
            CertifyError: If training cannot go on to it.
        """
        async with self._changed:
            await self._changed.wait_for(lambda: epoch in self._pages or self._refusal)
            if epoch not in self._pages and self._refusal is not None:
                raise self._refusal
            page = self._pages.pop(epoch)
            self._changed.notify_all()
            return page


def refuse_differing(first: str, other: str, *, epoch: int) -> None:
    """Refuse to go on with workers that have come to different weights.

    Args:
        first: hash of the state that the first worker came to.
        other: hash of another worker's.
        epoch: after which.

    Raises:
        CertifyError: If they differ.
    """
    if first != other:
        raise CertifyError(
            f"epoch {epoch}: found weights that differ between training workers, {first[:12]} and "
            f"{other[:12]}; accepted are machines of one kind, or one training worker"
        )

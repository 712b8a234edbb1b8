"""What may stop a run before its end: Ctrl-C, SIGTERM, a time limit, a file in the run's folder.

Python raises KeyboardInterrupt in whatever code happens to run, and a library that waits in
compiled code may drop it.  So the wish is remembered, and obeyed again at the next step of a stage.
The file is how `certify stop` reaches a run on any machine that shares its folder; it is looked
for between two steps, so that the step at hand is finished and kept.
"""

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

from models.errors import IncompleteRunError

_wishes: list[str] = []
_requests: list[Callable[[], bool]] = []


def listen() -> None:
    """Take both signals; again after a library has taken one for itself."""
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, _interrupt)


@contextmanager
def stoppable(then: str) -> Iterator[None]:
    """Take signals for as long as the block lasts, and say in a line what stopped it.

    Args:
        then: how what was stopped goes on.

    Raises:
        IncompleteRunError: If the block was stopped.
    """
    listen()
    try:
        yield
    except KeyboardInterrupt as stopped:
        raise IncompleteRunError(f"{reason(stopped)}; {then}") from None


@contextmanager
def limited(seconds: float | None) -> Iterator[None]:
    """Stop the block when so many seconds have passed; None sets no limit."""
    if seconds is not None:
        signal.signal(signal.SIGALRM, _interrupt)
        signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def heed(request: Callable[[], bool], *, every: float = 0.0) -> None:
    """Stop between two steps once it is asked for.

    Args:
        request: whether it is.
        every: seconds between two looks, at least.
    """
    looked = float("-inf")

    def asked() -> bool:
        nonlocal looked
        if time.monotonic() - looked < every:
            return False
        looked = time.monotonic()
        return request()

    _requests.append(asked)


def obey() -> None:
    """Stop here if that was asked.

    Raises:
        KeyboardInterrupt: If it was, with the reason.
    """
    if any(request() for request in _requests):
        raise KeyboardInterrupt("stopped on request")
    if _wishes:
        raise KeyboardInterrupt(_wishes[0])


def reason(stopped: KeyboardInterrupt) -> str:
    """Why a block was stopped, also where a library raised the interrupt again without words."""
    return str(stopped) or (_wishes[0] if _wishes else "interrupted")


def _interrupt(number: int, _frame: FrameType | None) -> NoReturn:
    over = number == signal.SIGALRM
    _wishes.append("the time limit is reached" if over else "interrupted")
    raise KeyboardInterrupt(_wishes[0])

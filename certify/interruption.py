"""Ctrl-C and SIGTERM stop a run, even where a library swallows the exception that they raise.

Python raises KeyboardInterrupt in whatever code happens to run, and a library that waits in
compiled code may drop it.  So the wish is remembered, and obeyed again at the next step of a stage.
"""

import signal
from threading import Event
from types import FrameType
from typing import NoReturn

_asked = Event()


def listen() -> None:
    """Take both signals; again after a library has taken one for itself."""
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, _interrupt)


def obey() -> None:
    """Stop here if that was asked.

    Raises:
        KeyboardInterrupt: If it was.
    """
    if _asked.is_set():
        raise KeyboardInterrupt


def _interrupt(_signal: int, _frame: FrameType | None) -> NoReturn:
    _asked.set()
    raise KeyboardInterrupt

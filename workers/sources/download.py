"""A file from the network, checked before anything else sees it, and kept for the next time."""

import os
import sys
import tempfile
import time
import urllib.request
import zlib
from collections.abc import Callable
from http.client import HTTPException
from io import BytesIO
from pathlib import Path

from models.errors import DataError
from workers.sources.idx import inflated
from workers.sources.source import unreadable

SILENCE = 20.0  # seconds without a byte, after which a server counts as gone
DEADLINE = 600.0  # seconds for a whole file
CHUNK = 2**16


def cache_folder() -> Path:
    """Where this system keeps what can be downloaded again."""
    if sys.platform == "win32":
        home = os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local"
    elif sys.platform == "darwin":
        home = Path.home() / "Library" / "Caches"
    else:
        home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "certify"


def download(url: str, path: Path, *, most: int, check: Callable[[bytes], None]) -> bytes:
    """Fetch a gzip file, inflate and check it, then put the content at `path` in one step.

    Args:
        url: an http or https address.
        path: where the inflated content goes; its folder is made.  Where it cannot be written,
            the content is still given: a cache is a convenience.
        most: bytes that the content may have; more is refused unread.
        check: raises DataError for content that is not what was asked for.

    Returns:
        The inflated content.

    Raises:
        DataError: If the server cannot be reached, is too slow, or sends anything else.
    """
    try:
        content = inflated(BytesIO(_fetched(url, most=most)), most=most + 1)
    except (OSError, EOFError, zlib.error, HTTPException) as fault:
        raise unreadable(url, fault) from None
    if len(content) > most:
        raise DataError(f"{url}: found content of more than {most} bytes; accepted are fewer")
    check(content)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _write_at_once(path, content)
    except OSError:
        return content
    return content


def _fetched(url: str, *, most: int) -> bytes:
    """What the server sends; a packed file is never much larger than its content."""
    started = time.monotonic()
    received = bytearray()
    with urllib.request.urlopen(url, timeout=SILENCE) as answer:  # noqa: S310  (our own address)
        while chunk := answer.read1(CHUNK):
            received += chunk
            if len(received) > most + CHUNK:
                raise DataError(f"{url}: found more than {most + CHUNK} bytes; accepted are fewer")
            if time.monotonic() - started > DEADLINE:
                raise DataError(f"{url}: not all there after {DEADLINE:.0f} s")
    return bytes(received)


def _write_at_once(path: Path, content: bytes) -> None:
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise

"""A lock in an object store: a lease that its holder renews, and that lapses where nobody does.

The store takes a write only if the object is what the writer last saw, so of two who want the lease
one gets it.  It lasts as long as its holder is patient with the store.  Its age is the server's own
time less the server's own time of the last renewal: no clock of ours is trusted.  A holder that
could not renew in time writes nothing more.
"""

import json
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any

from models.errors import ClusterError, JobError
from workers.storage.s3_requests import Requests, TakenError, patience

RENEWALS = 4
"""How often a lease is renewed before it would lapse."""


class Lease:
    """The lock of one place; one object of the store, never deleted while somebody may look."""

    def __init__(self, send: Requests, *, bucket: str, key: str, name: str) -> None:
        self._send, self._where, self._name = send, {"Bucket": bucket, "Key": key}, name
        self._mine: str | None = None
        self._tag, self._renewed = "", 0.0
        self._writing = threading.Lock()

    def held(self) -> bool:
        """Whether anybody holds it."""
        found = self._look()
        return found is not None and not found["free"]

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Hold it for as long as the block lasts.

        Raises:
            JobError: If another process does.
            ClusterError: If the store takes no conditional writes, or cannot be reached.
        """
        self._take()
        over = threading.Event()
        renewing = threading.Thread(target=self._renew_until, args=(over,), daemon=True)
        renewing.start()
        try:
            yield
        finally:
            over.set()
            renewing.join()
            with suppress(ClusterError, TakenError, FileNotFoundError):
                if self._mine is not None:
                    self._write(free=True, IfMatch=self._tag)
            self._mine = None

    def check(self) -> None:
        """Make sure that a holder holds it still; whoever never took it may pass.

        Raises:
            ClusterError: If it lapsed meanwhile, and somebody else may have taken it.
        """
        if self._mine is None:
            return
        if time.monotonic() - self._renewed > patience() * (RENEWALS - 1) / RENEWALS:
            self._renew()

    def _take(self) -> None:
        mine = secrets.token_hex(8)
        try:
            found = self._look()
            if found is not None and not found["free"]:
                raise TakenError
            self._mine = mine
            if found is None:
                self._write(free=False, IfNoneMatch="*")
            else:
                self._write(free=False, IfMatch=found["tag"])
            with suppress(TakenError):
                self._send("put_object", **self._where, Body=b"", IfNoneMatch="*")
                raise ClusterError(
                    f"{self._name}: the server ignores conditions on a write, so that two could "
                    "work on one run; accepted is one that knows If-None-Match and If-Match"
                )
        except TakenError:
            self._mine = None
            raise JobError(f"run {self._name} is being worked on by another process") from None
        except BaseException:
            self._mine = None
            raise

    def _renew_until(self, over: threading.Event) -> None:
        while not over.wait(patience() / RENEWALS):
            with suppress(ClusterError, InterruptedError):
                self._renew()

    def _renew(self) -> None:
        with self._writing:
            if self._mine is None:
                raise InterruptedError
            try:
                self._write(free=False, IfMatch=self._tag)
            except (TakenError, FileNotFoundError):
                self._renewed = float("-inf")
                raise ClusterError(f"{self._name}: another process has taken it over") from None

    def _write(self, *, free: bool, **condition: str) -> None:
        asked = time.monotonic()
        told = {"holder": self._mine, "free": free, "seconds": patience()}
        body = json.dumps(told).encode()
        try:
            answer = self._send("put_object", **self._where, Body=body, **condition)
        except TakenError:
            answer = self._send("get_object", **self._where)
            if answer["Body"] != body or answer["ETag"] == self._tag:
                raise
        self._tag, self._renewed = answer["ETag"], asked

    def _look(self) -> dict[str, Any] | None:
        """Its tag and whether it is free; None where it was never taken."""
        try:
            answer = self._send("get_object", **self._where)
        except FileNotFoundError:
            return None
        try:
            found = json.loads(answer["Body"])
            free, lasts = bool(found["free"]), float(found["seconds"])
        except (ValueError, LookupError, TypeError):
            free, lasts = False, patience()
        now = parsedate_to_datetime(answer["ResponseMetadata"]["HTTPHeaders"]["date"])
        renewed: datetime = answer["LastModified"]
        lapsed = (now - renewed).total_seconds() > lasts
        return {"tag": answer["ETag"], "free": free or lapsed}

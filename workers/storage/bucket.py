"""Objects below a prefix of an S3 bucket, by names relative to it.

An object appears whole or not at all, as the store promises of every write.  There is no appending
and no renaming: a line is added by writing all lines again, on the condition that nobody else did
meanwhile, and a run is deleted from its record on, so that what is left of it is no run.
"""

import io
import re
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any, BinaryIO, ClassVar

from models.errors import ClusterError, InvalidInputError
from workers.storage.lease import Lease
from workers.storage.s3_requests import Requests, TakenError

URL = re.compile(r"s3:/+([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(?:/+(.*))?")
LOCK = ".lock"
READ_BYTES = 2**22
"""Asked for at a time by whoever reads a large object piece by piece."""
PAGE = 1000
"""Names that are listed by one request: no server gives more."""
APPENDING = 20
"""How often a line is tried to be added while others add theirs."""


class Bucket:
    """A bucket, or a part of it whose names share a prefix."""

    poll_seconds: ClassVar[float] = 2.0
    """At least, between two looks at an object that somebody else may change: each is paid for."""

    def __init__(self, url: str) -> None:
        found = URL.fullmatch(url)
        if found is None:
            raise InvalidInputError(
                f"{url.rpartition('@')[2]}: accepted is a folder, or s3://BUCKET/PATH with a "
                "bucket's name of lower-case letters, digits, dots and dashes, and no credentials"
            )
        self._bucket, self._prefix = found[1], (found[2] or "").strip("/")
        self._send = Requests(str(self))
        self._lease = Lease(
            self._send, bucket=self._bucket, key=self._key(LOCK), name=str(self).rsplit("/", 1)[-1]
        )

    def __reduce__(self) -> tuple[type["Bucket"], tuple[str]]:
        """Whatever reads it elsewhere makes its own connections, and holds no lock."""
        return Bucket, (str(self),)

    def __str__(self) -> str:
        return "/".join(filter(None, (f"s3://{self._bucket}", self._prefix)))

    def below(self, name: str) -> "Bucket":
        """The part whose names share a longer prefix."""
        return Bucket(f"{self}/{name}")

    def folders(self) -> list[str]:
        """First parts of all names, in order."""
        pages = self._pages(Prefix=self._under, Delimiter="/")
        prefixes = [each["Prefix"] for page in pages for each in page.get("CommonPrefixes", ())]
        return sorted(prefix.rstrip("/").rpartition("/")[2] for prefix in prefixes)

    def names(self) -> Iterator[tuple[str, int]]:
        """Names and bytes of all objects, less those with a part that begins with a dot.

        The object that the URL itself names has the name "".

        Raises:
            ClusterError: If the store cannot be reached or refuses.
        """
        if self._prefix and self.has(""):
            told = self._send("head_object", Bucket=self._bucket, Key=self._prefix)
            yield "", told["ContentLength"]
            return
        for page in self._pages(Prefix=self._under):
            for each in page.get("Contents", ()):
                name = each["Key"].removeprefix(self._under)
                parts = name.split("/")
                if all(parts) and not any(part.startswith(".") for part in parts):
                    yield name, each["Size"]

    def has(self, name: str) -> bool:
        """Whether an object is there, and so whole."""
        try:
            self._send("head_object", Bucket=self._bucket, Key=self._key(name))
        except FileNotFoundError:
            return False
        return True

    def open(self, name: str) -> BinaryIO:
        """An object, to be read from any place of it, some MiB at a time."""
        told = self._send("head_object", Bucket=self._bucket, Key=self._key(name))
        raw = _Ranges(self, name, told["ContentLength"], told["ETag"])
        return io.BufferedReader(raw, READ_BYTES)

    def read(self, name: str, *, start: int = 0) -> bytes:
        """An object's bytes from a place on."""
        answer = self._send("get_object", Bucket=self._bucket, Key=self._key(name))
        return bytes(answer["Body"])[start:]

    def read_range(self, name: str, *, start: int, count: int, tag: str) -> bytes:
        """Some bytes of an object that has not changed since it had that tag."""
        where = {"Bucket": self._bucket, "Key": self._key(name)}
        span = f"bytes={start}-{start + count - 1}"
        try:
            return bytes(self._send("get_object", **where, Range=span, IfMatch=tag)["Body"])
        except TakenError:
            raise ClusterError(f"{self}/{name}: it has changed while it was read") from None

    def create(self) -> None:
        """Make sure that the bucket is there and can be listed.

        Raises:
            ClusterError: If it is not, or cannot.
        """
        self._send("list_objects_v2", Bucket=self._bucket, Prefix=self._under, MaxKeys=1)

    def write(self, name: str, data: bytes) -> None:
        """Write an object, whole or not at all.

        Raises:
            ClusterError: If the store refuses, or this process has lost its hold.
        """
        self._lease.check()
        self._send("put_object", Bucket=self._bucket, Key=self._key(name), Body=data)

    def append(self, name: str, line: bytes) -> None:
        """Add a line to an object.

        Raises:
            ClusterError: If the store refuses, or others never stop adding theirs.
        """
        self._lease.check()
        where = {"Bucket": self._bucket, "Key": self._key(name)}
        for _ in range(APPENDING):
            try:
                answer = self._send("get_object", **where)
                before, condition = bytes(answer["Body"]), {"IfMatch": answer["ETag"]}
                if before.endswith(line):  # it was added, and the answer got lost
                    return
            except FileNotFoundError:
                before, condition = b"", {"IfNoneMatch": "*"}
            try:
                self._send("put_object", **where, Body=before + line, **condition)
            except TakenError:
                continue
            return
        raise ClusterError(f"{self}/{name} cannot be written: others write it all the time")

    def delete(self, name: str) -> None:
        """Remove an object."""
        self._send("delete_object", Bucket=self._bucket, Key=self._key(name))

    def remove(self) -> None:
        """Remove all objects of the prefix, what tells that it is a run first, the lock last."""
        with self._lease.hold():
            first = ["state.json", "job.json"]
            names = [name for name, _ in self.names() if name not in first]
            for name in (*first, *names):
                self.delete(name)
        self.delete(LOCK)

    def locked(self) -> AbstractContextManager[None]:
        """Hold the place for this process alone.

        Raises:
            JobError: If another process holds it.
        """
        return self._lease.hold()

    def held(self) -> bool:
        """Whether a process holds the place."""
        return self._lease.held()

    @property
    def _under(self) -> str:
        """What all names in the bucket begin with."""
        return f"{self._prefix}/" if self._prefix else ""

    def _key(self, name: str) -> str:
        """The name in the bucket; "" is the URL's own."""
        return self._under + name if name else self._prefix

    def _pages(self, **told: Any) -> Iterator[dict[str, Any]]:
        token: dict[str, str] = {}
        while True:
            told |= {"Bucket": self._bucket, "MaxKeys": PAGE}
            page = self._send("list_objects_v2", **told, **token)
            yield page
            if not page.get("IsTruncated"):
                return
            token = {"ContinuationToken": page["NextContinuationToken"]}


class _Ranges(io.RawIOBase):
    """An object as a file: each read is a request."""

    def __init__(self, bucket: Bucket, name: str, size: int, tag: str) -> None:
        super().__init__()
        self._bucket, self._name, self._size, self._tag, self._at = bucket, name, size, tag, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = max(0, start + offset)
        return self._at

    def readinto(self, buffer: Any) -> int:
        count = min(len(buffer), self._size - self._at)
        if count <= 0:
            return 0
        found = self._bucket.read_range(self._name, start=self._at, count=count, tag=self._tag)
        buffer[: len(found)] = found
        self._at += len(found)
        return len(found)

"""Settings of every Ray that is started here: its token, where it listens, how it treats workers.

Ray reads them from the environment when it is loaded, and all that it starts inherits them.
"""

import functools
import os
import secrets
from pathlib import Path
from typing import BinaryIO

KEEPALIVE_MS = "10000"
"""A connection that was cut is noticed within this; Ray's own patience is minutes."""
USUAL = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_grpc_client_keepalive_time_ms": KEEPALIVE_MS,
    "RAY_grpc_client_keepalive_timeout_ms": KEEPALIVE_MS,
    "RAY_worker_niceness": "0",
}
"""What holds where the user has set nothing else.  Ray's own workers have niceness 15: beside two
busy processes on two processors a task of 10 ms took a minute."""


def environment(token: Path, *, local: bool) -> dict[str, str]:
    """The environment of a process that starts Ray.

    Args:
        token: file of the token, without which nothing is answered.
        local: whether every server is to listen on the loopback interface alone.  Ray replaces a
            loopback address that it is given by one that others can reach, except where it does
            not support clusters: there is a switch for that.
    """
    settings = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token)}
    if local:
        settings["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
    return USUAL | dict(os.environ) | settings


def write_token(path: Path, token: str | None = None) -> Path:
    """A token that its owner alone can read: the one given, else a fresh one."""
    with private_file(path) as file:
        file.write((token or secrets.token_hex(32)).encode())
    return path


@functools.cache
def own_token() -> str:
    """The token of every Ray of this process's own, which keeps the first that it has read."""
    return secrets.token_hex(32)


def private_file(path: Path) -> BinaryIO:
    """A new file that its owner alone can read."""
    path.unlink(missing_ok=True)
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    return os.fdopen(handle, "wb")

"""Hand a run to a cluster through Ray's Jobs API; how it goes is told by the run's own record."""

import os
from pathlib import Path
from typing import Any

from models.errors import ClusterError, first_line
from workers.head import answers, certify_home

REFUSED = (401, 403)


def connect(address: str) -> Any:
    """A client of a cluster's job server.

    Args:
        address: its URL, as `certify cluster start` prints it.

    Raises:
        ClusterError: If nothing answers there, or the token is missing or refused.
    """
    if not address.startswith(("http://", "https://")):
        raise ClusterError(f"address {address!r} is refused; accepted is http://HOST:PORT")
    address = address.rstrip("/")
    status = answers(address, _require_token())
    if status in REFUSED:
        raise ClusterError(f"{address} refuses the token; accepted is that of its head")
    if status != 200:
        raise ClusterError(f"no cluster answers at {address}")
    from ray.job_submission import JobSubmissionClient

    try:
        return JobSubmissionClient(address)
    except (RuntimeError, ConnectionError) as fault:
        raise ClusterError(f"{address} takes no jobs: {first_line(fault)}") from None


def submit_once(client: Any, entrypoint: str, *, submission: str) -> bool:
    """Have the cluster run a command, on its head.

    Args:
        client: of the job server.
        entrypoint: a command line.
        submission: its id; the server takes each once, so that of two who submit one is refused.

    Returns:
        Whether it was taken; no where the id is known already.

    Raises:
        ClusterError: If the server does not take it for another reason.
    """
    try:
        client.submit_job(entrypoint=entrypoint, submission_id=submission)
    except (RuntimeError, ConnectionError) as fault:
        if "already exists" in str(fault):
            return False
        raise ClusterError(f"the job is not taken: {first_line(fault)}") from None
    return True


def failure(client: Any, submission: str) -> str | None:
    """Why a submission ended; None while it has not, or the cluster does not answer."""
    try:
        found = client.get_job_info(submission)
        if not found.status.is_terminal():
            return None
        last = client.get_job_logs(submission).strip().splitlines()[-1:]
    except (RuntimeError, ConnectionError):
        return None
    return "; ".join([found.message or str(found.status), *last])


def _require_token() -> str:
    """Turn token authentication on for Ray's clients in this process; before Ray is loaded."""
    os.environ["RAY_AUTH_MODE"] = "token"
    if token := os.environ.get("RAY_AUTH_TOKEN"):
        return token
    path = Path(os.environ.setdefault("RAY_AUTH_TOKEN_PATH", str(certify_home() / "token")))
    try:
        token = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        token = ""
    if not token:
        raise ClusterError(
            f"no token in {path}; accepted is a file with that of the cluster's head, "
            "named by RAY_AUTH_TOKEN_PATH"
        )
    return token

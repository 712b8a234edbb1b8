"""A cluster's head on this machine: a process of its own, started with a token, stopped by its pid.

Ray gives whoever reaches it arbitrary code execution.  So the head listens on the loopback
interface unless another address is asked for, and never without a token, which lies in a file
that only its owner can read and appears in no command line and no log.
"""

import ipaddress
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import ProxyHandler, Request, build_opener

import psutil  # type: ignore[import-untyped]

from models.errors import ClusterError, InvalidInputError
from workers.ray_settings import environment, private_file, write_token

START_SECONDS = 90.0
STOP_SECONDS = 20.0
PARTING_SECONDS = 2.0
LAUNCH = "from ray.scripts.scripts import main; main()"
"""Ray's command line, of this very installation."""


@dataclass(frozen=True)
class Head:
    """A head that was started here.

    Attributes:
        pid: its process.
        created: when that process began, in seconds of Unix time: pids are used again.
        address: URL of its job server, for `--address`.
        join: HOST:PORT that another machine's Ray starts with.
        token: file of the token.
    """

    pid: int
    created: float
    address: str
    join: str
    token: str

    def process(self) -> psutil.Process | None:
        """Its process; None once it is gone."""
        try:
            found = psutil.Process(self.pid)
            same = abs(found.create_time() - self.created) < 1
            return found if same and found.status() != psutil.STATUS_ZOMBIE else None
        except psutil.Error:
            return None


def certify_home() -> Path:
    """Where this user's cluster keeps its token, its record and its log: `~/.certify`."""
    return Path(os.environ.get("CERTIFY_HOME") or Path.home() / ".certify")


def start_head(*, host: str, port: int, join_port: int, cpus: int | None = None) -> Head:
    """Start a head and wait until it takes jobs.

    Args:
        host: address of this machine to listen on; loopback keeps everybody else out.
        port: of the job server.
        join_port: that other machines join through.
        cpus: processors that runs may use on this machine; all of them if left out.

    Raises:
        InvalidInputError: If one runs already, or the host is no address.
        ClusterError: If a port is taken or Ray does not start.
    """
    try:
        local = ipaddress.ip_address(host).is_loopback
    except ValueError:
        raise InvalidInputError(f"host {host!r} is refused; accepted is an IP address") from None
    running = recorded_head()
    if running and running.process():
        raise InvalidInputError(f"a cluster runs already at {running.address}; stop it first")
    for each in (port, join_port):
        _require_free(host, each)
    home = certify_home()
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    token = write_token(home / "token")
    log = home / "head.log"
    with private_file(log) as file:
        process = subprocess.Popen(  # noqa: S603 (its words are this function's)
            [sys.executable, "-c", LAUNCH, *_arguments(host, port, join_port, cpus, local=local)],
            env=environment(token, local=local),
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    created = psutil.Process(process.pid).create_time()
    url = f"http://{_bracketed(host)}:{port}"
    head = Head(process.pid, created, url, f"{_bracketed(host)}:{join_port}", str(token))
    _record_file().write_text(json.dumps(asdict(head)), encoding="utf-8")
    try:
        _wait_until_it_answers(head, process, log)
    except BaseException:
        stop_head(head)
        raise
    return head


def recorded_head() -> Head | None:
    """The head that was started here last, alive or not."""
    try:
        return Head(**json.loads(_record_file().read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def stop_head(head: Head) -> bool:
    """End a head and the processes that it started, and no others.

    Returns:
        Whether it was there.
    """
    process = head.process()
    if process:
        family = [process, *process.children(recursive=True)]
        with suppress(psutil.NoSuchProcess):
            process.terminate()
        psutil.wait_procs([process], timeout=STOP_SECONDS)
        _, left = psutil.wait_procs(family, timeout=PARTING_SECONDS)
        _kill(left)  # runs that wait for what is gone
    _record_file().unlink(missing_ok=True)
    return process is not None


def _kill(processes: Iterable[psutil.Process]) -> None:
    """Kill processes; any that ends by itself meanwhile is gone as well."""
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.kill()


def answers(address: str, token: str) -> int:
    """HTTP status of a job server, 0 where nothing answers; no proxy sees the token."""
    asked = Request(f"{address}/api/version", headers={"Authorization": f"Bearer {token}"})  # noqa: S310
    try:
        with build_opener(ProxyHandler({})).open(asked, timeout=5) as answer:
            return int(answer.status)
    except HTTPError as fault:
        return fault.code
    except (URLError, OSError, ValueError):
        return 0


def _arguments(host: str, port: int, join_port: int, cpus: int | None, *, local: bool) -> list[str]:
    """Of `ray start`: on the loopback interface alone every port but two is a free one."""
    free = ["--min-worker-port=0", "--max-worker-port=0"] if local else []
    limit = [] if cpus is None else [f"--num-cpus={cpus}"]
    return [
        "start",
        "--head",
        "--block",
        f"--node-ip-address={host}",
        f"--port={join_port}",
        f"--dashboard-host={host}",
        f"--dashboard-port={port}",
        "--dashboard-agent-listen-port=0",
        "--disable-usage-stats",
        *free,
        *limit,
    ]


def _wait_until_it_answers(head: Head, process: subprocess.Popen[bytes], log: Path) -> None:
    token, end = Path(head.token).read_text(encoding="utf-8"), time.monotonic() + START_SECONDS
    while answers(head.address, token) != 200:
        if process.poll() is not None or time.monotonic() > end:
            lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
            last = lines[-1] if lines else "it says nothing"
            raise ClusterError(f"Ray does not start here: {last}; all of it is in {log}")
        time.sleep(0.2)


def _require_free(host: str, port: int) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as fault:
            raise ClusterError(f"{host} port {port} cannot be used: {fault.strerror}") from None


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _record_file() -> Path:
    return certify_home() / "head.json"

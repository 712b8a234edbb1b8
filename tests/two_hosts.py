"""Two hosts on one machine: network namespaces with an address each and a cable between them.

Each has folders of its own for Ray; the disk of the runs is the first one's alone to use.
"""

import contextlib
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

import psutil

NOBODY = "02:00:00:00:00:99"
"""No card has this address: what is sent to it is lost without a word, as on a cut cable."""


@dataclass(frozen=True)
class Host:
    """A network namespace."""

    name: str
    address: str
    card: str
    ray_folder: Path

    def command(self, *words):
        """The words of a command that runs on this host."""
        mounted = f'mount --bind "{self.ray_folder}" /tmp/ray && exec "$@"'
        return ["ip", "netns", "exec", self.name, "sh", "-c", mounted, "sh", *map(str, words)]

    def processes(self):
        """All that runs on this host."""
        listed = subprocess.run(
            ["ip", "netns", "pids", self.name], capture_output=True, text=True, check=False
        )
        found = []
        for pid in listed.stdout.split():
            with contextlib.suppress(psutil.Error):
                found.append(psutil.Process(int(pid)))
        return found

    def die(self):
        """Power off: every process of it is gone at once."""
        for process in self.processes():
            with contextlib.suppress(psutil.Error):
                process.kill()


@dataclass(frozen=True)
class Cable:
    """What joins two hosts."""

    one: Host
    other: Host

    def cut(self):
        """Lose every packet, both ways, and tell nobody."""
        for here, there in ((self.one, self.other), (self.other, self.one)):
            _ip("-n", here.name, "neigh", "replace", there.address, "lladdr", NOBODY,
                "dev", here.card, "nud", "permanent")  # fmt: skip

    def mend(self):
        """Carry packets again."""
        for here, there in ((self.one, self.other), (self.other, self.one)):
            _ip("-n", here.name, "neigh", "del", there.address, "dev", here.card)


@contextlib.contextmanager
def two_hosts(folder, *, subnet=77):
    """Two hosts and their cable; PermissionError where this user may not make any."""
    hosts = [
        Host(f"certify-{os.getpid()}-{place}", f"10.213.{subnet}.{place}", f"card{place}",
             folder / f"ray-{place}")
        for place in (1, 2)
    ]  # fmt: skip
    Path("/tmp/ray").mkdir(exist_ok=True)
    try:
        for host in hosts:
            host.ray_folder.mkdir()
            _ip("netns", "add", host.name)
            _ip("-n", host.name, "link", "set", "lo", "up")
        one, other = hosts
        _ip("-n", one.name, "link", "add", one.card, "type", "veth",
            "peer", "name", other.card, "netns", other.name)  # fmt: skip
        for host in hosts:
            _ip("-n", host.name, "address", "add", f"{host.address}/24", "dev", host.card)
            _ip("-n", host.name, "link", "set", host.card, "up")
        probe = subprocess.run(one.command("true"), capture_output=True, text=True, check=False)
        if probe.returncode:
            raise PermissionError(probe.stderr.strip())
        yield Cable(one, other)
    finally:
        for host in hosts:
            host.die()
            subprocess.run(["ip", "netns", "delete", host.name], capture_output=True, check=False)


def _ip(*words):
    try:
        subprocess.run(["ip", *words], capture_output=True, text=True, check=True)
    except FileNotFoundError:
        raise PermissionError("there is no command ip") from None
    except subprocess.CalledProcessError as refusal:
        raise PermissionError(refusal.stderr.strip()) from None

"""A cluster of two hosts, each with its own address: what a dying host and a cut cable change.

Nothing but time: the tables are those of a run that nothing happened to.
"""

import json
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from certify.runs.records import read_record
from certify.runs.run_dir import RunDir
from tests.test_certify_cluster import JOB, environment
from tests.two_hosts import two_hosts
from tests.whole_runs import SAME, blobs, wait_for

RECOVERY_SECONDS = 180
SHARDS = "examples = 64\naudit = 1\nshard_size = 1"
RAY = (sys.executable, "-c", "from ray.scripts.scripts import main; main()")
CERTIFY = (sys.executable, "-m", "certify")
COUNT = """
import json, sys, urllib.request
address, token = sys.argv[1:]
asked = urllib.request.Request(
    address + "/api/v0/nodes", headers={"Authorization": "Bearer " + open(token).read()}
)
found = json.load(urllib.request.urlopen(asked, timeout=30))["data"]["result"]["result"]
print(sum(each["state"] == "ALIVE" for each in found))
"""


class Site:
    """Two hosts, a head on the first, and a user of the first with a folder."""

    def __init__(self, folder, cable):
        self.folder, self.cable = folder, cable
        self.one, self.other = cable.one, cable.other
        self.environment = environment(folder / "home")
        self.token = folder / "home" / "token"
        self.started = []

    def start(self, host, *words, log=subprocess.PIPE, **changed):
        process = subprocess.Popen(
            host.command(*words),
            cwd=self.folder,
            env=self.environment | changed,
            stdout=log,
            stderr=subprocess.STDOUT if log is not subprocess.PIPE else log,
            text=True,
        )
        self.started.append(process)
        return process

    def run(self, host, *words, **changed):
        process = self.start(host, *words, **changed)
        out, err = process.communicate(timeout=300)
        return process.returncode, out, err

    def head(self):
        """The head; started where there is none."""
        if not self.busy(self.one, "gcs_server"):
            self._head = self._started_head()
        return self._head

    def _started_head(self):
        status, out, err = self.run(
            self.one, *CERTIFY, "cluster", "start", "--host", self.one.address, "--cpus", "1",
            "--json",
        )  # fmt: skip
        assert status == 0, err
        assert "whoever reaches" in err
        return json.loads(out)

    def join(self, head, **changed):
        """Have the other host join, as the head's words say."""
        secrets = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(self.token)}
        with (self.folder / "node.log").open("a") as log:
            return self.start(
                self.other, *RAY, "start", "--block", f"--address={head['join']}",
                f"--node-ip-address={self.other.address}", "--num-cpus=1",
                "--disable-usage-stats", log=log, **(secrets | changed),
            )  # fmt: skip

    def both(self):
        """The head, once both hosts are there; started where they are not."""
        head = self.head()
        if not self.busy(self.other, "raylet"):
            wait_for(lambda: self.hosts_of(head) == 1)
            node = self.join(head)
            while self.hosts_of(head) != 2:  # on a busy machine Ray may give up, and is asked again
                if node.poll() is not None:
                    node = self.join(head)
        return head

    def hosts_of(self, head):
        """How many hosts the head knows to be there; none where it does not say."""
        status, out, _ = self.run(
            self.one, sys.executable, "-c", COUNT, head["address"], self.token
        )
        return int(out) if status == 0 else 0

    def submit(self, head, run, *settings):
        changed = [word for setting in settings for word in ("--set", setting)]
        status, _, err = self.run(
            self.one, *CERTIFY, "submit", "job.toml", "--run", run, "--no-wait",
            "--address", head["address"], *changed,
        )  # fmt: skip
        assert status == 0, err
        return RunDir(self.folder / "runs", run)

    def busy(self, host, words):
        found = []
        for process in host.processes():
            try:
                if words in " ".join(process.cmdline()):
                    found.append(process)
            except psutil.Error:
                continue
        return found

    def hold_shards(self, made, attacked=3):
        """Workers of the other host that do not go on, with whatever shards they are sent."""
        wait_for(lambda: len(list(made.at("attacks").glob("*.parquet"))) >= attacked)
        return self.stop_workers()

    def stop_workers(self):
        """Stop all workers of the other host; their host and whoever sends them shards go on."""
        agents = self.busy(self.other, "Agent")  # of the host itself
        workers = [each for each in self.busy(self.other, "ray::") if each not in agents]
        for worker in workers:
            worker.send_signal(signal.SIGSTOP)
        assert workers
        return workers


def ended(made, *, seconds=RECOVERY_SECONDS):
    wait_for(lambda: not read_record(made).live, seconds=seconds)
    return read_record(made)


def assert_same(made, expected):
    for name in SAME:
        assert made.read(name) == expected.read(name), (made.run, name)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    images, labels = blobs(per_class=60)
    np.savez(folder / "blobs.npz", images=images, labels=labels)
    job = JOB.replace("examples = 32\naudit = 1\nshard_size = 1", SHARDS)
    assert SHARDS in job
    (folder / "job.toml").write_text(job + "[resources]\nworkers = 2\n")
    try:
        with two_hosts(folder) as cable:
            site = Site(folder, cable)
            yield site
            for host in (cable.one, cable.other):
                host.die()
            for process in site.started:
                process.communicate()
    except PermissionError as refusal:
        pytest.skip(f"two hosts cannot be made here: {refusal}")


@pytest.fixture
def head(site):
    """The head, which a test may have ended."""
    return site.head()


@pytest.fixture(scope="module")
def undisturbed(site):
    """A run on both hosts to which nothing happened."""
    made = site.submit(site.both(), "undisturbed")
    assert ended(made).verdict == "passed", read_record(made).reason
    return made


@pytest.fixture
def both(site, undisturbed):
    """The head of both hosts, which a test may have ended."""
    return site.both()


def test_a_token_that_is_wrong_or_missing_is_refused_from_either_host(site, head, tmp_path):
    wrong = tmp_path / "token"
    wrong.write_text("f" * 64)
    wrong.chmod(0o600)
    for host in (site.one, site.other):
        for token, words in ((wrong, "refuses the token"), (tmp_path / "none", "no token in")):
            status, out, err = site.run(
                host, *CERTIFY, "submit", "job.toml", "--run", "stranger", "--address",
                head["address"], RAY_AUTH_TOKEN_PATH=str(token),
            )  # fmt: skip
            assert (status, out) == (6, "")
            assert words in err
            assert "f" * 64 not in err
    assert not (site.folder / "runs" / "stranger").exists()
    stranger = site.join(head, RAY_AUTH_TOKEN_PATH=str(wrong))
    assert stranger.wait(timeout=120) != 0  # the head does not take the host
    assert not site.busy(site.other, "raylet")


def test_a_host_dies_and_then_the_head_and_nothing_is_attacked_twice(site, both, undisturbed):
    made = site.submit(both, "hurt")
    site.hold_shards(made)
    site.other.die()
    before = len(list(made.at("attacks").glob("*.parquet")))
    wait_for(lambda: len(list(made.at("attacks").glob("*.parquet"))) > before + 3)
    site.one.die()  # the head, and the run's own process with it
    assert ended(made).reason == "its process is gone; resume it"
    kept = {path: path.stat().st_mtime_ns for path in made.at("attacks").glob("*.parquet")}
    assert len(kept) > before
    again = site.both()
    process = site.start(site.one, *CERTIFY, "resume", "hurt", "--address", again["address"])
    while process.poll() is None:
        for path, written in kept.items():
            assert not path.exists() or path.stat().st_mtime_ns == written  # not attacked again
        time.sleep(0.1)
    assert process.returncode == 0, process.communicate()
    assert_same(made, undisturbed)
    secret = site.token.read_text()
    assert stat.S_IMODE(site.token.stat().st_mode) == 0o600
    for host in (site.one, site.other):
        assert not site.busy(host, secret)
    told = [*site.folder.rglob("*.log"), *site.folder.rglob("*.out"), *site.folder.rglob("*.err"),
            *site.folder.rglob("*.jsonl"), *site.folder.rglob("*.json")]  # fmt: skip
    assert len(told) > 20
    for path in filter(Path.is_file, told):
        assert secret not in path.read_text(errors="replace"), path


@pytest.mark.fuzz
@pytest.mark.parametrize(
    ("stage", "seconds"), [("export", None), ("certify", 60), ("attack", None), ("attack", 60)]
)
def test_a_cable_that_is_cut_for_good_or_a_minute_changes_nothing(
    stage, seconds, site, both, undisturbed
):
    made = site.submit(both, f"{stage}-{seconds or 'cut'}")
    if stage == "attack":
        held = site.hold_shards(made)
    else:
        wait_for(lambda: read_record(made).stage == stage)
        held = site.stop_workers()
    site.cable.cut()
    cut = time.monotonic()
    if seconds is not None:
        time.sleep(seconds)
        site.cable.mend()
        for worker in held:
            if worker.is_running():
                worker.send_signal(signal.SIGCONT)
    left = RECOVERY_SECONDS - (time.monotonic() - cut)
    try:
        assert ended(made, seconds=left).verdict == "passed", read_record(made).reason
        assert_same(made, undisturbed)
    finally:
        site.other.die()
        if seconds is None:
            site.cable.mend()


@pytest.mark.fuzz
def test_a_worker_that_hangs_holds_nothing_up_beyond_the_deadline_of_its_shard(
    site, both, undisturbed
):
    made = site.submit(both, "hangs")
    held = site.hold_shards(made)
    wait_for(lambda: read_record(made).stage != "attack", seconds=RECOVERY_SECONDS)
    hung = [worker for worker in held if worker.is_running()]
    assert {worker.status() for worker in hung} == {psutil.STATUS_STOPPED}
    assert ended(made).verdict == "passed", read_record(made).reason
    for worker in filter(psutil.Process.is_running, hung):  # only the deadline knew of it
        worker.kill()
    assert_same(made, undisturbed)


@pytest.mark.fuzz
def test_a_team_that_loses_a_host_comes_to_the_weights_of_one_worker(site, both):
    same = ["train.accumulate=2", "train.epochs=40", "attack.examples=4"]
    alone = site.submit(both, "alone", *same)
    assert ended(alone).verdict == "passed", read_record(alone).reason
    team = site.submit(both, "team", *same, "resources.training_workers=2")
    epochs = team.at("train/metrics.jsonl")
    wait_for(lambda: epochs.exists() and len(epochs.read_text().splitlines()) >= 2)
    site.other.die()
    assert ended(team).verdict == "passed", read_record(team).reason
    assert team.read("train/weights.safetensors") == alone.read("train/weights.safetensors")
    assert_same(team, alone)

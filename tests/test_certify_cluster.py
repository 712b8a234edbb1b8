"""A cluster as a user meets it: started, shared by several runs, hurt and stopped."""

import json
import os
import shutil
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from certify.jobs.job import load_job
from certify.runs.history import events
from certify.runs.records import LIVE, read_record
from certify.runs.run_dir import RunDir
from certify.runs.steering import ask_to_stop
from tests.test_certify_batch import network, parquet
from tests.whole_runs import SAME, blobs, wait_for
from workers.head import answers

ROOT = Path(__file__).parent.parent
PROVED = (
    "data.json", "environment.json", "job.json", "job.toml", "network.onnx", "train", "bounds.json",
)  # fmt: skip
JOB = """
name = "blobs"
[data]
source = "npz"
path = "blobs.npz"
[model]
architecture = "mlp"
widths = [8]
[train]
epochs = 2
batch_size = 32
[certify]
eps = ["1/4"]
shard_size = 4
[attack]
examples = 32
audit = 1
shard_size = 1
"""
SWEEP = """
name = "swept"
[data]
source = "npz"
path = "blobs.npz"
validation = 0.2
[model]
architecture = "mlp"
widths = [8]
[train]
epochs = 3
batch_size = 8
learning_rate = 2e-2
[certify]
eps = ["1/8"]
[sweep.over]
train.loss.margin = [0.1, 0.5]
"""
OF_A_TRIAL = (
    "train/weights.safetensors", "network.onnx", "bounds.json", "certificates.parquet", "job.toml",
)  # fmt: skip
SEVERAL = """
import json, sys
from certify.cli import main
for arguments in json.loads(sys.argv[1]):
    sys.argv = ["certify", *arguments]
    try:
        main()
    except SystemExit as end:
        print("EXIT", end.code)
"""


def environment(home):
    kept = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    return kept | {"CERTIFY_HOME": str(home), "PYTHONPATH": str(ROOT)}


class User:
    """Somebody with a folder, who types commands in it."""

    def __init__(self, folder, *, token_of):
        self.folder, self.environment = folder, environment(token_of)

    def start(self, *arguments, code=("-m", "certify")):
        return subprocess.Popen(
            [sys.executable, *code, *arguments],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments, code=("-m", "certify")):
        process = self.start(*arguments, code=code)
        out, err = process.communicate(timeout=300)
        return process.returncode, out, err

    def at(self, run, runs="runs"):
        return RunDir(self.folder / runs, run)


@pytest.fixture(scope="module")
def user(tmp_path_factory):
    folder = tmp_path_factory.mktemp("user")
    images, labels = blobs(per_class=40)
    np.savez(folder / "blobs.npz", images=images, labels=labels)
    (folder / "job.toml").write_text(JOB)
    (folder / "sweep.toml").write_text(SWEEP)
    return User(folder, token_of=folder / "home")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


@pytest.fixture(scope="module")
def head(user):
    """A head that was started as a user does; what is left of it must be nothing."""
    status, out, err = user.run(
        "cluster", "start", "--port", free_port(), "--join-port", free_port(), "--json"
    )
    assert status == 0, err
    found = json.loads(out)
    process = psutil.Process(found["pid"])
    family = [process, *process.children(recursive=True)]
    yield found
    status, _, err = user.run("cluster", "stop")
    assert status == 0, err
    _, left = psutil.wait_procs(family, timeout=10)
    assert not [each for each in left if each.status() != psutil.STATUS_ZOMBIE]
    assert answers(found["address"], "any") == 0
    assert user.run("cluster", "stop")[2] == "error: no cluster was started here\n"


@pytest.fixture(scope="module")
def undisturbed(user, head):
    """A run that nothing happened to; submitted twice, the second joins the first."""
    arguments = "submit", "job.toml", "--run", "whole", "--address", head["address"]
    first = user.start(*arguments, "--json")
    wait_for(lambda: user.at("whole").has("state.json"))
    second = user.start(*arguments)
    out, err = first.communicate(timeout=300)
    assert first.returncode == 0, err
    assert second.communicate(timeout=300)[1].count("train    begins") == 1
    assert second.returncode == 0
    assert json.loads(out)["verdict"] == "passed"
    for verb in ("logs whole -f", "stop whole", "wait whole"):
        assert f"certify {verb}\n" in err
    return user.at("whole")


def processes_of(head, words):
    """Processes of the cluster whose command line or title holds some words."""
    found = []
    for child in psutil.Process(head["pid"]).children(recursive=True):
        try:
            if words in " ".join(child.cmdline()):
                found.append(child)
        except psutil.Error:
            continue
    return found


def driver_of(head, user, run):
    drivers = processes_of(head, f"certify.submitting.driver {user.folder / 'runs'} {run}")
    (driver,) = (each for each in drivers if each.cmdline()[-1] == run)
    return driver


def test_the_head_listens_on_loopback_alone_and_its_token_is_its_owners(user, head):
    token = Path(head["token"])
    assert stat.S_IMODE(token.stat().st_mode) == 0o600
    secret = token.read_text()
    for process in (me := psutil.Process(head["pid"]), *me.children(recursive=True)):
        for connection in process.net_connections():
            if connection.status == psutil.CONN_LISTEN:
                address = connection.laddr.ip.removeprefix("::ffff:")
                assert address in ("127.0.0.1", "::1"), process
        assert secret not in " ".join(process.cmdline())
    assert secret not in (token.parent / "head.log").read_text()
    status, _, err = user.run("cluster", "start")
    assert status == 2
    assert "runs already" in err


@pytest.mark.parametrize("token", [None, "", "f" * 64])
def test_a_token_that_is_wrong_or_missing_is_refused_in_a_line(token, user, head, tmp_path):
    if token is not None:
        (tmp_path / "token").write_text(token)
    stranger = User(user.folder, token_of=tmp_path)
    status, out, err = stranger.run(
        "submit", "job.toml", "--run", "stranger", "--address", head["address"]
    )
    assert (status, out) == (6, "")
    assert len(err.splitlines()) == 1
    assert ("refuses the token" if token else "no token in") in err
    assert Path(head["token"]).read_text() not in err
    assert (token or "none") not in err
    assert not user.at("stranger").path.exists()


def test_an_address_where_nothing_answers_is_refused(user, head):
    for address in (f"http://127.0.0.1:{free_port()}", "ray://127.0.0.1:1", "127.0.0.1"):
        status, _, err = user.run("submit", "job.toml", "--run", "nowhere", "--address", address)
        assert (status, len(err.splitlines())) == (6, 1)


def test_a_batch_evaluation_on_a_cluster_gives_the_rows_of_one_here(user, head):
    images, labels = blobs(per_class=200)
    pixels = (images * 255).astype(np.uint8)
    parquet(user.folder / "big" / "a.parquet", pixels[:410], labels[:410], group=70)
    parquet(user.folder / "big" / "b.parquet", pixels[410:], labels[410:], group=1000)
    (user.folder / "theirs.onnx").write_bytes(network())
    command = ["evaluate", "theirs.onnx", "--data", "big", "--source", "parquet", "--json"]
    where = {"rows-here": ["--batch"], "rows-there": ["--address", head["address"]]}
    told = {}
    for run, options in where.items():
        status, out, err = user.run(*command, *options, "--run", run)
        assert status == 0, err
        told[run] = json.loads(out) | {"run": None}
    assert told["rows-here"] == told["rows-there"]
    assert told["rows-there"]["rows"] == 600
    here, there = (
        {path.name: path.read_bytes() for path in user.at(run).at("rows").glob("*.parquet")}
        for run in where
    )
    assert here == there
    assert here
    missing = ["--data", "nothing", "--run", "rows-none", *where["rows-there"]]
    status, _, err = user.run("evaluate", "theirs.onnx", "--source", "parquet", *missing)
    assert (status, len(err.splitlines())) == (2, 1)
    assert not user.at("rows-none").path.exists()


def seeded(user, undisturbed, run, runs="runs"):
    """A run that was stopped before it certified: what is hurt here comes after that."""
    made = user.at(run, runs)
    made.path.mkdir(parents=True)
    for name in PROVED:
        source, target = undisturbed.at(name), made.at(name)
        shutil.copytree(source, target) if source.is_dir() else shutil.copy(source, target)
    return made


@pytest.fixture
def tiny(user):
    """A disk that is nearly full."""
    place = user.folder / "tiny"
    place.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=72k", "tmpfs", place], check=False
    ).returncode:
        pytest.skip("this user may not mount a file system")
    yield place
    subprocess.run(["umount", place], check=True)


def test_runs_that_share_a_cluster_survive_what_happens_to_them(user, head, undisturbed, tiny):
    runs = dict.fromkeys(("gated", "late", "stopped", "orphan", "gpus"), "runs") | {"full": "tiny"}
    made = {run: seeded(user, undisturbed, run, where) for run, where in runs.items()}

    def submitted(run):
        settings = {
            "gated": ['gates=["clean_accuracy > 1"]'],
            "late": ["resources.time_limit=0.1"],
            "gpus": ["resources.gpus_per_worker=1", "resources.workers=2"],
        }
        changed = [word for setting in settings.get(run, ()) for word in ("--set", setting)]
        return [
            "submit", "job.toml", *changed, "--run", run, "--runs", runs[run],
            "--address", head["address"], "--no-wait",
        ]  # fmt: skip

    status, out, err = user.run(json.dumps([submitted(run) for run in runs]), code=("-c", SEVERAL))
    assert out.splitlines() == [word for run in runs for word in (run, "EXIT 0")], err

    # One worker dies while it certifies, two while they attack; a driver dies; a run is stopped.
    # One waits for what the cluster does not have, says so, and is stopped.
    hurt, asked, killed, waited, asking = 0, False, False, False, None
    seen = {run: ["PENDING"] for run in runs}
    while any(statuses[-1] in LIVE for statuses in seen.values()):
        for run, statuses in seen.items():
            if (status := read_record(made[run]).status) != statuses[-1]:
                statuses.append(status)
        victims = processes_of(head, "ray::_certify_shard" if hurt < 1 else "ray::attack_at")
        if hurt < 3 and victims:
            victims[0].kill()
            hurt += 1
        if not asked and list(made["stopped"].at("attacks").glob("*.parquet")):
            ask_to_stop(made["stopped"])
            asked = True
        if asking is None and "GPUs asked" in (read_record(made["gpus"]).reason or ""):
            asking = user.start("status", "gpus", "--json")
        if asking is not None and not waited and asking.poll() is not None:
            told = json.loads(asking.communicate()[0])
            assert (told["status"], told["reason"]) == ("PENDING", "2 GPUs asked, 0 in the cluster")
            ask_to_stop(made["gpus"])
            waited = True
        if not killed and list(made["orphan"].at("attacks").glob("*.parquet")):
            driver_of(head, user, "orphan").kill()
            killed = True
        time.sleep(0.02)
    assert (hurt, asked, killed, waited) == (3, True, True, True)

    for statuses in seen.values():  # never told as ended, or as waiting, while it was not
        assert statuses in (["PENDING", "RUNNING", statuses[-1]], ["PENDING", statuses[-1]])
    ends = {run: read_record(run_dir) for run, run_dir in made.items()}
    assert {run: (end.status, end.verdict, end.exit_status) for run, end in ends.items()} == {
        "gated": ("SUCCEEDED", "gate_failed", 3),
        "late": ("STOPPED", "incomplete", 5),
        "stopped": ("STOPPED", "incomplete", 5),
        "gpus": ("STOPPED", "incomplete", 5),
        "orphan": ("FAILED", "incomplete", 5),
        "full": ("FAILED", "incomplete", 6),
    }
    assert ends["late"].reason == "the time limit is reached"
    assert ends["stopped"].reason == "stopped on request"
    assert "its process is gone" in ends["orphan"].reason
    assert "No space left on device" in ends["full"].reason
    kept = {
        path: path.stat().st_mtime_ns
        for run in ("stopped", "orphan")
        for path in made[run].at("attacks").iterdir()
    }

    subprocess.run(["mount", "-o", "remount,size=1m", tiny], check=True)
    status, _, err = user.run(
        json.dumps([submitted("stopped"), submitted("orphan")]), code=("-c", SEVERAL)
    )
    for path, written in kept.items():
        assert not path.exists() or path.stat().st_mtime_ns == written  # not attacked again
    status, _, err = user.run("resume", "full", "--runs", "tiny")
    assert status == 0, err
    for run in ("stopped", "orphan"):
        assert user.run("wait", run)[0] == 0
    del made["late"], made["gpus"]
    for run_dir in made.values():
        for name in SAME:
            assert run_dir.read(name) == undisturbed.read(name), (run_dir.run, name)


def front(run_dir):
    """What a sweep came to, but for its name and its times."""
    hidden = ("run", "training_seconds")
    trials = run_dir.read_json("summary.json")["trials"]
    return [{key: trial[key] for key in trial if key not in hidden} for trial in trials]


def test_a_sweep_goes_to_a_cluster_as_a_job_does(user, head):
    def submitted(run, *more):
        return ["submit", "sweep.toml", "--run", run, "--address", head["address"], *more]

    runs = ("cut", "lost")
    wrong, begun = [submitted("wrong", "--set", "train.epochs=0")], [*runs, "cut"]
    begun_there = wrong + [submitted(run, "--no-wait") for run in begun]
    status, out, err = user.run(json.dumps(begun_there), code=("-c", SEVERAL))
    assert out.splitlines() == ["EXIT 2", *(word for run in begun for word in (run, "EXIT 0"))], err
    assert "train.epochs: found 0" in err
    assert not user.at("wrong").path.exists()
    assert user.at("cut").read_json("origin.json")["attempt"] == 1  # submitted again: joined

    # One is stopped after its first trial; one loses its process while that trains.
    first = user.at("cut-001").at("result.json")
    hurt = {
        user.at("lost-001").at("train").exists: lambda: driver_of(head, user, "lost").kill(),
        first.exists: lambda: ask_to_stop(user.at("cut")),
    }
    while hurt:  # which of them comes first is not known
        hurt.pop(wait_for(lambda: next((moment for moment in hurt if moment()), None)))()
    written = first.stat().st_mtime_ns
    ends = json.dumps([["wait", run] for run in runs])
    status, out, err = user.run(ends, code=("-c", SEVERAL))
    cut, _, lost, _ = lines = out.splitlines()
    assert lines[1::2] == ["EXIT 5", "EXIT 5"], err
    assert cut.endswith("incomplete, stopped on request")
    assert "its process is gone" in lost
    assert not user.at("cut-002").has("result.json")
    assert not user.at("lost-001").has("result.json")

    # One goes on there, where it was begun, the other on this machine.
    there, here = user.start("resume", "cut"), user.start("resume", "lost", "--here")
    out, err = there.communicate(timeout=300)
    assert there.returncode == 0, err
    assert "beaten by none, on 18 validation images" in out
    assert "report runs/cut/report.html" in out
    assert "certify stop cut\n" in err
    assert err.count("trials   begins") == 1
    assert here.communicate(timeout=300)[0].count("beaten by none") == 1
    assert here.returncode == 0
    status, out, err = user.run(*submitted("cut", "--json"))
    assert (status, json.loads(out)) == (0, user.at("cut").read_json("summary.json")), err
    assert first.stat().st_mtime_ns == written  # a finished trial is never made again

    assert front(user.at("cut")) == front(user.at("lost"))
    for number in ("001", "002"):
        cut, lost = (user.at(f"{run}-{number}") for run in runs)
        for name in OF_A_TRIAL:
            assert cut.read(name) == lost.read(name), (number, name)
        path = cut.path / load_job(cut.at("job.toml")).data.path
        assert path.resolve() == user.folder / "blobs.npz"
    one, other = (list(events(user.at(f"cut-00{number}"))) for number in (1, 2))
    assert one[-1]["time"] <= other[0]["time"]  # side by side go as many as there are workers


@pytest.mark.fuzz
@pytest.mark.timeout(1800)
def test_twenty_runs_at_once_all_end_and_are_told_right_at_every_moment(user, head):
    few = ["--set", "attack.examples=8", "--set", "attack.shard_size=4"]
    few += ["--address", head["address"]]
    status, _, err = user.run("submit", "job.toml", "--run", "one", *few)
    assert status == 0, err
    alone = user.at("one")
    made = {run: seeded(user, alone, run) for run in (f"many-{at:02d}" for at in range(20))}
    submitted = [["submit", "job.toml", "--run", run, "--no-wait", *few] for run in made]
    status, out, err = user.run(json.dumps(submitted), code=("-c", SEVERAL))
    assert out.splitlines() == [word for run in made for word in (run, "EXIT 0")], err
    seen = {run: [read_record(made[run]).status] for run in made}
    while any(statuses[-1] in LIVE for statuses in seen.values()):
        for run, statuses in seen.items():
            if (status := read_record(made[run]).status) != statuses[-1]:
                statuses.append(status)
        working = sum(statuses[-1] == "RUNNING" for statuses in seen.values())
        assert working <= (os.cpu_count() or 1) + 1  # one may have ended since it was looked at
        time.sleep(0.1)
    order = ["PENDING", "RUNNING", "SUCCEEDED"]
    for run, statuses in seen.items():
        assert statuses == order[-len(statuses) :], (run, read_record(made[run]).reason)
    told = {each["run"]: each for each in json.loads(user.run("list", "--json")[1])}
    for run, run_dir in made.items():
        assert (told[run]["status"], told[run]["verdict"]) == ("SUCCEEDED", "passed")
        for name in SAME:
            assert run_dir.read(name) == alone.read(name), (run, name)

"""What a run waits for on a cluster, and what no cluster of these machines could give it."""

import os
import socket
import subprocess
import sys

import psutil
import pytest

from models.errors import ClusterError, InvalidInputError
from models.spec import ResourcesSpec
from workers import head
from workers.cluster import all_cpus, task_cpus
from workers.jobs import connect
from workers.shared_cluster import shortage, worker_share
from workers.tasks import inside
from workers.trials import side_by_side

BIG, SMALL = {"CPU": 8.0, "GPU": 1.0, "memory": 16e9}, {"CPU": 2.0, "memory": 4e9}
IDLE = {"CPU": 10.0, "GPU": 1.0, "memory": 20e9}
ASKED = {
    "a GPU where there is none": (
        {"gpus_per_worker": 1}, [SMALL], IDLE, True, "1 GPUs asked, 0 in the cluster",
    ),
    "more GPUs than there are": (
        {"gpus_per_worker": 1, "workers": 2}, [BIG, SMALL], IDLE, True,
        "2 GPUs asked, 1 in the cluster",
    ),
    "a GPU that is taken": (
        {"gpus_per_worker": 1}, [BIG], IDLE | {"GPU": 0}, False, "1 GPUs asked, 0 of 1 free",
    ),
    "processors that are taken": (
        {"workers": 2}, [SMALL], {"CPU": 1.0}, False, "2 processors asked, 1 of 2 free",
    ),
    "a worker wider than any machine": (
        {"cpus_per_worker": 9}, [BIG, SMALL], IDLE, True,
        "1 workers asked, room for 0 on the machines as they are",
    ),
    "workers that do not fit beside each other": (
        {"cpus_per_worker": 5, "workers": 2}, [BIG, SMALL], IDLE, True,
        "2 workers asked, room for 1 on the machines as they are",
    ),
    "memory": (
        {"memory_per_worker": 30}, [BIG, SMALL], IDLE, True,
        "30 GB of memory asked, 20 in the cluster",
    ),
    "nothing amiss": ({}, [SMALL], IDLE, False, "a reservation is being made"),
}  # fmt: skip


@pytest.mark.parametrize("name", ASKED)
def test_what_is_waited_for_is_said_and_what_cannot_come_is_known(name):
    asked, machines, free, never, words = ASKED[name]
    resources = ResourcesSpec(**asked)
    found = shortage(worker_share(resources), resources.workers, machines=machines, free=free)
    assert found[0] is never
    assert words in found[1]


def test_a_task_has_one_workers_processors_where_workers_lie_apart():
    asked = ResourcesSpec(workers=3, cpus_per_worker=2)
    assert (all_cpus(asked), task_cpus(asked)) == (6, 6)
    with inside("a reservation"):
        assert (all_cpus(asked), task_cpus(asked)) == (6, 2)
        assert all_cpus(ResourcesSpec(workers=3)) == 3
    assert task_cpus(asked) == 6


def test_as_many_trials_go_side_by_side_in_a_reservation_as_there_are_workers():
    with inside("a reservation"):
        assert side_by_side(ResourcesSpec(workers=3)) == 3
        assert side_by_side(ResourcesSpec(workers=3, cpus_per_worker=4)) == 3


@pytest.mark.parametrize("host", ["localhost", "", "127.0.0.1; true", "0.0.0.0.0"])
def test_a_head_listens_on_an_address_or_not_at_all(host, tmp_path, monkeypatch):
    monkeypatch.setenv("CERTIFY_HOME", str(tmp_path / "home"))
    with pytest.raises(InvalidInputError, match="accepted is an IP address"):
        head.start_head(host=host, port=8265, join_port=6379)
    assert not (tmp_path / "home").exists()


def test_a_port_that_is_taken_is_named_before_anything_starts(tmp_path, monkeypatch):
    monkeypatch.setenv("CERTIFY_HOME", str(tmp_path / "home"))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ClusterError, match=f"port {port} cannot be used"):
            head.start_head(host="127.0.0.1", port=port, join_port=6379)
    assert not (tmp_path / "home").exists()


def test_the_head_of_another_process_of_the_same_number_is_not_stopped(tmp_path, monkeypatch):
    monkeypatch.setenv("CERTIFY_HOME", str(tmp_path))
    me = psutil.Process(os.getpid())
    other = head.Head(me.pid, me.create_time() - 60, "http://127.0.0.1:1", "127.0.0.1:2", "token")
    assert other.process() is None
    assert not head.stop_head(other)


def test_a_record_of_a_head_that_is_damaged_is_none(tmp_path, monkeypatch):
    monkeypatch.setenv("CERTIFY_HOME", str(tmp_path))
    for content in ("", "{", "[]", '{"pid": 1}'):
        (tmp_path / "head.json").write_text(content)
        assert head.recorded_head() is None


def test_ray_that_does_not_start_is_told_with_its_last_words(tmp_path, monkeypatch):
    monkeypatch.setenv("CERTIFY_HOME", str(tmp_path))
    monkeypatch.setattr(head, "LAUNCH", "import sys; sys.exit('no room for Ray')")
    with pytest.raises(ClusterError, match="does not start here: no room for Ray; all of it is in"):
        head.start_head(host="127.0.0.1", port=1, join_port=2)
    assert head.recorded_head() is None


def test_the_token_may_come_from_the_environment_and_is_not_told(monkeypatch, tmp_path):
    monkeypatch.setenv("RAY_AUTH_TOKEN", "s3cret")
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    with pytest.raises(ClusterError, match="no cluster answers") as refusal:
        connect("http://127.0.0.1:1")
    assert "s3cret" not in str(refusal.value)


def test_one_that_ends_by_itself_does_not_keep_others_from_being_killed():
    children = [
        subprocess.Popen([sys.executable, "-c", f"import time; time.sleep({seconds})"])
        for seconds in (0, 600)
    ]
    family = [psutil.Process(child.pid) for child in children]
    children[0].wait()
    head._kill(family)
    assert children[1].wait(timeout=30) < 0

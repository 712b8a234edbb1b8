"""Shards on a real Ray: one that hangs is sent again, and what two copies say is told once."""

import functools

import pytest

from models.errors import CertifyError, ClusterError
from models.spec import ResourcesSpec
from tests.ray_tasks import attempt
from workers import shards
from workers.cluster import embedded_cluster
from workers.tasks import places, remote

SOON = 0.5


@pytest.fixture(scope="module")
def ray_here():
    with embedded_cluster(ResourcesSpec(workers=2, cpus_per_worker=1)):
        yield


@pytest.fixture(autouse=True)
def _impatient(monkeypatch):
    monkeypatch.setattr(shards, "DEADLINE_SECONDS", SOON)
    monkeypatch.setattr(shards, "LOOK_SECONDS", 0.1)


def calls_of(folder, fates, *, retries=0):
    task = remote(attempt).options(max_retries=retries)
    return [
        functools.partial(task.remote, str(folder), number, each)
        for number, each in enumerate(fates)
    ]


def tries(folder):
    return {int(path.name): len(path.read_text()) for path in folder.iterdir()}


def test_a_shard_that_hangs_is_sent_again_and_every_answer_is_told_once(ray_here, tmp_path):
    fates = [["hangs", 0], *[[0.01]] * 20]
    answers = list(shards.as_completed(calls_of(tmp_path, fates)))
    assert sorted(answers) == [(number, number) for number in range(21)]
    assert tries(tmp_path) == {0: 2} | dict.fromkeys(range(1, 21), 1)


def test_of_a_shard_that_was_only_slow_one_answer_is_told(ray_here, tmp_path):
    fates = [[4 * SOON, 6 * SOON], [0], [0]]
    answers = list(shards.as_completed(calls_of(tmp_path, fates)))
    assert sorted(answers) == [(0, 0), (1, 1), (2, 2)]


def test_while_all_places_work_one_copy_is_sent_at_most(ray_here, tmp_path):
    assert places(gpus=False) == 2
    list(shards.as_completed(calls_of(tmp_path, [[2.5 * SOON]] * 4)))
    assert sum(tries(tmp_path).values()) <= 4 + 2


def test_what_a_shard_refuses_is_raised_and_not_tried_again(ray_here, tmp_path):
    with pytest.raises(CertifyError, match="shard 1 is refused"):
        list(shards.as_completed(calls_of(tmp_path, [[0], ["refuses"]])))
    assert tries(tmp_path)[1] == 1


def test_a_copy_outlives_an_original_that_died_and_without_a_copy_the_run_is_told(
    ray_here, tmp_path
):
    with pytest.raises(ClusterError, match="a task died"):
        list(shards.as_completed(calls_of(tmp_path, [["dies"]])))
    (tmp_path / "0").unlink()
    assert list(shards.as_completed(calls_of(tmp_path, [["dies", 0]], retries=1))) == [(0, 0)]


def test_chains_begin_when_there_is_a_place_for_them(ray_here, tmp_path):
    begun, most = [], 0
    sent = iter(calls_of(tmp_path, [[0.01]] * 24))

    def chain(name):
        begun.append(name)
        first = yield (name, 0), next(sent)
        yield (name, first), next(sent)
        begun.remove(name)

    labels = []
    for label, _ in shards.run_chains(chain(name) for name in range(12)):
        labels.append(label)
        most = max(most, len(begun))
    assert len(labels) == 24
    assert most <= shards.AHEAD * places(gpus=False)
    for name in range(12):
        assert next(step for one, step in labels if one == name) == 0

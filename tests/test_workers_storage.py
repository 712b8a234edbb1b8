"""An object store as the folder of runs: whole objects, one holder, a reason for every refusal."""

import json
import logging
import threading
import time
from pathlib import Path

import pytest

from certify.runs.records import all_records, read_record
from certify.runs.run import note
from certify.runs.run_dir import RunDir
from models.errors import ClusterError, InvalidInputError, JobError
from tests.s3_server import BUCKET, KEYS, free_port, s3_server
from workers.storage.bucket import Bucket
from workers.storage.places import fetched

pytestmark = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")


@pytest.fixture(scope="module")
def server():
    with s3_server() as found:
        yield found


@pytest.fixture
def door(server, monkeypatch):
    """The server, with a client's usual environment, and impatient clients."""
    found, client = server
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_ENDPOINT_URL", found.url)
    monkeypatch.setenv("CERTIFY_STORAGE_PATIENCE", "0.4")
    found.mood, found.turned_away = "open", 0
    yield found
    found.mood = "open"
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET):
        for each in page.get("Contents", ()):
            client.delete_object(Bucket=BUCKET, Key=each["Key"])


@pytest.fixture
def patient(monkeypatch):
    """A lease lasts as long as its holder is patient."""
    monkeypatch.setenv("CERTIFY_STORAGE_PATIENCE", "30")


def bucket(path="runs"):
    return Bucket(f"s3://{BUCKET}/{path}")


def run_dir(run="a-run"):
    return RunDir(Path(f"s3://{BUCKET}/runs"), run)


def test_what_is_written_is_read_and_listed_and_removed(door):
    made = run_dir()
    made.create()
    made.write("deep/er/file", b"\x00\x01\x02")
    made.write_json("x.json", {"ε": 0.1})
    assert made.read("deep/er/file", start=1) == b"\x01\x02"
    assert made.read_json("x.json") == {"ε": 0.1}
    assert made.names("deep/*") == ["deep/er/file"]
    assert made.has("x.json")
    assert not made.has("deep")
    with pytest.raises(FileNotFoundError):
        made.read("none")
    made.delete("none")
    assert made.where("x.json") == f"s3://{BUCKET}/runs/a-run/x.json"
    assert [*bucket("runs/a-run/x.json").names()] == [("", len('{\n  "ε": 0.1\n}\n'.encode()))]
    with bucket("runs/a-run/deep/er").open("file") as file:
        assert (file.seek(1), file.read(1), file.seek(-1, 2), file.read()) == (
            1,
            b"\x01",
            2,
            b"\x02",
        )
    assert bucket().folders() == ["a-run"]
    with fetched(f"s3://{BUCKET}/runs/a-run") as copy:
        assert (copy / "deep" / "er" / "file").read_bytes() == b"\x00\x01\x02"
    made.remove()
    assert bucket().folders() == []


def test_a_listing_of_many_pages_is_read_to_its_end(door, monkeypatch):
    monkeypatch.setattr("workers.storage.bucket.PAGE", 3)
    place = bucket("many")
    for number in range(10):
        place.write(f"{number:04}/x", b"x")
    place.write("a/.hidden", b"x")
    assert [name for name, _ in place.names()] == [f"{number:04}/x" for number in range(10)]
    assert place.folders() == [*(f"{number:04}" for number in range(10)), "a"]


def test_an_object_that_changes_while_it_is_read_is_refused(door, monkeypatch):
    monkeypatch.setattr("workers.storage.bucket.READ_BYTES", 4)
    place = bucket()
    place.write("big", b"0123456789")
    with place.open("big") as file:
        assert file.read(4) == b"0123"
        place.write("big", b"9876543210")
        with pytest.raises(ClusterError, match="has changed while it was read"):
            file.read()


def test_records_are_told_from_the_store_alone(door, patient):
    made = run_dir()
    note(made, "RUNNING", name="job", stage="attack")
    with made.locked():
        assert read_record(made).status == "RUNNING"
    assert read_record(made).reason == "its process is gone; resume it"
    note(made, "SUCCEEDED", name="job", verdict="passed")
    runs = made.path.parent
    assert [record.verdict for record in all_records(runs)] == ["passed"]
    events = [json.loads(line) for line in made.read("events.jsonl").splitlines()]
    assert [event["status"] for event in events] == ["RUNNING", "SUCCEEDED"]


def test_lines_of_several_writers_are_all_kept(door, patient):
    place = bucket()

    def add(writer):
        other = bucket()
        for number in range(5):
            other.append("events.jsonl", f"{writer} {number}\n".encode())

    writers = [threading.Thread(target=add, args=(writer,)) for writer in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    lines = place.read("events.jsonl").decode().splitlines()
    assert sorted(lines) == [f"{writer} {number}" for writer in range(3) for number in range(5)]


def test_one_process_holds_a_run_and_the_next_takes_it_when_it_is_let_go(door, patient):
    one, other = bucket("runs/x"), bucket("runs/x")
    assert not one.held()
    with one.locked():
        assert other.held()
        with pytest.raises(JobError, match="run x is being worked on by another process"):
            other.locked().__enter__()
        one.write("file", b"mine")
    assert not other.held()
    with other.locked():
        assert one.held()


def test_a_lease_is_renewed_and_lapses_where_nobody_does(door, monkeypatch):
    monkeypatch.setenv("CERTIFY_STORAGE_PATIENCE", "2")
    one, other = bucket("runs/x"), bucket("runs/x")
    with one.locked():
        time.sleep(3.3)
        assert other.held()
        with pytest.raises(JobError), other.locked():
            pass
    one._lease._take()  # and its process dies
    with pytest.raises(JobError), other.locked():
        pass
    time.sleep(3.3)
    with other.locked():
        with pytest.raises(ClusterError, match="another process has taken it over"):
            one.write("file", b"late")  # it had only slept
        other.write("file", b"mine")
    assert other.read("file") == b"mine"


def test_whoever_lost_a_run_writes_nothing_more(door, server, patient):
    place = bucket("runs/x")
    with place.locked():
        server[1].put_object(Bucket=BUCKET, Key="runs/x/.lock", Body=b'{"holder":"b","free":false}')
        place._lease._renewed = float("-inf")
        for write in (lambda: place.write("file", b"late"), lambda: place.append("file", b"late")):
            with pytest.raises(ClusterError, match="another process has taken it over"):
                write()
    assert not place.has("file")
    assert place.held()  # it was not let go by whoever lost it


def test_a_server_that_falters_for_a_moment_is_waited_for(door, monkeypatch):
    monkeypatch.setenv("CERTIFY_STORAGE_PATIENCE", "30")
    place = bucket()
    place.write("file", b"before")
    for mood in ("503", "torn"):
        door.mood, door.turned_away = mood, 0
        threading.Timer(0.8, setattr, (door, "mood", "open")).start()
        assert place.read("file") == b"before"
        assert door.turned_away > 1


@pytest.mark.parametrize("mood", ["503", "torn"])
def test_a_server_that_falters_for_good_is_told_in_a_line(door, mood):
    place = bucket()
    place.write("file", b"old content")
    door.mood = mood
    with pytest.raises(ClusterError) as refused:
        place.read("file")
    assert "\n" not in str(refused.value)
    assert str(refused.value).startswith(f"s3://{BUCKET}/runs: the server ")
    if mood == "503":
        with pytest.raises(ClusterError, match=r"the server falters \(503\)"):
            place.write("file", b"new")
    door.mood = "open"
    assert place.read("file") == b"old content"


def refusal(place):
    with pytest.raises((ClusterError, InvalidInputError)) as refused:
        place.create()
    words = str(refused.value)
    assert "\n" not in words
    assert KEYS["AWS_SECRET_ACCESS_KEY"] not in words
    assert KEYS["AWS_ACCESS_KEY_ID"] not in words
    return refused.value.exit_status, words


def test_every_other_refusal_has_its_reason(door, monkeypatch):
    assert refusal(Bucket("s3://certify-nothing/x")) == (
        6, "s3://certify-nothing/x: there is no such bucket",
    )  # fmt: skip
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_port()}")
    status, words = refusal(bucket())
    assert (status, "cannot be reached" in words) == (6, True)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    status, words = refusal(bucket())
    assert (status, "no credentials" in words) == (6, True)
    monkeypatch.setenv("CERTIFY_STORAGE_PATIENCE", "soon")
    assert refusal(bucket())[0] == 2
    for url in ("s3://key:secret@bucket/x", "gs://bucket/x", "s3://UPPER/x", "s3://"):
        with pytest.raises(InvalidInputError, match="accepted is a folder, or s3://") as refused:
            Bucket(url)
        assert "secret" not in str(refused.value)


class Forgetful:
    """A server that knows no conditions, as some do not."""

    def __init__(self, send):
        self._send = send

    def __call__(self, request, **told):
        told.pop("IfNoneMatch", None)
        told.pop("IfMatch", None)
        return self._send(request, **told)


def test_a_server_that_ignores_conditions_is_refused(door, monkeypatch):
    place = bucket("runs/x")
    place._lease._send = Forgetful(place._send)
    with pytest.raises(ClusterError, match="the server ignores conditions on a write"):
        place.locked().__enter__()


def test_no_credential_is_logged(door, caplog):
    with caplog.at_level(logging.INFO):
        place = bucket()
        place.write("file", b"x")
        door.mood = "503"
        with pytest.raises(ClusterError):
            place.read("file")
    assert KEYS["AWS_SECRET_ACCESS_KEY"] not in caplog.text

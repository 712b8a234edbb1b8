"""A file of a run is whole or not there, whatever happens while it is written."""

import multiprocessing
import os
import resource

import pyarrow as pa
import pytest

from certify.runs.run_dir import RunDir
from models.errors import CertifyError, JobError


@pytest.fixture
def run_dir(tmp_path):
    made = RunDir(tmp_path, "a-run")
    made.create()
    return made


def test_what_is_written_is_read(run_dir):
    run_dir.write("deep/er/file", b"\x00\x01")
    run_dir.write_json("x.json", {"ε": 0.1})
    run_dir.write_table("t.parquet", pa.table({"a": [1, 2]}))
    assert run_dir.read("deep/er/file") == b"\x00\x01"
    assert run_dir.read_json("x.json") == {"ε": 0.1}
    assert run_dir.read_table("t.parquet")["a"].to_pylist() == [1, 2]
    assert run_dir.has("x.json")
    assert not run_dir.has("deep")


@pytest.mark.parametrize("run", ["", "..", "../x", "a/b", "/etc", "A", "x" * 129, "a\n", ".hidden"])
def test_no_run_lies_outside_the_folder_of_runs(tmp_path, run):
    with pytest.raises(JobError, match="run id"):
        RunDir(tmp_path, run)


def fill(path, limit):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    try:
        RunDir(path, "a-run").write("big", b"x" * (10 * limit))
    except CertifyError as fault:
        os._exit(0 if "cannot be written" in str(fault) else 2)
    os._exit(1)


def test_a_disk_that_is_full_leaves_the_old_file_and_no_half(run_dir):
    """A limit on the size of files makes the kernel refuse, as a full disk does."""
    run_dir.write("big", b"old")
    process = multiprocessing.get_context("fork").Process(
        target=fill, args=(run_dir.path.parent, 10_000)
    )
    process.start()
    process.join()
    assert process.exitcode == 0
    assert run_dir.read("big") == b"old"
    assert [path.name for path in run_dir.path.iterdir()] == ["big"]


def test_a_writer_that_dies_leaves_nothing_under_the_name(run_dir, monkeypatch):
    def die(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", die)
    with pytest.raises(KeyboardInterrupt):
        run_dir.write("file", b"new")
    assert list(run_dir.path.iterdir()) == []


def test_numbers_that_json_cannot_hold_are_refused(run_dir):
    with pytest.raises(ValueError, match="not JSON compliant"):
        run_dir.write_json("x.json", {"radius": float("nan")})
    assert not run_dir.has("x.json")


def test_a_folder_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(JobError, match="cannot be written"):
        RunDir(tmp_path / "file", "x").create()


def hold(path, ready, done):
    with RunDir(path, "a-run").locked():
        ready.set()
        done.wait(30)


def test_two_processes_cannot_work_on_one_run(run_dir):
    context = multiprocessing.get_context("fork")
    ready, done = context.Event(), context.Event()
    process = context.Process(target=hold, args=(run_dir.path.parent, ready, done))
    process.start()
    assert ready.wait(30)
    with pytest.raises(JobError, match="another process"), run_dir.locked():
        pass
    done.set()
    process.join()
    with run_dir.locked():
        pass


def test_the_history_grows_by_lines(run_dir):
    run_dir.record("stage begins", stage="train")
    run_dir.record("stage ends", stage="train", seconds=1.5)
    lines = run_dir.read("events.jsonl").decode().splitlines()
    assert len(lines) == 2
    assert '"seconds": 1.5' in lines[1]

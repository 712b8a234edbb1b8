"""Commands that answer from a run's own record: the truth, whatever became of run and record."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime, timedelta

import pytest

from certify.cli import main
from certify.jobs.job import JobSpec, check_job
from certify.runs import history
from certify.runs.history import changes, events
from certify.runs.origin import Origin
from certify.runs.outcome import exit_status
from certify.runs.plans import check_same
from certify.runs.records import all_records, read_record
from certify.runs.run import note, watched
from certify.runs.run_dir import RunDir
from certify.submitting.driver import drive
from models.errors import ClusterError, JobError


@pytest.fixture
def certify(tmp_path, monkeypatch, capsys):
    """The command line, in a folder of its own."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["certify", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            main()
        return end.value.code, *capsys.readouterr()

    return run


@pytest.fixture
def made(tmp_path):
    """A run whose record says what it is told."""

    def make(run, status="RUNNING", **facts):
        run_dir = RunDir(tmp_path / "runs", run)
        run_dir.create()
        note(run_dir, status, name="blobs", **facts)
        return run_dir

    return make


def hold(run_dir, ready):
    with run_dir.locked():
        ready.set()
        signal.pause()


@pytest.fixture
def held():
    """Have another process hold a run."""
    context, processes = multiprocessing.get_context("fork"), []

    def start(run_dir):
        ready = context.Event()
        process = context.Process(target=hold, args=(run_dir, ready))
        process.start()
        processes.append(process)
        assert ready.wait(30)
        return process

    yield start
    for process in processes:
        process.kill()
        process.join()


def test_a_run_is_running_while_its_process_lives_and_incomplete_once_it_is_killed(made, held):
    run_dir = made("a", stage="attack", progress={"done": 3, "total": 9, "unit": "attacks"})
    process = held(run_dir)
    assert read_record(run_dir).status == "RUNNING"
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    record = read_record(run_dir)
    assert (record.status, record.verdict, record.exit_status) == ("FAILED", "incomplete", 5)
    assert "its process is gone; resume it" in record.reason
    assert (record.stage, record.progress["done"]) == ("attack", 3)


def test_a_pending_run_that_no_process_takes_up_is_given_up_in_time(made):
    run_dir = made("a", "PENDING")
    assert read_record(run_dir).status == "PENDING"
    state = run_dir.read_json("state.json")
    run_dir.write_json("state.json", state | {"since": str(datetime.now(UTC) - timedelta(hours=1))})
    assert read_record(run_dir).reason == "no process took it up; resume it"


def test_a_run_that_ends_between_two_looks_is_not_told_as_dead(made, monkeypatch):
    run_dir = made("a")

    def ends(self):
        note(run_dir, "SUCCEEDED", name="blobs", verdict="passed")
        return False

    monkeypatch.setattr(RunDir, "held", ends)
    assert read_record(run_dir).status == "SUCCEEDED"


DAMAGED = {
    "nothing": b"",
    "half": b'{"run": "a", "status": "RUNN',
    "no text": b"\xff\xfe\x00",
    "a list": b"[1, 2]",
    "a number": b"3",
    "a strange word": b'{"status": "ASLEEP"}',
    "strange progress": b'{"status": "RUNNING", "progress": 3}',
    "progress of words": b'{"status": "STOPPED", "progress": {"done": "x", "total": []}}',
    "a strange verdict": b'{"status": "SUCCEEDED", "verdict": ["passed"]}',
    "deep": b"[" * 100_000,
}


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_record_is_told_in_a_line_and_can_be_written_again(content, made, certify):
    run_dir = made("a")
    made("b", "SUCCEEDED", verdict="passed")
    run_dir.write("state.json", content)
    (run_dir.path / ".lock").touch()
    status, out, err = certify("list", "--json")
    damaged, whole = sorted(json.loads(out), key=lambda record: record["run"])
    assert (status, err) == (0, "")
    assert (damaged["status"], damaged["verdict"]) == ("FAILED", "incomplete")
    assert "state.json cannot be read" in damaged["reason"]
    assert whole["verdict"] == "passed"
    status, out, err = certify("status", "a")
    assert (status, len(out.splitlines()), err) == (0, 1, "")
    note(run_dir, "STOPPED", name="blobs", verdict="incomplete")
    assert read_record(run_dir).status == "STOPPED"


def test_the_list_names_every_run_and_nothing_else(made, certify, tmp_path):
    assert certify("list")[2] == "no runs in runs\n"
    for run, status, facts in (
        ("z-first", "SUCCEEDED", {"verdict": "gate_failed"}),
        ("a-second", "STOPPED", {"verdict": "incomplete", "reason": "interrupted\nby hand"}),
    ):
        made(run, status, **facts)
        time.sleep(0.002)
    (tmp_path / "runs" / "not-a-run").mkdir()
    (tmp_path / "runs" / "file").touch()
    (tmp_path / "runs" / ".a.deleted").mkdir()
    status, out, _ = certify("list", "--json")
    found = json.loads(out)
    assert status == 0
    assert [record["run"] for record in found] == ["z-first", "a-second"]
    assert set(found[0]) >= {"run", "name", "status", "stage", "verdict", "reason"}
    status, out, _ = certify("list")
    assert "z-first" in out
    assert "by hand" not in out
    assert certify("status")[1] == "a-second: STOPPED, incomplete, interrupted\nby hand\n"


LONG = (
    "the loss is no number at step 40; lower the learning rate; accepted is a finite loss, so that "
    "a network may be exported"
)


def test_a_reason_is_on_its_runs_line_where_there_is_no_terminal(made, certify):
    made("a", "FAILED", stage="train", verdict="incomplete", reason=LONG)
    made("a-longer-name", "SUCCEEDED", verdict="passed")
    assert certify("list")[1].splitlines() == [
        "run            status     stage  verdict     reason",
        f"a              FAILED     train  incomplete  {LONG}",
        "a-longer-name  SUCCEEDED         passed",
    ]


def test_a_reason_has_lines_of_its_own_in_a_narrow_terminal(made, tmp_path):
    made("a", "FAILED", stage="train", verdict="incomplete", reason=LONG)
    made("b", "SUCCEEDED", verdict="passed")
    outside, inside = os.openpty()
    listing = subprocess.Popen(
        [sys.executable, "-m", "certify", "list"],
        cwd=tmp_path,
        stdout=inside,
        env={**os.environ, "COLUMNS": "80", "TERM": "xterm"},
    )
    assert listing.wait() == 0
    lines = os.read(outside, 9999).decode().splitlines()
    os.close(outside)
    os.close(inside)
    assert lines[1] == "a    FAILED     train  incomplete"
    assert [line[:4] for line in lines[2:-1]] == ["    ", "    "]
    assert "".join(line[4:] + " " for line in lines[2:-1]).strip() == LONG
    assert lines[-1] == "b    SUCCEEDED         passed"
    assert max(map(len, lines)) <= 80


def test_a_killed_run_is_told_once_as_incomplete(made, certify):
    made("a", stage="attack", progress={"done": 7, "total": 324, "unit": "attacks"})
    assert certify("status", "a")[1] == (
        "a: FAILED, attack 7/324 attacks, incomplete, its process is gone; resume it\n"
    )


@pytest.mark.parametrize("command", ["status", "logs", "wait", "stop", "resume", "delete"])
def test_a_run_that_is_not_there_is_refused_in_a_line(command, certify, tmp_path):
    for run in ("none", "../x"):
        status, out, err = certify(command, run)
        assert (status, out, len(err.splitlines())) == (2, "", 1)
    assert list(tmp_path.iterdir()) == []


ENDS = {
    ("SUCCEEDED", "passed", None): 0,
    ("SUCCEEDED", "gate_failed", None): 3,
    ("FAILED", "refuted", None): 4,
    ("STOPPED", "incomplete", None): 5,
    ("FAILED", "incomplete", 2): 2,
    ("FAILED", "incomplete", 6): 6,
}


@pytest.mark.parametrize(("status", "verdict", "exit_status"), ENDS)
def test_waiting_ends_with_what_the_run_ends_with(status, verdict, exit_status, made, certify):
    made("a", status, verdict=verdict, exit_status=exit_status)
    expected = ENDS[status, verdict, exit_status]
    assert certify("wait", "a")[0] == expected
    code, out, _ = certify("wait", "a", "--json")
    assert (code, json.loads(out)["exit_status"]) == (expected, expected)


def test_the_history_is_told_by_stage_and_survives_a_torn_line(made, certify):
    run_dir = made("a", stage="train")
    run_dir.record("stage begins", stage="train")
    with run_dir.at("events.jsonl").open("ab") as file:
        file.write(b'{"time": "2026-01-01T00:0')
    run_dir.record("stage ends", stage="attack", seconds=1.5)
    note(run_dir, "FAILED", name="blobs", verdict="incomplete", reason="no space left")
    status, out, err = certify("logs", "a")
    words = [line.split("  ", 1)[-1].split() for line in out.splitlines()]
    assert (status, err) == (0, "")
    assert words == [
        ["RUNNING"],
        ["train", "begins"],
        ["(a", "damaged", "line)"],
        ["attack", "ends", "after", "1.5", "s"],
        ["FAILED:", "no", "space", "left"],
    ]
    _, out, _ = certify("logs", "a", "--stage", "attack", "--json")
    assert [json.loads(line)["event"] for line in out.splitlines()] == ["stage ends"]


def test_who_follows_sees_every_event_up_to_the_last(made, held, monkeypatch):
    monkeypatch.setattr(history, "POLL_SECONDS", 0.005)
    run_dir = made("a")
    process, seen = held(run_dir), []
    following = threading.Thread(target=lambda: seen.extend(events(run_dir, follow=True)))
    following.start()
    for number in range(20):
        run_dir.record("number", at=number)
        time.sleep(0.003)
    note(run_dir, "SUCCEEDED", name="blobs", verdict="passed")
    process.kill()
    following.join(30)
    assert [event["at"] for event in seen if event["event"] == "number"] == list(range(20))
    assert seen[-1]["status"] == "SUCCEEDED"


def test_what_training_ends_with_is_told_in_words(made, certify):
    made("a").record("trained", epochs=30, shipped_epoch=12)
    assert "30 epochs behind; epoch 12 ships" in certify("logs", "a")[1]


def test_watching_ends_when_the_run_dies(made, held, monkeypatch):
    monkeypatch.setattr(history, "POLL_SECONDS", 0.005)
    run_dir = made("a")
    process = held(run_dir)
    watched = changes(run_dir)
    assert next(watched).status == "RUNNING"
    process.kill()
    assert [record.verdict for record in watched] == ["incomplete"]


def test_only_a_run_that_lives_can_be_asked_to_stop(made, held, certify):
    run_dir = made("a")
    status, _, err = certify("stop", "a")
    assert status == 2
    assert "nothing to stop" in err
    held(run_dir)
    status, out, _ = certify("stop", "a", "--no-wait")
    assert (status, out) == (0, "a: RUNNING\n")
    assert run_dir.has("stop")


def test_a_run_that_is_whole_is_not_run_again(made, certify):
    made("a", "SUCCEEDED", verdict="gate_failed")
    status, _, err = certify("resume", "a")
    assert status == 3
    assert "nothing is left to resume" in err


def test_a_run_without_the_files_to_resume_it_is_refused_in_a_line(made, certify):
    run_dir = made("a", "STOPPED", verdict="incomplete")
    for content in (None, b"{}", b"{"):
        if content is not None:
            run_dir.write("job.json", content)
        status, _, err = certify("resume", "a")
        assert (status, len(err.splitlines())) == (2, 1)


@pytest.mark.parametrize("name", ["job.json", "sweep.json"])
def test_a_process_on_a_cluster_that_cannot_read_what_to_do_leaves_that_in_the_record(name, made):
    run_dir = made("a", "PENDING")
    run_dir.write(name, "{")
    Origin(run_dir.path, "http://127.0.0.1:8265", 1).write(run_dir)
    with pytest.raises(JobError, match=f"{name} cannot be read"):
        drive(run_dir)
    record = read_record(run_dir)
    assert (record.name, record.status, record.exit_status) == ("blobs", "FAILED", 2)
    assert f"{name} cannot be read" in record.reason


def test_a_summary_without_a_verdict_ends_a_sweep_or_a_batch_alone():
    assert exit_status({"trials": []}) == 0
    assert exit_status({"verdict": None}) == 0  # of a batch evaluation: nothing was attacked
    assert [exit_status({"verdict": each}) for each in ("passed", "gate_failed", "refuted")] == [
        0,
        3,
        4,
    ]
    with pytest.raises(KeyError):
        exit_status({})


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"train": {"epochs": 3}}, "train.epochs: found 3, stored is 12"),
        ({"train": {"best": {"eps": 0.5}}}, "train.best.eps: found 0.5, stored is nothing"),
        ({"data": {"source": "npz", "path": "ü"}}, 'data.source: found "npz", stored is "digits"'),
    ],
)
def test_a_run_with_another_job_names_the_first_key_that_differs(keys, words, made):
    run_dir = made("a")
    run_dir.write("job.json", JobSpec(name="blobs").to_json())
    check_same(run_dir, check_job({"name": "blobs", "gates": ["violations <= 9"]}, place="here"))
    with pytest.raises(JobError) as refused:
        check_same(run_dir, check_job({"name": "blobs", **keys}, place="here"))
    assert str(refused.value) == (
        f"run a exists with another job: {words}; accepted is the same job, or another id"
    )


PLANS = {
    "job.json": JobSpec(name="blobs").to_json(),
    "sweep.json": json.dumps({"name": "blobs", "sweep": {"over": {"train.epochs": [1, 2]}}}),
}


@pytest.mark.parametrize("name", PLANS)
def test_a_token_is_not_sent_to_an_address_that_only_the_runs_folder_names(name, made, certify):
    run_dir = made("a", "STOPPED", verdict="incomplete")
    run_dir.write(name, PLANS[name])
    run_dir.write("job.toml", "")
    Origin(run_dir.path, "http://192.0.2.1:8265", 1).write(run_dir)
    status, _, err = certify("resume", "a")
    assert (status, len(err.splitlines())) == (2, 1)
    assert "--address URL" in err


def test_only_a_run_that_has_ended_is_deleted(made, held, certify, tmp_path):
    run_dir = made("a")
    process = held(run_dir)
    status, _, err = certify("delete", "a")
    assert status == 2
    assert "stop it before it is deleted" in err
    assert run_dir.path.is_dir()
    process.kill()
    process.join()
    status, out, _ = certify("delete", "a")
    assert (status, out) == (0, "runs/a\n")
    assert list((tmp_path / "runs").iterdir()) == []


def test_nothing_outside_the_runs_folder_is_deleted(made, certify, tmp_path):
    inside = made("a", "SUCCEEDED", verdict="passed")
    outside = tmp_path / "precious"
    inside.path.rename(outside)
    inside.path.symlink_to(outside)
    status, _, err = certify("delete", "a")
    assert status == 2
    assert "is a link" in err
    assert (outside / "state.json").exists()


def test_a_store_that_is_no_folder_is_refused(certify, tmp_path):
    status, _, err = certify("status", "a", "--runs", "gs://bucket/runs")
    assert status == 2
    assert "accepted is a folder" in err
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_read_is_refused_in_a_line(certify, tmp_path):
    (tmp_path / "file").touch()
    status, _, err = certify("list", "--runs", "file")
    assert (status, err) == (6, "error: file cannot be read: Not a directory\n")


def test_a_read_only_disk_is_read_and_not_written(made, certify, tmp_path):
    """A bind mount refuses every user, root too."""
    run_dir = made("a", stage="attack")
    run_dir.at(".lock").touch()
    runs = tmp_path / "runs"
    if subprocess.run(["mount", "--bind", runs, runs], check=False).returncode:
        pytest.skip("this user may not mount a file system")
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", runs], check=True)
        assert "its process is gone" in certify("status", "a")[1]
        for command in ("stop", "delete"):
            status, _, err = certify(command, "a")
            assert status != 0
            assert len(err.splitlines()) == 1
        with pytest.raises(JobError, match="cannot be written: Read-only"):
            RunDir(runs, "b").create()
    finally:
        subprocess.run(["umount", runs], check=True)
    assert run_dir.has("state.json")


def fill(run_dir):
    for number in range(99):
        run_dir.write(f"shard-{number}", bytes(4096))


def test_on_a_full_disk_a_run_still_says_why_it_failed(made, tmp_path):
    runs = tmp_path / "runs"
    runs.mkdir()
    tiny = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", runs]
    if subprocess.run(tiny, check=False).returncode:
        pytest.skip("this user may not mount a file system")
    try:
        run_dir = made("a", stage="attack")
        with pytest.raises(ClusterError), watched(run_dir, name="blobs"):
            fill(run_dir)
        assert not run_dir.has("shard-98")
        assert all(path.stat().st_size == 4096 for path in run_dir.path.glob("shard-*"))
        record = read_record(run_dir)
        assert (record.status, record.stage, record.exit_status) == ("FAILED", "attack", 6)
        assert "No space left on device" in record.reason
        assert not run_dir.has(".room")
    finally:
        subprocess.run(["umount", runs], check=True)


def test_a_bug_leaves_its_trace_in_the_history(made, certify):
    run_dir = made("a")
    with pytest.raises(ZeroDivisionError), watched(run_dir, name="blobs"):
        1 / 0  # noqa: B018
    assert read_record(run_dir).reason == "ZeroDivisionError: division by zero"
    assert "Traceback" in certify("logs", "a")[1]


def test_an_empty_folder_has_no_records(tmp_path):
    assert all_records(tmp_path / "none") == []

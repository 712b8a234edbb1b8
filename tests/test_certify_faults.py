"""Whole runs that are stopped, killed and shared out otherwise: the same bytes every time."""

import json
import os
import signal

from tests.whole_runs import (
    CLI_WITHOUT_TORCH,
    artefact,
    assert_same,
    run,
    start,
    submit,
    wait_for,
    workers_of,
)


def test_another_number_of_workers_gives_the_same_bytes_and_the_driver_needs_no_torch(
    folder, undisturbed
):
    status, _, err = submit(
        folder, "two", "--set", "resources.workers=2", command=CLI_WITHOUT_TORCH
    )
    assert status == 0, err
    assert_same(folder, "two")


def test_ctrl_c_in_the_attack_and_the_same_command_again(folder, undisturbed):
    process = start(folder, "submit", "job.toml", "--run", "stopped")
    shards = artefact(folder, "stopped", "attacks")
    first = wait_for(lambda: sorted(shards.glob("*.parquet")))
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 5, err
    assert "interrupted; continue with: certify resume stopped" in err
    assert "Traceback" not in err
    state = json.loads(artefact(folder, "stopped", "state.json").read_text())
    assert (state["status"], state["stage"], state["verdict"]) == (
        "STOPPED",
        "attack",
        "incomplete",
    )
    assert 0 < state["progress"]["done"] < state["progress"]["total"] == 168
    written = first[0].stat().st_mtime_ns
    process = start(folder, "resume", "stopped")
    wait_for(lambda: len(list(shards.glob("*.parquet"))) > len(first) or process.poll() is not None)
    if first[0].exists():
        assert first[0].stat().st_mtime_ns == written  # not attacked again
    _, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert_same(folder, "stopped")


def test_killed_workers_in_training_and_among_three_that_attack_change_nothing(folder, undisturbed):
    told = ("--run", "killed", "--set", "resources.workers=3")
    process = start(folder, "submit", "job.toml", *told)
    for task, busy in (("_train_epoch", 1), ("attack_at", 3)):
        victim = wait_for(lambda at=task, n=busy: workers_of(process, at)[n - 1 :])[0]
        assert victim.nice() == os.nice(0)  # Ray's own default starves beside any other process
        victim.send_signal(signal.SIGKILL)
    _, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert_same(folder, "killed")


def test_a_driver_that_is_killed_in_training_goes_on_from_its_last_epoch(folder, undisturbed):
    process = start(folder, "submit", "job.toml", "--run", "dead")
    wait_for(lambda: list(artefact(folder, "dead", "train").glob("epoch-*.safetensors")))
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    _, out, _ = run(folder, "status", "dead", "--json")
    record = json.loads(out)
    assert (record["status"], record["stage"], record["verdict"]) == (
        "FAILED",
        "train",
        "incomplete",
    )
    status, _, err = run(folder, "resume", "dead")
    assert status == 0, err
    assert_same(folder, "dead")

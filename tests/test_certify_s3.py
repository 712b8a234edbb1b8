"""A run in an object store, its images too: it fails with a reason, and is continued from there."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from certify.jobs.job import load_job
from certify.runs.records import read_record
from certify.runs.run_dir import RunDir
from tests.s3_server import BUCKET, KEYS, s3_server
from tests.test_certify_batch import JOB, answered, blobs, network, parquet
from tests.whole_runs import wait_for

PATIENCE = 3
RUNS = f"s3://{BUCKET}/runs"


@pytest.fixture(scope="module")
def server():
    with s3_server() as found:
        yield found


@pytest.fixture
def folder(tmp_path, server):
    """A job here, whose images lie there."""
    _, client = server
    pixels, labels = blobs(per_class=400)
    parquet(tmp_path / "big" / "a.parquet", (pixels * 255).astype("uint8"), labels, group=100)
    client.upload_file(str(tmp_path / "big" / "a.parquet"), BUCKET, "data/big/a.parquet")
    (tmp_path / "theirs.onnx").write_bytes(network())
    (tmp_path / "local.toml").write_text(JOB)
    there = JOB.replace('path = "big"', f'path = "s3://{BUCKET}/data/big"')
    (tmp_path / "job.toml").write_text(there.replace("workers = 2", "workers = 1"))
    return tmp_path


def start(folder, door, *arguments):
    kept = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    told = {"AWS_ENDPOINT_URL": door.url, "CERTIFY_STORAGE_PATIENCE": str(PATIENCE)}
    return subprocess.Popen(
        [sys.executable, "-m", "certify", *arguments, "--runs", RUNS],
        cwd=folder,
        env=kept | KEYS | told,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def rows_written(door):
    return sum(1 for method, path in door.seen if method == "PUT" and "/rows/" in path)


def test_a_store_that_stops_answering_ends_a_run_that_is_then_continued(
    folder, server, monkeypatch
):
    door, client = server
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_ENDPOINT_URL", door.url)
    expected = answered(load_job(folder / "local.toml"), folder)
    assert len(expected) > 20
    process = start(folder, door, "submit", "job.toml", "--run", "cloud")
    wait_for(lambda: process.poll() is not None or rows_written(door) > 2)
    door.mood = "503"
    out, err = process.communicate(timeout=120)
    door.mood = "open"
    assert process.returncode == 6, err
    assert err.splitlines()[-1] == (f"error: s3://{BUCKET}/runs/cloud: the server falters (503)")
    assert out == ""
    run_dir = RunDir(Path(RUNS), "cloud")
    kept = {
        each["Key"]: each["LastModified"]
        for each in client.list_objects_v2(Bucket=BUCKET, Prefix="runs/cloud/rows/")["Contents"]
    }
    assert 2 < len(kept) < len(expected)
    wait_for(lambda: read_record(run_dir).status == "FAILED", seconds=60)
    assert "its process is gone" in read_record(run_dir).reason

    time.sleep(1.1)  # times of objects have whole seconds
    process = start(folder, door, "resume", "cloud", "--json")
    wait_for(lambda: process.poll() is not None or rows_written(door) > len(kept) + 4)
    door.mood = "torn"  # answers break off for less than the patience, and a run goes on
    time.sleep(0.5)
    door.mood = "open"
    out, err = process.communicate(timeout=240)
    assert process.returncode == 0, err
    assert json.loads(out)["rows"] == 1200
    for answer in expected:
        assert run_dir.read(f"rows/{answer.number:06d}.parquet") == answer.table
    for key, written in kept.items():
        assert client.head_object(Bucket=BUCKET, Key=key)["LastModified"] == written
    assert read_record(run_dir).status == "SUCCEEDED"
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET):
        for each in page["Contents"]:
            content = client.get_object(Bucket=BUCKET, Key=each["Key"])["Body"].read()
            assert KEYS["AWS_SECRET_ACCESS_KEY"].encode() not in content
            assert KEYS["AWS_ACCESS_KEY_ID"].encode() not in content

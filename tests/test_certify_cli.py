"""The commands that start no run: what they print, where, and their exit status."""

import json
import shlex
import subprocess
import sys
from importlib.metadata import version

import pytest

from certify import doctor
from certify.checking.verification import run_folder
from certify.doctor import examine, print_examination
from models.errors import JobError


def certify(*arguments, cwd):
    return subprocess.run(
        [sys.executable, "-m", "certify", *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
    )


def test_init_writes_a_job_that_a_dry_run_accepts(tmp_path):
    done = certify("init", "--out", "mine.toml", cwd=tmp_path)
    assert done.returncode == 0
    assert done.stdout == "mine.toml\n"
    assert "--dry-run" in done.stderr
    checked = certify("submit", "mine.toml", "--dry-run", cwd=tmp_path)
    assert checked.returncode == 0, checked.stderr
    assert "1293 training, 145 validation and 359 test images of 1×8×8" in checked.stdout


def test_what_init_says_may_be_pasted_into_a_shell(tmp_path):
    done = certify("init", "--out", "jöb file.toml", cwd=tmp_path)
    command = done.stderr.removeprefix("check it with: ")
    assert shlex.split(command) == ["certify", "submit", "jöb file.toml", "--dry-run"]


def test_init_does_not_overwrite(tmp_path):
    (tmp_path / "job.toml").write_text("precious")
    done = certify("init", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr == "error: job.toml exists; accepted is the name of a new file\n"
    assert (tmp_path / "job.toml").read_text() == "precious"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["submit"], "JOB_FILE"),
        (["submit", "--no-such-option"], "No such option"),
        (["frobnicate"], "No such command"),
        (["submit", "missing.toml"], "error: missing.toml: No such file or directory"),
        (["report", "missing"], "error: no run 'missing': found nothing in runs; accepted"),
        (["report", "a", "--runs", "x"], "error: no run 'a': found nothing in x; accepted is"),
        (["init", "--data", "gone"], "error: gone: found nothing there; accepted are a folder"),
        (["report", "../etc"], "error: run id"),
    ],
)
def test_bad_usage_has_its_own_status_and_no_traceback(arguments, words, tmp_path):
    done = certify(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_a_report_of_no_run_leaves_no_folder_behind(tmp_path):
    certify("report", "missing", cwd=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_doctor_says_what_a_session_really_uses(tmp_path):
    found = examine(tmp_path / "runs")
    assert found["faults"] == []
    assert found["run_folder_writable"]
    assert found["onnxruntime_providers"][-1] == "CPUExecutionProvider"
    assert found["packages"]["torch"]
    assert found["ray"].startswith("loads")
    assert not (tmp_path / "runs").exists()


def test_the_doctor_names_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "runs").touch()
    assert any("cannot be written" in fault for fault in examine(tmp_path / "runs")["faults"])


def test_the_doctor_names_two_onnxruntimes_in_one_folder(tmp_path, monkeypatch):
    both = {"onnxruntime": "1", "onnxruntime-gpu": "1", "torch": "2"}
    monkeypatch.setattr(doctor, "describe_environment", lambda: {"packages": both})
    assert any("share" in fault for fault in examine(tmp_path)["faults"])


def test_the_doctors_findings_can_be_read_by_a_program(tmp_path, capsys):
    print_examination(examine(tmp_path), as_json=True)
    assert json.loads(capsys.readouterr().out)["run_folder_writable"] is True


UNCERTIFIED = {
    "a batch": {"evaluation.json": "{}"},
    "a sweep": {"sweep.json": "{}"},
    "a trial": {"trial.json": "{}"},
    "a run that is FAILED": {"state.json": '{"status": "FAILED"}'},
    "a folder of other files": {"state.json": "no JSON"},
}


@pytest.mark.parametrize("what", UNCERTIFIED)
def test_what_never_held_a_certificate_is_not_called_false(what, tmp_path):
    for name, text in UNCERTIFIED[what].items():
        (tmp_path / name).write_text(text)
    with pytest.raises(JobError, match=f"holds no certificate.json: it is {what}"):
        run_folder(str(tmp_path), tmp_path)


def test_a_finished_run_that_lost_its_certificate_fails_the_audit(tmp_path):
    (tmp_path / "state.json").write_text('{"status": "SUCCEEDED"}')
    done = certify("verify", str(tmp_path), cwd=tmp_path)
    assert done.returncode == 7
    assert "certificate.json: No such file" in done.stderr


def test_the_version_is_told(tmp_path):
    done = certify("--version", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, f"certify {version('certify-robustness')}\n")
    assert examine(tmp_path)["packages"]["certify-robustness"] == version("certify-robustness")

"""Sweeps: every fault before anything starts, the same trials at any time, never a test image."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from certify.cli import main
from certify.jobs.job import JobSpec, load_job
from certify.jobs.sweep import load_plan
from certify.runs.plans import stored_plan
from certify.runs.run_dir import RunDir
from certify.stages.proposals import rounds
from certify.stages.sweep import _findable
from certify.submitting.sweeping import rehearse_sweep, search_of
from models.errors import JobError
from tests.whole_runs import blobs
from workers.data import load_data

ROOT = Path(__file__).parent.parent
JOB = """
name = "blobs"
seed = 3
[data]
source = "npz"
path = "blobs.npz"
validation = 0.2
[model]
architecture = "mlp"
widths = [8]
[train]
epochs = 2
batch_size = 16
[certify]
eps = [0.1, 0.25]
[resources]
workers = 2
"""
SWEEP = f"""{JOB}
[sweep]
eps = 0.1
[sweep.over]
train.learning_rate = [4e-3, 1e30]
train.loss.margin = [0.1, 0.5]
"""


@pytest.fixture
def plan(tmp_path):
    def loaded(text, *overrides):
        path = tmp_path / "sweep.toml"
        path.write_text(text)
        return load_plan(path, overrides=overrides)

    return loaded


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    folder = tmp_path_factory.mktemp("user")
    images, labels = blobs(per_class=40)
    np.savez(folder / "blobs.npz", images=images, labels=labels)
    (folder / "sweep.toml").write_text(SWEEP)
    done = subprocess.run(
        [sys.executable, "-m", "tests.sweep_runs", str(folder)],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return folder


def summary_of(folder, name):
    return json.loads((folder / "runs" / name / "summary.json").read_text())


def figures(summary):
    hidden = ("run", "training_seconds")
    return [{k: v for k, v in row.items() if k not in hidden} for row in summary["trials"]]


FAULTS = {
    "[sweep]\nmethod = 'grid'": ["sweep.over: found no key; accepted is at least one to vary"],
    "[sweep]\nmetod = 'grid'\nmethod = 'best'": [
        "sweep.metod: unknown key, found 'grid'",
        "sweep.method: found 'best'; accepted is 'grid', 'random' or 'optuna'",
    ],
    "[sweep]\ntrials = 'x'": ["sweep.trials: found 'x'; accepted is a whole number"],
    "[sweep.over]\ntrain.epochs = []\ndata.validation = [0.1, 0.2]\nseed = [0, 1]": [
        "sweep.over.train.epochs: found []; accepted is a list of values that differ",
        "sweep.over.data.validation: found a key that all trials share; accepted are keys of model",
        "sweep.over.seed: found a key that all trials share",
    ],
    "[sweep.over]\ntrain.epochs = [1, 1]\ntrain.warm_up = 0.1\n"
    "train.batch_size = { from = 8, to = 4 }": [
        "sweep.over.train.batch_size: found {'from': 8, 'to': 4}",
        "sweep.over.train.epochs: found [1, 1]",
        "sweep.over.train.warm_up: found 0.1; accepted is a list",
    ],
    "[sweep.over]\ntrain.epochs = { from = 1, to = 3, steps = 9 }\n"
    "train.warm_up = { from = 0.0, to = 0.1, log = true }": [
        "train.epochs: found {'from': 1, 'to': 3, 'steps': 9}; accepted are as many steps as there",
        "train.warm_up: found {'from': 0.0, 'to': 0.1, 'log': True}; accepted is a range above 0",
    ],
    "[sweep.over]\ntrain.epochs = { from = 1, to = 3 }": [
        "sweep.over.train.epochs: found no steps; accepted is a range with steps"
    ],
    "[sweep]\ntrials = 3\nround = 2\n[sweep.over]\ntrain.epochs = [1, 2]": [
        "sweep.trials: found 3; a grid has all combinations",
        "sweep.round: found 2; accepted with method 'optuna' alone",
    ],
    "[sweep]\nmethod = 'random'\n[sweep.over]\ntrain.epochs = [1, 2]": [
        "sweep.trials: required with method 'random', not found"
    ],
    "[sweep]\nmethod = 'random'\ntrials = 3\n[sweep.over]\ntrain.epochs = [1, 2]": [
        "sweep.trials: found 3 of 2 combinations; use the grid"
    ],
    "[sweep.over]\n'train.loss' = [{ name = 'kr' }]\n'train.loss.margin' = [0.5]": [
        "sweep.over.train.loss.margin: found a key inside train.loss, which is varied as a whole"
    ],
    "[sweep.over]\ntrain.epoch = [1]\ntrain.warm_up = [0.0, 0.1]": [
        "train.epoch: unknown key, found 1; accepted are epochs",
    ],
    "[sweep.over]\ntrain.batch_size = [16, 0]\ntrain.accumulate = [1, 32]": [
        "train.batch_size: found 0; accepted is a number greater than 0 (in 2 of 4 combinations; "
        "the first: train.accumulate = 1, train.batch_size = 0)",
        "accumulate = 32 leaves parts of a batch empty; accepted is at most batch_size, 16 (",
    ],
    "[sweep]\neps = 0.7\n[sweep.over]\ntrain.epochs = [1]": [
        "sweep.eps: found 0.7; accepted is one of certify.eps, 0.1, 0.25"
    ],
    "[sweep.over]\ntrain.epochs = { from = 1, to = 9000, steps = 9000 }": [
        "sweep: found too many combinations; accepted are 4096"
    ],
    "[sweep]\nmethod = 'optuna'\ntrials = 2\n"
    "[sweep.over]\ntrain.batch_size = { from = 0, to = 64 }": [
        "train.batch_size: found 0; accepted is a number greater than 0"
    ],
}


@pytest.mark.parametrize("table", FAULTS)
def test_every_fault_is_named_at_once_before_anything_starts(plan, table):
    with pytest.raises(JobError) as refused:
        plan(JOB + table)
    for expected in FAULTS[table]:
        assert expected in str(refused.value)
    lines = str(refused.value).split("\n")
    assert len(lines) == len(FAULTS[table])


def test_a_foreign_model_has_nothing_to_sweep(plan):
    with pytest.raises(JobError, match="found 'onnx', of which nothing is trained"):
        plan("name = 'x'\n[model]\narchitecture = 'onnx'\n[sweep.over]\nmodel.path = ['a.onnx']\n")


def test_optuna_is_asked_for_by_name_where_it_is_missing(plan, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(JobError, match=r"in the extra `sweep`\); accepted are 'grid' and 'random'"):
        plan(f"{JOB}[sweep]\nmethod = 'optuna'\ntrials = 2\n[sweep.over]\ntrain.epochs = [1, 2]\n")


def test_a_grid_is_every_combination_and_each_a_job(plan):
    sweep = plan(
        f"{JOB}[sweep.over]\ntrain.epochs = {{ from = 1, to = 5, steps = 3 }}\n"
        "train.learning_rate = { from = 1e-4, to = 1e-2, steps = 3, log = true }\n"
        "model = [{ architecture = 'linear' }, { architecture = 'mlp', widths = [8] }]\n"
    )
    combinations = list(sweep.combinations())
    assert len(combinations) == 18
    assert {c["train.epochs"] for c in combinations} == {1, 3, 5}
    assert {c["train.learning_rate"] for c in combinations} == {1e-4, 1e-3, 1e-2}
    jobs = [sweep.job(values) for values in combinations]
    assert len({job.sha256() for job in jobs}) == 18
    assert all(isinstance(job, JobSpec) and job.seed == 3 for job in jobs)


RANDOM = """[sweep]
method = "random"
trials = 40
[sweep.over]
train.epochs = { from = 1, to = 4 }
train.warm_up = { from = 0.0, to = 0.5 }
train.learning_rate = { from = 1e-4, to = 1e-2, log = true }
"""


def test_random_trials_depend_on_the_seed_alone_and_fill_their_ranges(plan):
    drawn = list(plan(JOB + RANDOM).combinations())
    assert drawn == list(plan(JOB + RANDOM, "resources.workers=7").combinations())
    assert drawn[:10] == list(plan(JOB + RANDOM, "sweep.trials=10").combinations())
    assert drawn != list(plan(JOB + RANDOM, "seed=4").combinations())
    assert {values["train.epochs"] for values in drawn} == {1, 2, 3, 4}
    rates = [values["train.learning_rate"] for values in drawn]
    assert 10 < sum(rate < 1e-3 for rate in rates) < 30
    assert min(rates) >= 1e-4
    assert max(rates) <= 1e-2


def test_random_trials_never_repeat(plan):
    text = f"{JOB}[sweep]\nmethod = 'random'\ntrials = 6\n[sweep.over]\ntrain.epochs = [1, 2]\n"
    found = list(plan(f"{text}train.batch_size = [1, 2, 3]").combinations())
    assert len({json.dumps(values) for values in found}) == 6


OPTUNA = """[sweep]
method = "optuna"
trials = 24
round = 3
[sweep.over]
train.epochs = { from = 1, to = 4 }
train.batch_size = [8, 16]
train.learning_rate = { from = 1e-4, to = 1e-2, log = true }
"""


def rounds_of(sweep, *, fail=()):
    """Trials that Optuna asks for, by a made-up score with its best learning rate near 2e-3."""
    found, proposals = [], rounds(sweep)
    asked = next(proposals)
    while True:
        found.append(asked)
        scores = [score(values) for values in asked]
        scores[-1] = None if len(found) in fail else scores[-1]
        try:
            asked = proposals.send(scores)
        except StopIteration:
            return found


def score(values):
    rate = values.get("train.learning_rate", 2e-3)
    return 1 - abs(np.log10(rate / 2e-3)), values["train.epochs"] / 4


def test_optuna_proposes_the_same_again_and_learns(plan):
    sweep = plan(JOB + OPTUNA)
    found = rounds_of(sweep)
    assert found == rounds_of(plan(JOB + OPTUNA, "resources.workers=7"))
    assert [len(asked) for asked in found] == [3] * 8
    distance = [
        abs(np.log10(values["train.learning_rate"] / 2e-3)) for asked in found for values in asked
    ]
    assert np.mean(distance[-9:]) < np.mean(distance[:9])
    assert rounds_of(sweep, fail={4})[:4] == found[:4]
    assert rounds_of(sweep, fail={4}) != found


def test_optuna_is_answered_without_a_trial_where_it_repeats_itself(plan):
    text = f"{JOB}[sweep]\nmethod = 'optuna'\ntrials = 6\n[sweep.over]\ntrain.epochs = [1, 2]\n"
    counts = []
    for seed in range(4):
        sweep = plan(f"{text}train.batch_size = [1, 2, 3]", f"seed={seed}")
        made = [json.dumps(values) for asked in rounds_of(sweep) for values in asked]
        assert len(set(made)) == len(made)
        counts.append(len(made))
    assert min(counts) < 6


def test_no_trial_sees_a_test_image(swept):
    data = json.loads((swept / "runs" / "whole-001" / "data.json").read_text())
    assert data["parts"]["test"] == data["parts"]["validation"]
    job = load_job(swept / "runs" / "whole-001" / "job.toml")
    dataset = load_data(job.data, seed=job.seed, folder=swept / "runs" / "whole-001")
    rows = pq.read_table(swept / "runs" / "whole-001" / "certificates.parquet")
    assert rows["index"].to_pylist() == dataset.validation.indices.tolist()
    assert not set(rows["index"].to_pylist()) & set(dataset.test.indices.tolist())
    assert data["parts"]["validation"]["sha256"] == dataset.validation.sha256()


def test_a_trial_is_a_run_of_its_own_with_its_values(swept):
    for number, (rate, margin) in enumerate([(4e-3, 0.1), (4e-3, 0.5), (1e30, 0.1)], start=1):
        folder = swept / "runs" / f"whole-{number:03d}"
        job = JobSpec.model_validate_json((folder / "job.json").read_bytes())
        assert (job.train.learning_rate, job.train.loss.margin) == (rate, margin)
        assert load_job(folder / "job.toml").train == job.train


def test_a_trial_finds_its_data_where_the_folder_of_runs_is_a_link(swept, tmp_path):
    (tmp_path / "far" / "away").mkdir(parents=True)
    (tmp_path / "runs").symlink_to(tmp_path / "far" / "away")
    example = load_plan(swept / "sweep.toml").example
    run_dirs = [RunDir(tmp_path / place, "x-001") for place in ("runs", "far/away")]
    found, again = (_findable(example, swept, run_dir).data.path for run_dir in run_dirs)
    run_dirs[0].create()
    assert (run_dirs[0].path / found).resolve() == swept / "blobs.npz"
    assert again == found


def test_shares_are_those_of_the_rows(swept):
    summary = summary_of(swept, "whole")
    rows = pq.read_table(swept / "runs" / "whole-002" / "certificates.parquet").to_pandas()
    right = rows["label"] == rows["prediction"]
    trial = summary["trials"][1]
    assert trial["clean_accuracy"] == right.mean()
    for eps, share in zip(summary["eps"], trial["certified_accuracy"], strict=True):
        assert share == (right & (rows["radius"] > eps)).mean()
    assert summary["eps"][summary["judging"]] == 0.1


def test_a_trial_that_diverges_is_told_and_the_others_go_on(swept):
    summary = summary_of(swept, "whole")
    assert [trial["failed"] is None for trial in summary["trials"]] == [True, True, False, False]
    assert "epoch 0" in summary["trials"][2]["failed"]
    state = json.loads((swept / "runs" / "whole-003" / "state.json").read_text())
    assert (state["status"], state["exit_status"]) == ("FAILED", 1)
    page = (swept / "runs" / "whole" / "report.html").read_text()
    assert "failed: epoch 0" in page


def test_a_sweep_that_was_stopped_and_goes_on_gives_what_an_undisturbed_one_gives(swept):
    told = json.loads((swept / "told.json").read_text())
    assert told["wish"] == "stopped on request"
    assert told["states"]["cut-001"] == "SUCCEEDED"
    assert told["states"]["cut"] == "STOPPED"
    assert told["first"] == (swept / "runs" / "cut-001" / "result.json").stat().st_mtime_ns
    assert figures(summary_of(swept, "whole")) == figures(summary_of(swept, "cut"))
    for name in ("train/weights.safetensors", "network.onnx", "certificates.parquet"):
        for number in (1, 2):
            one, other = (swept / "runs" / f"{run}-{number:03d}" / name for run in ("whole", "cut"))
            assert one.read_bytes() == other.read_bytes(), name


@pytest.fixture
def called(swept, monkeypatch, capsys):
    """A command as a user types it in the folder, in this process."""

    def call(*arguments):
        monkeypatch.chdir(swept)
        monkeypatch.setattr(sys, "argv", ["certify", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        written = capsys.readouterr()
        return ended.value.code, written.out, written.err

    return call


def test_a_sweep_and_its_trials_are_listed(called):
    status, out, _ = called("list", "--json")
    assert status == 0
    found = {record["run"]: record for record in json.loads(out)}
    assert found["whole"]["status"] == "SUCCEEDED"
    assert found["whole"]["reason"].startswith("4 trials, ")
    assert found["whole-002"]["reason"] == "trial 2 of whole, on its validation part"
    assert called("status", "whole")[1].startswith("whole: SUCCEEDED, report, 4 trials")
    assert called("resume", "whole")[0] == 0


@pytest.mark.parametrize("verb", ["resume", "stop", "report"])
def test_a_trial_is_acted_on_through_its_sweep(called, verb):
    status, _, err = called(verb, "whole-002")
    assert status == 2
    assert "run whole-002 is trial 2 of a sweep; accepted is that sweep, whole" in err


def test_the_report_of_a_sweep_is_made_again_from_its_summary(called, swept):
    page = swept / "runs" / "whole" / "report.html"
    before = page.read_bytes()
    page.unlink()
    assert called("report", "whole")[0] == 0
    assert page.read_bytes() == before


def test_a_folder_belongs_to_one_sweep_or_one_job(called, swept):
    status, _, err = called("submit", "sweep.toml", "--run", "whole", "--set", "seed=4")
    assert (status, "exists with another sweep: seed: found 4, stored is" in err) == (2, True)
    (swept / "job.toml").write_text(JOB)
    status, _, err = called("submit", "job.toml", "--run", "whole")
    assert (status, "exists as a sweep; accepted is another id" in err) == (2, True)
    status, _, err = called("submit", "job.toml", "--run", "whole-001")
    assert (status, "is trial 1 of a sweep" in err) == (2, True)


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("train.batch_size=0", "train.batch_size: found 0"),
        ("data.path=none.npz", "none.npz"),
        ("train.for_eps=30.0", "ε = 30 is beyond any radius"),
    ],
)
def test_a_wrong_sweep_is_refused_before_a_cluster_is_asked(called, swept, override, told):
    elsewhere = ("--run", "new", "--address", "http://127.0.0.1:1")
    status, out, err = called("submit", "sweep.toml", "--set", override, *elsewhere)
    assert (status, out) == (2, "")
    assert told in err
    assert not (swept / "runs" / "new").exists()


def test_a_stored_sweep_is_the_same_sweep(swept):
    assert (
        stored_plan(RunDir(swept / "runs", "whole")).sha256()
        == load_plan(swept / "sweep.toml").sha256()
    )


def test_a_rehearsal_tries_each_network_once():
    sweep = load_plan(ROOT / "examples" / "sweep.toml")
    told = rehearse_sweep(sweep, ROOT / "examples")
    assert "6 trials, trained on 1151 and certified on 287 validation images" in told
    assert "each of 2 networks works" in told


def test_a_radius_that_no_image_can_have_is_refused_before_the_first_trial(tmp_path):
    (tmp_path / "sweep.toml").write_text("name = 'x'\n[sweep.over]\ntrain.for_eps = [0.5, 30.0]\n")
    plan, run_dir = load_plan(tmp_path / "sweep.toml"), RunDir(tmp_path / "runs", "x")
    with pytest.raises(JobError, match="ε = 30 is beyond any radius"):
        search_of(plan, folder=tmp_path, run_dir=run_dir)
    with pytest.raises(JobError, match="ε = 30 is beyond any radius"):
        rehearse_sweep(plan, tmp_path)
    assert not run_dir.path.exists()


def test_a_job_of_one_run_is_asked_for_where_a_sweep_makes_no_sense():
    with pytest.raises(JobError, match="accepted is a job of one run"):
        load_job(ROOT / "examples" / "sweep.toml")

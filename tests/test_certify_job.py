"""The job file: whatever is wrong with it is said at once, and in a way that helps."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from certify.jobs.job import JobSpec, load_job
from certify.jobs.template import job_template, write_new
from models.errors import JobError
from models.spec import AttackSpec, parse_eps

EXAMPLE = """
name = "fashion-mnist"
seed = 0
gates = ["clean_accuracy >= 0.87", "certified_accuracy@0.5 >= 0.73", "violations == 0"]
[data]
source = "fashion-mnist"
[model]
architecture = "mlp"
widths = [256, 256, 256]
[train]
epochs = 12
batch_size = 256
loss = { name = "certified-radius", margin = 0.75, temperature = 0.25 }
[certify]
eps = ["36/255", 0.25, 0.5, 1.0]
[attack]
examples = 500
[resources]
workers = 1
gpus_per_worker = 0
"""


@pytest.fixture
def job_file(tmp_path):
    def written(text=EXAMPLE):
        path = tmp_path / "job.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return written


def test_the_job_file_of_the_readme_is_read_as_it_is_meant(job_file):
    job = load_job(job_file())
    assert job.model.widths == (256, 256, 256)
    assert job.train.loss.margin == 0.75
    assert job.eps == (36 / 255, 0.25, 0.5, 1.0)
    assert [gate.threshold for gate in job.parsed_gates()] == [0.87, 0.73, 0.0]


def test_a_job_needs_no_more_than_a_name(job_file):
    job = load_job(job_file('name = "x"'))
    assert job.data.source == "digits"
    assert job.attack == AttackSpec()


FAULTS = {
    "unknown table": ("[modle]\nwidths = [1]", ["job.toml: modle: unknown key", "model"]),
    "unknown key": (
        "[train]\nepoch = 3",
        ["train.epoch: unknown key, found 3; accepted are epochs, batch_size"],
    ),
    "unknown key of a model": (
        '[model]\narchitecture = "mlp"\ndepth = 3',
        ["unknown key, found 3; accepted are architecture, widths, components"],
    ),
    "unknown architecture": (
        '[model]\narchitecture = "resnet"',
        ["found 'resnet'; accepted are 'linear', 'mlp'"],
    ),
    "misspelt key of all models": (
        '[model]\narchtecture = "mlp"',
        ["job.toml: model.archtecture: unknown key, found 'mlp'; accepted are architecture, "],
    ),
    "no architecture": (
        "[model]\nwidths = [8]",
        ["model.architecture: required, not found; accepted are 'linear', 'mlp'"],
    ),
    "no table": ("train = 5", ["train: found 5; accepted is a table with the keys epochs, "]),
    "no list of budgets": (
        "[certify]\neps = -1",
        ["certify.eps: found -1; accepted is a list, as [1.0]"],
    ),
    "no list of widths": (
        '[model]\narchitecture = "mlp"\nwidths = 256',
        ["model.widths: found 256; accepted is a list, as [256]"],
    ),
    "no list of gates": (
        'gates = "clean_accuracy > 0"',
        ["""found 'clean_accuracy > 0'; accepted is a list, as ["violations == 0"]"""],
    ),
    "no list of names": (
        '[model]\narchitecture = "onnx"\npath = "x"\nclasses = "a"',
        ["model.classes: found 'a'; accepted is a list, in brackets"],
    ),
    "no hash": (
        '[model]\narchitecture = "onnx"\npath = "x"\nsha256 = "x"',
        ["model.sha256: found 'x'; accepted are 64 hexadecimal digits"],
    ),
    "more training workers than workers": (
        "[resources]\ntraining_workers = 3",
        ["resources.training_workers: found 3; accepted are at most as many as resources.workers"],
    ),
    "unknown loss": (
        '[train]\nloss = {name = "focal"}',
        ["train.loss.name: found 'focal'; accepted are 'certified-radius'"],
    ),
    "wrong type": (
        '[train]\nepochs = "many"',
        ["train.epochs: found 'many'; accepted is a whole number"],
    ),
    "no silent conversion": ("[train]\nepochs = 3.0", ["train.epochs: found 3.0"]),
    "epsilon 0": ("[certify]\neps = [0]", ["certify.eps.0: found 0; accepted is a positive"]),
    "epsilon below 0": ("[certify]\neps = [-0.5]", ["certify.eps.0: found -0.5"]),
    "epsilon NaN": ("[certify]\neps = [nan]", ["certify.eps.0: found nan"]),
    "epsilon infinite": ("[certify]\neps = [inf]", ["certify.eps.0: found inf"]),
    "epsilon over 0": ('[certify]\neps = ["1/0"]', ["certify.eps.0: found '1/0'"]),
    "epsilon twice": ('[certify]\neps = [0.5, "1/2"]', ["certify.eps", "that differ"]),
    "no epsilon": ("[certify]\neps = []", ["certify.eps: found []"]),
    "name": ('name = "a b/ü"', ["name: found 'a b/ü'; accepted are 1 to 63 lower-case letters"]),
    "path without need": ('[data]\nsource = "digits"\npath = "x"', ["data", "built in"]),
    "path missing": ('[data]\nsource = "npz"', ["data", "path is required"]),
    "gate": ('gates = ["accuracy > 1"]', ["gates.0: found 'accuracy > 1'; accepted is clean_acc"]),
    "gate without eps": ('gates = ["robust_accuracy > 1"]', ["accepted is clean_accuracy"]),
    "gate on an eps that is not certified": (
        'gates = ["certified_accuracy@0.3 >= 0.5"]\n[certify]\neps = [0.5]',
        ["found 'certified_accuracy@0.3 >= 0.5'; accepted after @ is one of certify.eps, 0.5"],
    ),
    "a dial of another loss": (
        '[train]\nloss = {name = "hinge", temperature = 1.0}',
        ["train.loss.temperature: unknown key, found 1.0; accepted are name, margin"],
    ),
    "a dial without sense": (
        '[train]\nloss = {name = "hkr", alpha = -1.0}',
        ["train.loss.alpha: found -1.0", "greater than or equal to 0"],
    ),
    "a wished epsilon below 0": ("[train]\nfor_eps = -1", ["train.for_eps: found -1", "positive"]),
    "more parts than examples": (
        "[train]\nbatch_size = 4\naccumulate = 8",
        ["train: accumulate = 8", "at most batch_size, 4"],
    ),
    "the best at no epsilon": ("[train.best]\npatience = 3", ["train.best.eps: required"]),
    "the best at an epsilon that is not certified": (
        "[train.best]\neps = 0.3",
        ["train.best.eps: found 0.3; accepted is one of certify.eps, 36/255, 0.25, 0.5, 1"],
    ),
    "noise": ("[train]\naugment = {noise = -0.1}", ["train.augment.noise: found -0.1"]),
    "unknown schedule": ('[train]\nschedule = "step"', ["train.schedule: found 'step'", "cosine"]),
    "average after the end": ("[train.average]\nstart = 1.0", ["train.average.start: found 1.0"]),
    "learning rate": ("[train]\nlearning_rate = -1.0", ["train.learning_rate: found -1.0"]),
    "no workers": ("[resources]\nworkers = 0", ["resources.workers: found 0"]),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_says_file_key_what_was_found_and_what_is_accepted(name, job_file):
    text, expected = FAULTS[name]
    if not text.startswith("name"):
        text = f'name = "x"\n{text}'
    with pytest.raises(JobError) as caught:
        load_job(job_file(text))
    message = str(caught.value)
    assert "job.toml" in message
    assert "\n" not in message
    for words in expected:
        assert words in message
    assert not re.search("discriminator|input tag|tuple|instance|pattern|should", message)


def test_a_wished_epsilon_sets_the_dials_that_are_left_out(job_file):
    def loss(text):
        return load_job(job_file(f'name = "x"\n[train]\n{text}')).train.loss

    wished = loss("for_eps = 0.5")
    assert (wished.margin, wished.temperature, wished.saturation) == (0.6, 0.2, 0.8)
    own = loss("for_eps = 1.0\nloss = {margin = 0.3, saturation = 9}")
    assert (own.margin, own.temperature, own.saturation) == (0.3, 0.3, 9)
    assert loss('for_eps = "1/2"\nloss = {name = "emma"}').eps == 0.75
    assert loss('for_eps = 0.5\nloss = {name = "hinge", margin = 2.0}').margin == 2.0


def test_a_resolved_job_is_the_same_job_again(job_file):
    keys = 'for_eps = "36/255"\nloss = {temperature = 0.1}\naverage = {}\nbest = {patience = 2}'
    job = load_job(job_file(f'name = "x"\n[train]\n{keys}'))
    assert job.train.best.eps == 36 / 255
    assert JobSpec.model_validate_json(job.to_json()) == job


def test_all_faults_are_reported_at_once(job_file):
    path = job_file('name = "X"\nseed = -1\n[train]\nepochs = 0\n[certify]\neps = [0]')
    with pytest.raises(JobError) as caught:
        load_job(path)
    lines = str(caught.value).splitlines()
    assert len(lines) == 4
    assert all(str(path) in line for line in lines)


def test_a_priority_is_refused_with_the_reason(job_file):
    with pytest.raises(JobError, match=r"priority: found 3; accepted is none, since Ray"):
        load_job(job_file('name = "x"\n[resources]\npriority = 3'))


def test_what_is_no_toml_is_refused_with_its_line(job_file):
    with pytest.raises(JobError, match=r"not TOML.*line 2"):
        load_job(job_file('name = "x"\nseed = = 3'))


def test_a_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(JobError, match=r"none\.toml: No such file"):
        load_job(tmp_path / "none.toml")


def test_a_file_of_bytes_is_refused(tmp_path):
    (tmp_path / "job.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(JobError, match="not UTF-8"):
        load_job(tmp_path / "job.toml")


def test_set_overrides_any_key_with_toml_or_plain_text(job_file):
    job = load_job(
        job_file(),
        overrides=[
            "train.epochs=3",
            "certify.eps=[0.5]",
            "name=other",
            'gates=["violations == 0"]',
            "train.loss.margin=1",
            "resources.cpus_per_worker=2",
        ],
    )
    assert (job.train.epochs, job.eps, job.name, job.train.loss.margin) == (3, (0.5,), "other", 1)
    assert job.resources.cpus_per_worker == 2


@pytest.mark.parametrize("override", ["train.epochs", "=3", ".x=1", "name.x=1"])
def test_an_override_of_another_form_is_refused(override, job_file):
    with pytest.raises(JobError, match="--set"):
        load_job(job_file(), overrides=[override])


def test_the_hash_follows_what_decides_the_result_and_nothing_else(job_file):
    path = job_file()
    base = load_job(path).sha256()
    for same in ("resources.workers=2", 'gates=["violations == 0"]'):
        assert load_job(path, overrides=[same]).sha256() == base
    for other in ("seed=1", "train.epochs=13", "attack.examples=501", "attack.shard_size=10"):
        assert load_job(path, overrides=[other]).sha256() != base


def test_the_resolved_job_comes_back_from_json(job_file):
    job = load_job(job_file())
    assert JobSpec.model_validate_json(job.to_json()) == job


def test_a_job_cannot_be_changed(job_file):
    with pytest.raises(ValidationError):
        load_job(job_file()).seed = 3


@given(st.integers(1, 1000), st.integers(1, 1000))
def test_a_fraction_is_the_float_next_to_it(above, below):
    assert parse_eps(f"{above}/{below}") == above / below


def test_the_template_is_a_job(tmp_path):
    path = tmp_path / "job.toml"
    write_new(path, job_template(None, beside=tmp_path))
    assert load_job(path) == JobSpec(name="digits")
    with pytest.raises(JobError, match="exists"):
        write_new(path, "")


def test_the_template_finds_the_kind_of_the_data(tmp_path):
    (tmp_path / "cats").mkdir()
    (tmp_path / "cats.toml").touch()
    (tmp_path / "train.parquet").touch()
    (tmp_path / "My Data.npz").touch()
    for name, source in (("cats", "folder"), ("train.parquet", "parquet"), ("My Data.npz", "npz")):
        path = tmp_path / f"{source}.toml"
        write_new(path, job_template(tmp_path / name, beside=tmp_path))
        assert load_job(path).data.source == source
        assert load_job(path).data.path == name
    with pytest.raises(JobError, match="missing: found nothing there; accepted are a folder"):
        job_template(tmp_path / "missing", beside=tmp_path)
    with pytest.raises(JobError, match=r"cats\.toml: found no data of a known kind"):
        job_template(tmp_path / "cats.toml", beside=tmp_path)

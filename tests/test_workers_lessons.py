"""What a worker that trains is given, and what it refuses before its first step."""

import math

import numpy as np
import pytest

from models.errors import CertifyError, JobError
from models.model_spec import CnnSpec, LinearSpec, MlpSpec
from models.spec import ResourcesSpec
from models.splits import Dataset, Split
from models.train_spec import TrainSpec
from tests.whole_runs import blobs
from workers import cluster, machine
from workers.lessons import WORTH_SHARING, epoch_of, is_brief, lesson
from workers.machine import has_bfloat16_units


def told_of(dataset, *, precision="float32", batch_size=16, widths=(16,), cpus=None):
    train = TrainSpec(epochs=1, batch_size=batch_size, precision=precision)
    model, resources = MlpSpec(widths=widths), ResourcesSpec(cpus_per_worker=cpus)
    return lesson(dataset, model=model, train=train, seed=0, eps=(0.1,), resources=resources)


@pytest.fixture(scope="module")
def dataset():
    images, labels = blobs()
    part = Split(images, labels, np.arange(len(labels)))
    return Dataset(train=part, validation=part, test=part, classes=("a", "b", "c"))


@pytest.mark.parametrize("units", [False, True])
def test_bfloat16_is_refused_where_it_would_only_be_slow(dataset, monkeypatch, units):
    monkeypatch.setattr(machine, "has_bfloat16_units", lambda device: units)
    told = told_of(dataset, precision="bfloat16")
    if units:
        _, metrics = epoch_of(told, dataset.train, None, 0, device="cpu")
        assert metrics["steps"] > 0
        return
    with pytest.raises(CertifyError, match=r"precision: found 'bfloat16'.*accepted is 'float32'"):
        epoch_of(told, dataset.train, None, 0, device="cpu")


def test_a_gpu_is_taken_to_have_the_units_and_a_processor_is_asked():
    assert has_bfloat16_units("cuda")
    assert isinstance(has_bfloat16_units("cpu"), bool)


def test_small_steps_are_one_threads_unless_more_are_asked_for(dataset, monkeypatch):
    monkeypatch.setattr(cluster, "usable_cpus", lambda: 6)
    assert told_of(dataset).threads == 1
    assert told_of(dataset, cpus=3).threads == 3
    assert told_of(dataset, widths=(512, 512), batch_size=512).threads == 6


def test_a_step_is_brief_by_its_products_and_never_with_convolutions(dataset):
    pixels = dataset.train.inputs()[0].size
    for components, first in ((6, 6), (None, 8)):
        products = pixels * first + first * 8 + 8 * 4 + 4 * len(dataset.classes)
        fewest = math.ceil(WORTH_SHARING / (3 * 2 * products))
        model = MlpSpec(widths=(8, 4), components=components)
        for batch_size, brief in ((fewest - 1, True), (fewest, False)):
            train = TrainSpec(epochs=1, batch_size=batch_size)
            assert is_brief(dataset, model, train) == brief
    one = TrainSpec(epochs=1, batch_size=1)
    assert is_brief(dataset, LinearSpec(architecture="linear"), one)
    assert not is_brief(dataset, CnnSpec(architecture="cnn", patch=1), one)


@pytest.mark.parametrize("name", ["shift", "cutout"])
def test_what_leaves_nothing_of_an_image_is_refused(dataset, name):
    model, told = MlpSpec(widths=(4,)), {"seed": 0, "eps": (0.1,), "resources": ResourcesSpec()}
    for amount, accepted in ((3, True), (4, False)):
        train = TrainSpec(epochs=1, augment={name: amount})
        if accepted:
            lesson(dataset, model=model, train=train, **told)
            continue
        with pytest.raises(JobError, match=f"augment.{name}: found 4 for images of side 4"):
            lesson(dataset, model=model, train=train, **told)

"""What a worker that trains refuses before its first step."""

import numpy as np
import pytest

from models.errors import CertifyError
from models.model_spec import MlpSpec
from models.spec import ResourcesSpec
from models.splits import Dataset, Split
from models.train_spec import TrainSpec
from tests.whole_runs import blobs
from workers import lessons
from workers.lessons import epoch_of, lesson
from workers.machine import has_bfloat16_units


def told_of(dataset, *, precision):
    train = TrainSpec(epochs=1, batch_size=16, precision=precision)
    model, resources = MlpSpec(widths=(16,)), ResourcesSpec()
    return lesson(dataset, model=model, train=train, seed=0, eps=(0.1,), resources=resources)


@pytest.fixture(scope="module")
def dataset():
    images, labels = blobs()
    part = Split(images, labels, np.arange(len(labels)))
    return Dataset(train=part, validation=part, test=part, classes=("a", "b", "c"))


@pytest.mark.parametrize("units", [False, True])
def test_bfloat16_is_refused_where_it_would_only_be_slow(dataset, monkeypatch, units):
    monkeypatch.setattr(lessons, "has_bfloat16_units", lambda device: units)
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

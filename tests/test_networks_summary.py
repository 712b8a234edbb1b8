import pytest
import torch

from certify.jobs.job import check_job
from certify.submitting.modelling import describe_model, model_text
from models.errors import JobError
from models.model_spec import CnnSpec, LipNextSpec, LipResNetSpec, MlpSpec
from models.networks.classifier import blank_classifier
from models.networks.summary import summarise

RGB = (3, 32, 32)


def test_a_dense_network_is_counted_by_hand():
    found = summarise(
        MlpSpec(widths=(30, 20), components=40), input_shape=(1, 8, 8), classes=10, examples=1000
    )
    assert [layer.name for layer in found.layers] == [
        "CentredAxes",
        *["Linear", "AbsHalf"] * 2,
        "Linear",
    ]
    assert [layer.shape for layer in found.layers] == [(40,), (30,), (30,), (20,), (20,), (10,)]
    assert found.parameters == 41 * 30 + 31 * 20 + 21 * 10
    assert found.operations == 2 * (64 * 40 + 40 * 30 + 30 * 20 + 20 * 10)
    assert found.weight_bytes == 16 * found.parameters
    assert found.training_bytes(batch_size=8) == found.weight_bytes + 8 * found.example_bytes
    assert found.training_operations(batch_size=8) == 3 * 8 * found.operations


@pytest.mark.parametrize(
    "model",
    [
        CnnSpec(architecture="cnn"),
        CnnSpec(architecture="cnn", kernel="block", channels=8),
        LipNextSpec(architecture="lipnext", channels=32, depth=2),
        LipResNetSpec(architecture="lipresnet", block="cpl", channels=16),
    ],
)
def test_parameters_are_those_of_the_network(model):
    found = summarise(model, input_shape=RGB, classes=7, examples=10)
    network = blank_classifier(model, input_shape=RGB, components=0, classes=7)
    assert found.parameters == sum(parameter.numel() for parameter in network.parameters())
    assert found.layers[-1].shape == (7,)
    assert found.operations > 0


@pytest.mark.parametrize(
    ("model", "parameters"),
    [
        (LipNextSpec(architecture="lipnext", channels=64, depth=8), 0.1e6),
        (LipNextSpec(architecture="lipnext", channels=2048, depth=32), 256e6),
        (CnnSpec(architecture="cnn", channels=1024, widths=(4096,)), 100e6),
        (LipResNetSpec(architecture="lipresnet", channels=512, depth=24), 60e6),
    ],
)
def test_width_and_depth_reach_hundreds_of_millions_of_parameters(model, parameters):
    found = summarise(model, input_shape=RGB, classes=10, examples=10)
    assert 0.9 * parameters < found.parameters < 3 * parameters


def test_nothing_is_drawn_from_the_global_generator():
    before = torch.get_rng_state()
    summarise(CnnSpec(architecture="cnn"), input_shape=RGB, classes=2, examples=10)
    assert torch.equal(torch.get_rng_state(), before)


def job(**model):
    return check_job({"name": "x", "data": {"source": "digits"}, "model": model}, place="job.toml")


def test_a_jobs_model_is_described(tmp_path):
    found = describe_model(job(architecture="cnn", patch=2, channels=8), folder=tmp_path)
    text = model_text(found, as_json=False)
    assert "SpaceToDepth" in text
    assert f"{found['parameters']:,}" in text
    assert "a step of 256 examples" in text
    assert model_text(found, as_json=True).startswith("{")


def test_a_file_that_trained_elsewhere_has_no_description(tmp_path):
    with pytest.raises(JobError, match="nothing is trained; see certify bound"):
        describe_model(job(architecture="onnx", path="m.onnx"), folder=tmp_path)

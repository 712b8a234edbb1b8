import hashlib
import os
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from torch import nn

from models.errors import CertifyError
from models.networks.activations import AbsHalf
from models.networks.onnx_export import check_parity, export_onnx

SHAPE = (2, 3, 4)


def a_network(*widths, seed=0):
    generator = torch.Generator().manual_seed(seed)
    layers = [nn.Flatten()]
    for before, after in zip((24, *widths), (*widths, 5), strict=True):
        linear = nn.utils.skip_init(nn.Linear, before, after)
        with torch.no_grad():
            linear.weight.normal_(std=before**-0.5, generator=generator)
            linear.bias.normal_(generator=generator)
        layers += [linear, AbsHalf(after).shipped()]
    return nn.Sequential(*layers[:-1]).eval()


def random_inputs(examples):
    return np.random.default_rng(0).random((examples, *SHAPE), dtype=np.float32)


@pytest.fixture(scope="module")
def exported():
    network = a_network(8, 6)
    return network, export_onnx(network, SHAPE)


def test_the_graph_holds_only_what_it_needs(exported):
    network, encoded = exported
    model = onnx.load_from_string(encoded)
    kinds = ["Reshape", "Gemm", "PRelu", "Gemm", "PRelu", "Gemm"]
    assert [node.op_type for node in model.graph.node] == kinds
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 20)]
    (given,), (taken,) = model.graph.input, model.graph.output
    assert (given.name, taken.name) == ("input", "logits")
    sizes = [entry.dim_param or entry.dim_value for entry in given.type.tensor_type.shape.dim]
    assert sizes == ["batch", *SHAPE]
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    assert list(stored) == [
        "reshape_1.shape",
        *["gemm_1.weight", "gemm_1.bias", "prelu_1.slope"],
        *["gemm_2.weight", "gemm_2.bias", "prelu_2.slope"],
        *["gemm_3.weight", "gemm_3.bias"],
    ]
    for place, name in ((1, "gemm_1"), (3, "gemm_2"), (5, "gemm_3")):
        np.testing.assert_array_equal(stored[f"{name}.weight"], network[place].weight.detach())
        np.testing.assert_array_equal(stored[f"{name}.bias"], network[place].bias.detach())


def test_no_note_of_the_exporter_and_no_path_is_left(exported):
    _, encoded = exported
    model = onnx.load_from_string(encoded)
    for item in (model, model.graph, *model.graph.node, *model.graph.input, *model.graph.output):
        assert not item.metadata_props
        assert not item.doc_string
    for trace in (b".py", b"torch.nn", b"aten", str(Path.cwd()).encode(), sys.prefix.encode()):
        assert trace not in encoded


def test_two_exports_give_the_same_bytes(exported):
    network, encoded = exported
    assert export_onnx(network, SHAPE) == encoded


def test_another_process_exports_the_same_bytes(exported):
    _, encoded = exported
    program = (
        "import hashlib\n"
        "from tests.test_networks_onnx_export import SHAPE, a_network, export_onnx\n"
        "print(hashlib.sha256(export_onnx(a_network(8, 6), SHAPE)).hexdigest())"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "12345"}
    answer = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
        cwd=Path(__file__).parents[1],
    )
    assert answer.stdout.strip() == hashlib.sha256(encoded).hexdigest()


def test_exporting_is_silent_and_leaves_logging_and_warnings_as_they_were(capfd):
    filters = list(warnings.filters)
    export_onnx(a_network(), SHAPE)
    captured = capfd.readouterr()
    assert (captured.out, captured.err) == ("", "")
    assert warnings.filters == filters


@pytest.mark.parametrize("examples", [1, 3, 50])
def test_parity_holds_for_any_batch(exported, examples):
    network, encoded = exported
    assert check_parity(encoded, network, random_inputs(examples)) < 1e-5


def test_a_changed_weight_fails_the_parity_check(exported):
    network, encoded = exported
    model = onnx.load_from_string(encoded)
    weight = model.graph.initializer[1]
    values = numpy_helper.to_array(weight).copy()
    values[0] += 0.05
    weight.CopyFrom(numpy_helper.from_array(values, weight.name))
    with pytest.raises(CertifyError, match="logits differ by"):
        check_parity(model.SerializeToString(), network, random_inputs(50))


def test_a_nan_fails_the_parity_check(exported):
    network, encoded = exported
    inputs = random_inputs(4)
    inputs[2, 0, 0, 0] = np.nan
    with pytest.raises(CertifyError, match="differ by nan"):
        check_parity(encoded, network, inputs)


def test_a_network_in_training_mode_is_refused():
    with pytest.raises(CertifyError, match="training mode"):
        export_onnx(a_network().train(), SHAPE)

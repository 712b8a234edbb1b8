"""Files of a fixed batch: freed where each example is by itself, refused elsewhere."""

import io
import logging
import warnings

import numpy as np
import onnx
import pytest
import torch
from onnx import helper
from torch import nn

from models.errors import ModelError, VerificationError
from models.proof import free_batch, importing
from models.proof.importing import Preprocessing, check_import, import_model
from models.proof.program import logits_in_float64
from models.proof.reading.reader import read_program
from models.proof.sealing import run_onnx
from tests.oracles import images, onnx_file

node = helper.make_node
RNG = np.random.default_rng(0)
SHAPE = (4, 4, 4)
W = RNG.standard_normal((3, 8)).astype(np.float32)


class Shapes(nn.Module):
    """Layers whose exporters state shapes: views, expansions, repeats, circular pads, sizes."""

    def __init__(self):
        super().__init__()
        self.convolution = nn.Conv2d(4, 8, 3, padding=1, padding_mode="circular")
        self.head = nn.Linear(8 * 16, 5)

    def forward(self, x):
        y = torch.relu(self.convolution(x)).view(len(x), 2, 4, 4, 4).amax(1)
        y = y + x[:, :, :, :1].expand(-1, -1, -1, 4)
        y = nn.functional.pixel_shuffle(y.repeat(1, 2, 1, 1), 2)
        y = nn.functional.interpolate(y[:, :, ::2, ::2], size=(8, 8))
        return self.head(y.reshape(x.shape[0], -1))


def exported(network, batch, *, dynamo):
    """The file as an exporter writes it when it is told of no axis that may vary."""
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    x = torch.zeros(batch, *SHAPE)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if dynamo:
            program = torch.onnx.export(network, (x,), dynamo=True, verbose=False)
            return program.model_proto.SerializeToString()
        file = io.BytesIO()
        torch.onnx.export(network, (x,), file, dynamo=False)
        return file.getvalue()


@pytest.mark.parametrize(("dynamo", "batch"), [(True, 3), (False, 1), (False, 3)])
def test_a_file_of_a_fixed_batch_becomes_the_same_function_of_each_example(dynamo, batch):
    torch.manual_seed(0)
    network = Shapes().eval()
    content = exported(network, batch, dynamo=dynamo)
    imported = import_model(content, Preprocessing(std=(0.5,)))
    assert imported.batch == batch
    assert check_import(imported, images(7, SHAPE)) < 1e-5
    first = onnx.load_from_string(imported.network).graph.input[0].type.tensor_type.shape.dim[0]
    assert first.dim_param == "batch"
    inputs = images(2 * batch, SHAPE)
    original = run_onnx(content, inputs, optimised=False, batch=batch)
    expected = next(iter(original.values()))
    freed = run_onnx(import_model(content, Preprocessing()).network, inputs)["logits"]
    np.testing.assert_allclose(freed, expected, atol=1e-5)
    np.testing.assert_allclose(
        logits_in_float64(read_program(content), inputs), expected, atol=1e-5
    )


def fixed(*nodes, batch=2, shape=(8,), **weights):
    model = onnx.load_from_string(onnx_file([*nodes], shape=shape, weights=weights))
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = batch
    return model.SerializeToString()


def ints(*values):
    return np.array(values, dtype=np.int64)


HEAD = node("Gemm", ["g", "W"], ["logits"], transB=1)
MIXED = {
    "averaged": (
        node("ReduceMean", ["x", "zero"], ["m"], keepdims=1), node("Sub", ["x", "m"], ["g"]),
        {"zero": ints(0)}, 18,
    ),
    "sliced": (
        node("Slice", ["x", "zero", "one", "zero"], ["m"]), node("Add", ["x", "m"], ["g"]),
        {"zero": ints(0), "one": ints(1)}, 20,
    ),
    "picked": (
        node("Gather", ["x", "swap"], ["g"], axis=0), {"swap": ints(1, 0)}, 20,
    ),
    "transposed inside a shape of the same size": (
        node("Reshape", ["x", "to"], ["r"]), node("Transpose", ["r"], ["t"], perm=[1, 0]),
        node("Reshape", ["t", "back"], ["g"]), {"to": ints(8, 2), "back": ints(2, 8)}, 20,
    ),
    "folded into one example": (
        node("Reshape", ["x", "to"], ["r"]), node("Relu", ["r"], ["s"]),
        node("Reshape", ["s", "back"], ["g"]), {"to": ints(1, 16), "back": ints(2, 8)}, 20,
    ),
    "another constant for each example": (
        node("Add", ["x", "c"], ["g"]), {"c": np.arange(16, dtype=np.float32).reshape(2, 8)}, 20,
    ),
    "a product from the left": (
        node("MatMul", ["c", "x"], ["g"]), {"c": np.ones((2, 2), "f4")}, 20,
    ),
    "counted": (
        node("Softmax", ["x"], ["g"], axis=0), {}, 20,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MIXED)
@pytest.mark.parametrize("batch", [1, 2])
def test_alarm_a_file_that_mixes_its_batch_is_refused(name, batch):
    *nodes, weights, opset = MIXED[name]
    if batch == 1 and name.startswith(("transposed", "folded", "another", "a product")):
        return  # of one example those are other files
    content = onnx_file([*nodes, HEAD], shape=(8,), weights=weights | {"W": W}, opset=opset)
    model = onnx.load_from_string(content)
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = batch
    with pytest.raises(ModelError):
        import_model(model.SerializeToString(), Preprocessing())


ROWS = (
    node("Reshape", ["x", "to"], ["r"]),
    node("ReduceMax", ["r"], ["g"], axes=[1], keepdims=0),
    node("Expand", ["g", "wide"], ["e"]),
    node("Gemm", ["e", "W"], ["logits"], transB=1),
)
CASE = onnx.load_from_string(
    onnx_file(
        ROWS, shape=(8,), opset=13, weights={"to": ints(2, 2, 4), "wide": ints(2, 4), "W": W[:, :4]}
    )
)
CASE.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 2
CASE = CASE.SerializeToString()


def test_what_the_alarms_below_are_made_of_is_accepted():
    assert check_import(import_model(CASE, Preprocessing()), images(5, (8,))) < 1e-5


@pytest.mark.parametrize("wrong", [(0, 4, 2), (0, 1, 8), (1, -1, 8)])
def test_alarm_a_shape_that_is_freed_wrongly_is_caught(wrong, monkeypatch):
    stated = free_batch._stated

    def changed(given, shape, *, opset):
        found = stated(given, shape, opset=opset)
        return (1, wrong) if given.op_type == "Reshape" else found

    monkeypatch.setattr(free_batch, "_stated", changed)
    with pytest.raises((VerificationError, ModelError)):
        import_model(CASE, Preprocessing())


def test_alarm_answers_of_another_order_are_caught(monkeypatch):
    imported = import_model(CASE, Preprocessing())
    answers = importing._answers

    def swapped(model, inputs, *, batch=None):
        found = answers(model, inputs, batch=batch)
        return found if batch is None else found[::-1]

    monkeypatch.setattr(importing, "_answers", swapped)
    with pytest.raises(VerificationError, match="logits differ"):
        check_import(imported, images(4, (8,)))


def test_a_fixed_batch_that_would_not_fit_is_refused():
    content = fixed(node("Gemm", ["x", "W"], ["logits"], transB=1), batch=2**40, W=W)
    with pytest.raises(ModelError, match="entries or more"):
        read_program(content)


def test_sizes_of_an_old_resize_are_refused_and_said_how_to_write():
    nodes = [node("Resize", ["x", "", "", "to"], ["r"]), node("Flatten", ["r"], ["logits"])]
    model = onnx.load_from_string(
        onnx_file(nodes, shape=(1, 2, 2), weights={"to": ints(2, 1, 4, 4)}, opset=17)
    )
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 2
    with pytest.raises(ModelError, match="accepted are scales"):
        import_model(model.SerializeToString(), Preprocessing())
